"""What is said of folds whose certificate is not as it should be."""

import json
from pathlib import Path

import pytest

from pipeline.audit.certificate_lines import lines_of


@pytest.mark.parametrize(("num_images", "are_said"), [(20, True), (6, True), (5, False)])
def test_labels_that_tell_versions_apart_are_no_conflicts(tmp_path: Path, num_images: int, are_said: bool) -> None:
    """Three images in conflict, of so many."""
    path = tmp_path / "folds.json"
    conflicts = {"train 1": {"1": "ant", "2": "bee", "3": "ant"}}
    notes = {"contents": {"0": {"images": num_images - 1}, "1": {"images": 1}}, "conflicts": conflicts}
    path.write_text(json.dumps({"made_from": {}, "files": {}, "notes": notes}))
    lines = lines_of(path, are_dropped=False)
    expected = "3 train images, versions of 1, have different labels (train 1); data.conflicts = 'drop' leaves them out"
    assert lines == ([expected] if are_said else [])


def test_groups_in_several_folds_are_said(tmp_path: Path) -> None:
    path = tmp_path / "folds.json"
    groups = {"across": 2, "images": 7, "named": {"a": [0, 1], "b": [0, 2]}}
    notes = {"contents": {}, "conflicts": {}, "groups": groups, "duplicates": {"across": 0, "images": 0, "named": {}}}
    path.write_text(json.dumps({"made_from": {}, "files": {}, "notes": notes}))
    assert lines_of(path, are_dropped=False) == [
        "2 groups lie in several folds, 7 images (a, b): the CV score may be too good"
    ]
