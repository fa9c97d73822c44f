"""Images that tables name and that are not there, or not read: a few train images are left out, and said."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from downloads import LABELS, NAMES, TEST, TRAIN, plain, put, read
from making import write_table
from pipeline.detection.recognise import Found, recognise
from pipeline.files import InputError

TESTED = [f"t{number:02d}" for number in range(12)]


def whole(root: Path, labels: Sequence[str] = LABELS) -> None:
    """Twenty train images of one table, twelve test images of another."""
    put(root, [f"train/{id_}.png" for id_ in TRAIN] + [f"test/{id_}.png" for id_ in TESTED])
    write_table(root / "train.csv", ["id", "label"], [list(row) for row in zip(TRAIN, labels, strict=True)])
    write_table(root / "sample_submission.csv", ["id", "label"], [[id_, labels[0]] for id_ in TESTED])


def reason(found: Found) -> str:
    """Why images are left out; "" where it is not written."""
    return next((item.reason for item in found.choices if item.key == "data.bad_images"), "")


def test_a_few_train_images_that_are_missing_are_left_out_and_said(tmp_path: Path) -> None:
    root = tmp_path / "c"
    whole(root)
    (root / "train" / "005.png").unlink()
    found, cfg, train, _ = read(root, tmp_path)
    assert cfg.data.bad_images == "drop" and len(train) == 20
    (choice,) = [item for item in found.choices if item.said and item.key == "data.bad_images"]
    assert choice.reason == (
        "1 train images are missing (train/005.png), of 20: they are left out. To stop instead: --set "
        "data.bad_images=error"
    )
    kept = recognise(root, given={"data.bad_images": "error"})
    assert kept.value("data.bad_images") == "error"


def broken(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).write_bytes(b"<html>")


@pytest.mark.parametrize(
    ("lost", "damaged", "is_left_out"),
    [
        ([], [], False),
        (["train/003.png"], [], True),
        (["train/003.png", "train/004.png"], [], False),  # a tenth is rather a part of the download
        ([], ["train/003.png"], True),
        (["train/003.png"], ["train/004.png"], False),
        (["train/003.png", "test/t03.png"], [], False),  # a row of the submission
        (["train/003.png"], ["test/t03.png"], False),
        (["test/t03.png"], [], False),
    ],
)
def test_what_is_left_out_unasked(tmp_path: Path, lost: list[str], damaged: list[str], is_left_out: bool) -> None:
    root = tmp_path / "c"
    whole(root)
    for path in lost:
        (root / path).unlink()
    broken(root, *damaged)
    found = recognise(root)
    assert found.value("data.bad_images") == ("drop" if is_left_out else None)
    assert all(path in reason(found) for path in [*lost, *damaged]) == bool(is_left_out or not [*lost, *damaged])


@pytest.mark.parametrize(
    ("lost", "what"),
    [
        ([f"train/{id_}.png" for id_ in TRAIN[3::4]], "train.csv: .*at most 15 of 20, by 'train/{id}.png' do"),
        ([f"test/{id_}.png" for id_ in TESTED[:5]], "sample_submission.csv: .*at most 7 of 12, by 'test/{id}.png' do"),
    ],
)
def test_where_a_part_is_lost_the_way_without_it_is_named_and_can_be_gone(
    tmp_path: Path, lost: list[str], what: str
) -> None:
    root = tmp_path / "c"
    whole(root)
    for path in lost:
        (root / path).unlink()
    with pytest.raises(InputError, match=what + ".*cannot be had, --set data.bad_images=drop$"):
        recognise(root)
    found = recognise(root, given={"data.bad_images": "drop"})
    values = [found.value(key) for key in ("data.bad_images", "data.image", "data.test_image")]
    assert values == ["drop", "train/{id}.png", "test/{id}.png"]


def test_half_of_the_files_are_too_few_for_a_template(tmp_path: Path) -> None:
    root = tmp_path / "c"
    whole(root)
    for id_ in TESTED[::2]:
        (root / "test" / f"{id_}.png").unlink()
    for given in ({}, {"data.bad_images": "drop"}):
        with pytest.raises(InputError, match=r"at most 6 of 12, by .*data\.test_image=FOLDER/\{COLUMN\}\.jpg$"):
            recognise(root, given=given)


def test_no_class_loses_all_its_images(tmp_path: Path) -> None:
    root = tmp_path / "c"
    whole(root, ["rare", *LABELS[1:]])
    (root / "train" / "000.png").unlink()
    assert recognise(root).value("data.bad_images") is None
    whole(root, ["ant bee rare", "bee cow", *["ant", "bee", "cow"] * 6])
    (root / "train" / "000.png").unlink()
    found = recognise(root)
    assert (found.value("data.tag_separator"), found.value("data.bad_images")) == (" ", None)
    (root / "train" / "001.png").unlink()
    put(root, ["train/000.png"])
    assert recognise(root).value("data.bad_images") == "drop"


def test_of_columns_of_flags_each_keeps_both(tmp_path: Path) -> None:
    root = tmp_path / "c"
    whole(root)
    rows = [[id_, int(number == 0), number % 2] for number, id_ in enumerate(TRAIN)]
    write_table(root / "train.csv", ["id", "a", "b"], rows)
    write_table(root / "sample_submission.csv", ["id", "a", "b"], [[id_, 0, 0] for id_ in TESTED])
    (root / "train" / "001.png").unlink()
    assert recognise(root).value("data.bad_images") == "drop"
    put(root, ["train/001.png"])
    (root / "train" / "000.png").unlink()
    assert recognise(root).value("data.bad_images") is None


def test_each_number_is_no_class(tmp_path: Path) -> None:
    root = tmp_path / "c"
    whole(root, [f"{number}.5" for number in range(20)])
    (root / "train" / "007.png").unlink()
    found = recognise(root)
    assert (found.value("data.bad_images"), found.value("task.metric")) == ("drop", "rmse")


def test_rows_without_a_label_and_without_an_image_are_both_said(tmp_path: Path) -> None:
    root = tmp_path / "c"
    whole(root, ["", *LABELS[1:]])
    for name in ("000.png", "003.png"):  # what has no label is lost already
        (root / "train" / name).unlink()
    text = reason(recognise(root))
    assert text.startswith(
        "1 of 20 rows have no label, such as '000': they are left out. 1 train images are missing (tr"
    )


def test_broken_files_in_folders_of_classes(tmp_path: Path) -> None:
    root = tmp_path / "c"
    put(root, [f"train/{name}/{n}.png" for name in NAMES for n in range(10)] + [f"test/{n}.png" for n in range(6)])
    broken(root, "train/ant/3.png")
    assert reason(recognise(root)).startswith("1 train images cannot be read (train/ant/3.png), of 40")


# ---- kinds that are not read


def test_copies_in_another_form_are_not_spoken_of(tmp_path: Path) -> None:
    root = tmp_path / "c"
    plain(root)
    (root / "train_tfrecords").mkdir()
    for name in ("train_tfrecords/a00-10.tfrec", "train/scan.dcm", "images.npz", "images.h5", "images.mat"):
        (root / name).write_bytes(b"x")
    assert recognise(root).said == ()


def test_where_images_are_missing_what_may_hold_them_is_named(tmp_path: Path) -> None:
    root = tmp_path / "c"
    plain(root)
    (root / "train" / "000.png").rename(root / "train" / "000.dcm")
    (root / "train" / "other.dcm").write_bytes(b"x")
    (root / "more.rar").write_bytes(b"x")
    found = recognise(root)
    assert found.value("data.bad_images") == "drop"
    assert found.said == (
        "2 files are of kinds that are not read (more.rar, train/000.dcm): unpack them by hand, as in: unrar x "
        "more.rar; convert them to PNG or JPEG",
    )


def test_images_of_another_kind_in_folders_of_classes_are_named(tmp_path: Path) -> None:
    root = tmp_path / "c"
    put(root, [f"train/{name}/{n}.png" for name in NAMES for n in range(5)] + [f"test/{n}.png" for n in range(6)])
    for name in ("train/ant/9.dcm", "test/9.dcm", "docs.dcm"):
        (root / name).write_bytes(b"x")
    (said,) = recognise(root).said
    assert said == "2 files are of kinds that are not read (test/9.dcm, train/ant/9.dcm): convert them to PNG or JPEG"


def test_heic_that_cannot_be_read_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    root = tmp_path / "c"
    whole(root)
    rows = [[f"{id_}.{'heic' if id_ == '003' else 'png'}", LABELS[number]] for number, id_ in enumerate(TRAIN)]
    write_table(root / "train.csv", ["id", "label"], rows)
    (root / "train" / "003.png").rename(root / "train" / "003.heic")
    found = recognise(root)
    assert reason(found).startswith("1 train images are of a kind that is not read (train/003.heic), of 20: they are")
    (said,) = found.said
    assert said.endswith(
        "(train/003.heic): HEIC is read by pillow-heif, which must be installed: pip install pillow-heif"
    )
    for path in root.glob("t*/*.png"):
        path.unlink()
    with pytest.raises(
        InputError, match=r"Got 1 files of other kinds \(train/003\.heic\); HEIC .* pip install pillow-heif"
    ):
        recognise(root)


def test_heic_is_an_image_like_others_where_it_is_read(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    root = tmp_path / "c"
    plain(root)
    for id_ in ("000", "001", "002"):
        pillow_heif.from_bytes("RGB", (64, 48), bytes(64 * 48 * 3)).save(root / "train" / f"{id_}.heic")
        (root / "train" / f"{id_}.png").unlink()
    found, cfg, train, _ = read(root, tmp_path)
    assert cfg.data.image == "train/{id}.*" and train.paths[:4] == [f"train/00{n}.{'heic' if n < 3 else 'png'}" for n in range(4)]  # fmt: skip  # noqa: E501
    assert "20 images looked at: 8 x 8 px to 64 x 48 px" in found.facts.text.replace("8 x 8 to", "8 x 8 px to")
    assert found.said == () and found.value("data.bad_images") is None and len(TEST) == 8


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        (
            "npy",
            np.zeros((2, 8, 8, 3), np.uint8),
            r"Got \(2, 8, 8, 3\); save each image as an array of its own, or as PNG$",
        ),
        ("png", bytes(128) + b"DICM", r"DICOM is not read; convert it to PNG$"),
        ("png", b"<html>", r"begins with b'<html>'; download it again, or convert it to PNG$"),
    ],
)
def test_where_no_image_can_be_read_the_reader_says_why(
    tmp_path: Path, name: str, data: bytes | np.ndarray, said: str
) -> None:
    root = tmp_path / "c"
    whole(root)
    for path in root.glob("train/*.png"):
        path.unlink()
        if isinstance(data, bytes):
            path.write_bytes(data)
        else:
            np.save(path.with_suffix(f".{name}"), data)
    with pytest.raises(InputError, match=rf"20 image files .* none can be read\. train/000\.{name}: .*{said}"):
        recognise(root)
