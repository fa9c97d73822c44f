"""Labelled images beside the train table's, and lists that say which images are tested."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from downloads import LABELS, NAMES, TEST, TRAIN, plain, put, read
from making import write_table
from pipeline.detection.recognise import recognise
from pipeline.files import InputError

VAL = [list(row) for row in zip(TRAIN[:12], LABELS, strict=False)]


def with_val(root: Path, rows: list[list[object]] = VAL, header: tuple[str, ...] = ("id", "label")) -> None:
    """Two tables and two flat folders, and a table and a folder of validation images with the ids of train images."""
    plain(root)
    put(root, [f"val/{id_}.png" for id_ in TRAIN[:12]])
    write_table(root / "val.csv", list(header), rows)


def test_a_labelled_table_of_other_images_is_trained_on_too(tmp_path: Path) -> None:
    root = tmp_path / "c"
    with_val(root)
    found, cfg, train, _ = read(root, tmp_path)
    assert cfg.data.train == "train.csv" and cfg.data.extra == ("val.csv:val/{id}.png",)
    assert train.paths == [f"train/{id_}.png" for id_ in TRAIN] + [f"val/{id_}.png" for id_ in TRAIN[:12]]
    assert Counter(train.labels["label"]) == Counter(LABELS) + Counter(label for _, label in VAL)
    (choice,) = (item for item in found.choices if item.key == "data.extra")
    assert choice.said and choice.reason.startswith("val.csv has labels of 12 more images: they are trained on too")
    assert (
        found.said == () and found.facts.num_images == 32 and not [line for line in found.seen if "Not taken" in line]
    )
    assert recognise(root, given={"data.extra": ()}).said == (
        "val.csv has labels of 12 more images, which are not used: name it in data.extra, or add its rows to "
        "train.csv, to train on them too",
    )
    assert recognise(root, given={"data.extra": ("val.csv:val/{id}.png",)}).said == ()


def an_unknown_label(root: Path) -> None:
    with_val(root, [[id_, "emu" if id_ == "003" else label] for id_, label in VAL])


def a_missing_image(root: Path) -> None:
    with_val(root, [[f"v{id_}", label] for id_, label in VAL])
    put(root, [f"val/v{id_}.png" for id_, _ in VAL[1:]])


def a_name_of_test_images(root: Path) -> None:
    with_val(root)
    (root / "val.csv").rename(root / "old_test.csv")


def images_of_the_train_table(root: Path) -> None:
    plain(root)
    write_table(root / "val.csv", ["id", "label", "folder"], [[*row, "train"] for row in VAL])


def images_to_be_predicted(root: Path) -> None:
    plain(root)
    write_table(root / "val.csv", ["id", "label", "folder"], [[*row, "test"] for row in VAL[:8]])


def other_label_columns(root: Path) -> None:
    with_val(root, header=("id", "kind"))


def one_label_in_every_row(root: Path) -> None:
    with_val(root, [[id_, "ant"] for id_, _ in VAL])


@pytest.mark.parametrize(
    "make",
    [
        an_unknown_label,
        a_missing_image,
        a_name_of_test_images,
        images_of_the_train_table,
        images_to_be_predicted,
        other_label_columns,
        one_label_in_every_row,
    ],
)
def test_what_may_be_something_else_is_not_trained_on(tmp_path: Path, make: Callable[[Path], None]) -> None:
    root = tmp_path / "c"
    make(root)
    found, cfg, train, _ = read(root, tmp_path)
    assert cfg.data.extra == () and train.paths == [f"train/{id_}.png" for id_ in TRAIN]
    if make in (an_unknown_label, a_missing_image, a_name_of_test_images, one_label_in_every_row):
        assert [line for line in found.said if "which are not used" in line]


def test_numbers_need_not_be_known(tmp_path: Path) -> None:
    root = tmp_path / "c"
    plain(root, labels=[number / 8 for number in range(20)])
    put(root, [f"val/v{id_}.png" for id_ in TRAIN[:12]])
    write_table(root / "val.csv", ["id", "label"], [[f"v{id_}", 50.5 + int(id_)] for id_ in TRAIN[:12]])
    write_table(root / "sample_submission.csv", ["id", "label"], [[id_, 0.5 + int(id_)] for id_ in TEST])
    _, cfg, train, _ = read(root, tmp_path)
    assert cfg.data.extra == ("val.csv:val/{id}.png",) and len(train) == 32


def test_tables_without_a_header_and_without_a_sample(tmp_path: Path) -> None:
    root = tmp_path / "c"
    for part, count in (("train", 20), ("val", 12), ("test", 8)):
        put(root, [f"{part}/{part}{number}.png" for number in range(count)])
        lines = [f"{part}{number}.png,{NAMES[number % 4]}\n" for number in range(count)]
        if part != "test":
            (root / f"{part}.csv").write_text("".join(lines))
    _, cfg, train, test = read(root, tmp_path)
    assert cfg.data.headerless == ("train.csv", "val.csv") and cfg.data.extra == ("val.csv:val/{column_1}",)
    assert len(train) == 32 and test.paths == [f"test/test{number}.png" for number in range(8)]


def test_validation_images_are_predicted_where_there_are_no_others(tmp_path: Path) -> None:
    root = tmp_path / "c"
    with_val(root, [[f"v{id_}", label] for id_, label in VAL])
    put(root, [f"val/v{id_}.png" for id_, _ in VAL])
    for path in [*root.glob("test/*"), *root.glob("val/0*"), root / "sample_submission.csv"]:
        path.unlink()
    _, cfg, train, test = read(root, tmp_path)
    assert (cfg.data.extra, cfg.data.test, len(train), len(test)) == ((), "val.csv", 20, 12)


@pytest.mark.parametrize("valid", ["valid", "val", "validation"])
@pytest.mark.parametrize("inner", ["", "images/"])
def test_folders_of_validation_images_with_the_train_classes(tmp_path: Path, valid: str, inner: str) -> None:
    root = tmp_path / "c"
    put(root, [f"train/{name}/{inner}{name}{n}.png" for name in NAMES for n in range(5)])
    put(root, [f"{valid}/{name}/{inner}{n}.png" for name in NAMES[:3] for n in range(2)])
    put(root, [f"test/{n}.png" for n in range(6)])
    found, cfg, train, test = read(root, tmp_path)
    assert cfg.data.train == f"train/{{label}}/{inner}{{file}}"
    assert cfg.data.extra == (f"{valid}/{{label}}/{inner}{{file}}",)
    assert Counter(train.labels["label"]) == {"ant": 7, "bee": 7, "cow": 7, "dog": 5}
    assert len(test) == 6 and found.said == () and found.facts.num_images == 26
    assert [item.said for item in found.choices if item.key == "data.extra"] == [True]


def test_folders_of_validation_images_with_other_classes_or_files_are_left(tmp_path: Path) -> None:
    root = tmp_path / "c"
    put(root, [f"train/{name}/{name}{n}.png" for name in NAMES for n in range(5)])
    put(root, [f"test/{n}.png" for n in range(6)])
    put(root, [f"val/{name}/{n}.png" for name in ("ant", "emu") for n in range(3)])
    found = recognise(root)
    assert found.value("data.extra") is None and found.said == ("folders of classes that are not used: 'val'",)
    (root / "val" / "emu").rename(root / "val" / "bee")
    assert recognise(root).value("data.extra") == ("val/{label}/{file}",)
    (root / "val" / "bee" / "notes.md").write_text("x")
    assert recognise(root).value("data.extra") is None


def listed(root: Path, *, table: bool = True) -> None:
    """A table or folders of classes of 20 images, with no other images and no sample."""
    paths = [f"part_{number // 10}/{id_}.png" for number, id_ in enumerate(TRAIN)]
    if table:
        rows = zip(TRAIN, LABELS, (f"p{number // 2}" for number in range(20)), strict=True)
        write_table(root / "all.csv", ["id", "label", "patient"], [[f"{id_}.png", *rest] for id_, *rest in rows])
    else:
        paths = [f"images/{label}/{id_}.png" for id_, label in zip(TRAIN, LABELS, strict=True)]
    put(root, paths)


@pytest.mark.parametrize("table", [True, False])
@pytest.mark.parametrize("kind", ["txt", "lst", "csv"])
def test_lists_say_which_images_are_tested(tmp_path: Path, kind: str, table: bool) -> None:
    root = tmp_path / "c"
    listed(root, table=table)
    for name, ids in (("train_val_list", TRAIN[:13]), ("test_list", TRAIN[14:])):
        (root / f"{name}.{kind}").write_text("".join(f"{id_}.png\n" for id_ in ids))
    found, cfg, train, test = read(root, tmp_path)
    assert cfg.data.train == cfg.data.test == ("all.csv" if table else "images/{label}/{file}")
    assert cfg.data.split == f"test_list.{kind}"
    assert sorted(path[-7:-4] for path in test.paths) == TRAIN[14:]
    assert sorted(path[-7:-4] for path in train.paths) == TRAIN[:14]
    (choice,) = (item for item in found.choices if item.key == "data.split")
    assert choice.said and choice.reason == (
        f"test_list.{kind} names 6 of 20 images, which are to be predicted; train_val_list.{kind} names 13 of the "
        "others; 1 that no list names are trained on."
    )


def test_groups_are_seen_in_the_rows_that_a_list_names(tmp_path: Path) -> None:
    root = tmp_path / "c"
    listed(root)
    put(root, [f"part_0/t{number}.png" for number in range(8)])
    with (root / "all.csv").open("a") as stream:
        stream.write("".join(f"t{number}.png,ant,q{number // 2}\n" for number in range(8)))
    (root / "testing.txt").write_text("".join(f"part_0/t{number}\n" for number in range(8)))
    _, cfg, train, test = read(root, tmp_path)
    assert cfg.data.group == "patient" and len(test) == 8
    assert train.groups == [f"group p{number // 2}" for number in range(20)]


def test_lists_that_may_say_something_else_split_nothing(tmp_path: Path) -> None:
    root = tmp_path / "c"
    plain(root)
    (root / "test_list.txt").write_text("train/001.png\ntrain/002.png\n")
    found = recognise(root)  # the sample asks for other images
    assert found.value("data.split") is None and found.value("data.test") == "sample_submission.csv"
    other = tmp_path / "d"
    listed(other)
    for name in ("test1.txt", "test2.txt"):
        (other / name).write_text("".join(f"{id_}.png\n" for id_ in TRAIN[:4]))
    with pytest.raises(InputError, match=r"Got none, and 2 lists .* --set data\.split=test1\.txt"):
        recognise(other)
    assert recognise(other, given={"data.split": "test2.txt"}).value("data.split") == "test2.txt"


def test_a_list_that_the_user_names_splits_folders_beside_other_images(tmp_path: Path) -> None:
    root = tmp_path / "c"
    listed(root, table=False)
    put(root, [f"test/t{number}.png" for number in range(4)])
    (root / "test.txt").write_text("".join(f"{id_}.png\n" for id_ in TRAIN[:4]))
    assert recognise(root).value("data.test") == "test/{file}"
    found = recognise(root, given={"data.split": "test.txt"})
    assert found.value("data.test") == found.value("data.train") == "images/{label}/{file}"


def test_a_table_that_a_list_splits_takes_extra_tables(tmp_path: Path) -> None:
    root = tmp_path / "c"
    listed(root)
    (root / "test_list.txt").write_text("".join(f"{id_}.png\n" for id_ in TRAIN[14:]))
    put(root, [f"val/v{number}.png" for number in range(4)])
    rows = [[f"v{number}.png", NAMES[number % 2], f"v{number // 2}"] for number in range(4)]
    write_table(root / "val.csv", ["id", "label", "patient"], rows)
    _, cfg, train, test = read(root, tmp_path)
    assert (cfg.data.split, len(cfg.data.extra), len(train), len(test)) == ("test_list.txt", 1, 18, 6)
