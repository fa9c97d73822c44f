"""What the score needs: which of two labels counts as 1, labels or probabilities, and the metric that a text names."""

from pathlib import Path

import pytest

from downloads import TEST, plain
from making import write_table
from pipeline.detection.recognise import Found, recognise


def asks(root: Path, labels: list[object], target: str, answers: list[object]) -> Found:
    """A competition of these labels, whose sample asks for a column."""
    plain(root, labels=labels)
    write_table(root / "sample_submission.csv", ["id", target], [list(row) for row in zip(TEST, answers, strict=True)])
    return recognise(root)


def said(found: Found, key: str) -> str:
    """What is printed of a setting; "" for nothing."""
    return next((item.reason for item in found.choices if item.key == key and item.said), "")


@pytest.mark.parametrize(
    ("labels", "target", "zero"),
    [
        (("OK", "NG"), "defect", "OK"),
        (("good", "bad"), "label", "good"),
        (("good", "bad"), "is_good", "bad"),
        (("fire", "non_fire"), "label", "non_fire"),
        (("smoke", "nosmoke"), "label", "nosmoke"),
        (("healthy", "unhealthy"), "label", "healthy"),
        (("a_unripe", "ripe"), "ripe", "a_unripe"),
        (("with mask", "without mask"), "probability", "without mask"),
        (("ant", "wasp"), "is_ant", "wasp"),
        (("ant", "wasp"), "score", "ant"),
        (("\uc815\uc0c1", "\ubd88\ub7c9"), "label", "\uc815\uc0c1"),
    ],
)
def test_what_counts_as_0_is_what_says_so_and_is_printed(
    tmp_path: Path, labels: tuple[str, str], target: str, zero: str
) -> None:
    for number, pair in enumerate((labels, labels[::-1])):
        found = asks(tmp_path / str(number), [*pair] * 10, target, [0.5] * 8)
        assert found.value("data.negative") == zero
        assert f"{zero!r}" in said(found, "data.negative")


def test_what_the_alphabet_decides_says_how_to_turn_it_round(tmp_path: Path) -> None:
    found = asks(tmp_path / "c", ["ant", "wasp"] * 10, "score", [0.5] * 8)
    assert "by the alphabet alone. Turned round: --set data.negative='wasp'" in said(found, "data.negative")


def test_of_three_labels_the_negation_counts_as_0(tmp_path: Path) -> None:
    found = asks(tmp_path / "c", ["glioma", "pituitary_tumor", "notumor", "glioma"] * 5, "score", [0.5] * 8)
    assert found.value("data.negative") == "notumor"


RARE = [1, *[0] * 19]


@pytest.mark.parametrize(
    ("labels", "answers", "metric", "printed"),
    [
        (RARE, [0] * 8, "roc_auc", "one of them of 5% of the images"),
        (RARE, [""] * 8, "roc_auc", "one of them of 5% of the images"),
        (RARE, [0, 1] * 4, "accuracy", ""),
        ([0, 1] * 10, [0] * 8, "accuracy", "--set task.metric=roc_auc"),
        ([0, 1] * 10, [""] * 8, "accuracy", ""),
        (["False", "True"] * 10, [0] * 8, "accuracy", "--set task.metric=roc_auc"),
        ([1, 2] * 10, [1] * 8, "accuracy", ""),
        (["ant", *["bee"] * 19], ["bee"] * 8, "accuracy", ""),
    ],
)
def test_a_rare_label_speaks_for_probabilities_and_a_guess_is_printed(
    tmp_path: Path, labels: list[object], answers: list[object], metric: str, printed: str
) -> None:
    found = asks(tmp_path / "c", labels, "target", answers)
    assert found.value("task.metric") == metric
    assert bool(said(found, "task.metric")) == bool(printed) and printed in said(found, "task.metric")
