"""JSON descriptions: images with their annotations, one list, other names; every cell as text."""

import json
from pathlib import Path

import pytest

from pipeline.competition.tables.json_table import read_frame, read_json
from pipeline.files import InputError

IMAGES = [{"id": n, "file_name": f"a/{n}.jpg", "width": 10 + n, "tags": {"x": 1}} for n in (7, 3, 12)]
CATEGORIES = [{"id": 40, "name": "cat"}, {"id": 2, "name": "dog"}]
NOTES = [
    {"id": 900, "image_id": 3, "category_id": 2, "bbox": [1, 2.5, 3, 4]},
    {"id": 901, "image_id": 7, "category_id": 40, "bbox": [0, 0, 1, 1]},
    {"id": 902, "image_id": 7, "category_id": 2, "bbox": [0, 0, 1, 1]},
    {"id": 903, "image_id": 12, "category_id": 40, "bbox": [0, 0, 1, 1]},
]


def written(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


@pytest.mark.parametrize(("images", "notes"), [("images", "annotations"), ("pictures", "labels")])
@pytest.mark.parametrize("key", ["image_id", "picture"])
def test_annotations_are_joined_to_their_images(tmp_path: Path, images: str, notes: str, key: str) -> None:
    renamed = [{(key if name == "image_id" else name): value for name, value in note.items()} for note in NOTES]
    value = {notes: renamed, "categories": CATEGORIES, images: IMAGES, "info": {"year": 2020}}
    frame = read_json(written(tmp_path / "train.json", value))
    assert frame["id"].tolist() == ["7", "3", "12"]
    assert frame["file_name"].tolist() == ["a/7.jpg", "a/3.jpg", "a/12.jpg"]
    assert frame["category_id"].tolist() == ["40", "2", "40"], "the first of several"
    assert frame["bbox_1"].tolist() == ["0", "2.5", "0"]
    assert "tags" not in frame and key not in frame


def test_images_without_annotations_are_no_rows_where_others_have_some(tmp_path: Path) -> None:
    value = {"images": IMAGES, "annotations": NOTES[:3], "categories": CATEGORIES}
    assert read_json(written(tmp_path / "x.json", value))["id"].tolist() == ["7", "3"]


@pytest.mark.parametrize("value", [IMAGES, {"images": IMAGES, "licenses": [{"id": 1, "name": "x"}]}])
def test_test_images_are_one_list(tmp_path: Path, value: object) -> None:
    frame = read_json(written(tmp_path / "x.json", value))
    assert frame["file_name"].tolist() == ["a/7.jpg", "a/3.jpg", "a/12.jpg"]
    assert frame["width"].tolist() == ["17", "13", "22"]


def test_missing_values_are_empty(tmp_path: Path) -> None:
    frame = read_json(written(tmp_path / "x.json", [{"id": "001", "label": None}, {"id": "002"}]))
    assert frame["id"].tolist() == ["001", "002"] and frame["label"].tolist() == ["", ""]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "must be JSON"),
        ("[" * 100_000, "must be JSON"),
        ('{"0": "cat"}', "no list of records"),
        ("[1]", "no list"),
    ],
)
def test_what_is_no_table_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_json(path)


def test_the_extension_decides(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("id,label\n001,a\n")
    assert read_frame(tmp_path / "x.csv")["id"].tolist() == ["001"]
    assert read_frame(written(tmp_path / "x.JSON", IMAGES))["id"].tolist() == ["7", "3", "12"]


def test_lists_of_texts_are_cells(tmp_path: Path) -> None:
    value = [{"id": "1", "tags": ["a b", "c"], "no": [1, 2]}, {"id": "2", "tags": ["d"], "no": []}]
    assert read_json(written(tmp_path / "x.json", value)).to_dict("list") == {"id": ["1", "2"], "tags": ["a b|c", "d"]}
