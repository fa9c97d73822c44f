"""Downloads that leave a choice: what is decided all the same, what is asked, and `--set`, which answers."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from downloads import LABELS, NAMES, TEST, TRAIN, plain, put, read
from making import write_table
from pipeline.competition.answers.form import read_form
from pipeline.competition.answers.task import make_task
from pipeline.competition.tables.table import read_test, read_train
from pipeline.config_file import load
from pipeline.detection.recognise import Found, recognise, render
from pipeline.files import InputError


def tables(root: Path, labels: Sequence[object] = LABELS, answer: object = "ant") -> None:
    """A train table and a sample submission, whose images are put elsewhere."""
    write_table(root / "train.csv", ["id", "label"], [list(row) for row in zip(TRAIN, labels, strict=True)])
    write_table(root / "sample_submission.csv", ["id", "label"], [[id_, answer] for id_ in TEST])


def value(found: Found, *keys: str) -> list[object]:
    return [found.value(f"data.{key}") for key in keys]


# ---- which files are an image's


def test_files_of_one_id_that_nothing_tells_apart_are_asked_for(tmp_path: Path) -> None:
    root = tmp_path / "c"
    tables(root)
    for kind in ("red", "green"):
        put(root, [f"train/{id_}_{kind}.png" for id_ in TRAIN] + [f"test/{id_}_{kind}.png" for id_ in TEST])
    with pytest.raises(InputError, match=r"train\.csv: each row must have one image file.*'train/\{id\}_green\.png'"):
        recognise(root)
    found = recognise(root, given={"data.image": "train/{id}_red.png"})
    assert value(found, "image", "test_image") == ["train/{id}_red.png", "test/{id}_red.png"]
    # What is drawn from the images, or named by the id alone, leaves no choice.
    put(root, [f"train/{id_}.png" for id_ in TRAIN] + [f"test/{id_}.png" for id_ in TEST])
    assert recognise(root).value("data.image") == "train/{id}.png"


def test_test_images_are_of_the_train_images_kind(tmp_path: Path) -> None:
    root = tmp_path / "c"
    tables(root)
    asked = [f"t{id_}" for id_ in TEST]
    write_table(root / "sample_submission.csv", ["id", "label"], [[id_, "ant"] for id_ in asked])
    put(root, [f"train-jpg/{id_}.jpg" for id_ in TRAIN] + [f"test-tif/{id_}.tif" for id_ in asked])
    put(root, [f"test-jpg/{id_}.jpg" for id_ in asked[:5]] + [f"test-jpg-more/{id_}.jpg" for id_ in asked[5:]])
    _, cfg, _, test = read(root, tmp_path)
    assert cfg.data.test_image == "**/{id}.jpg"
    assert test.paths[0] == "test-jpg/t000.jpg" and test.paths[-1] == "test-jpg-more/t007.jpg"


def test_files_that_look_more_like_test_images_are_taken_whatever_their_kind(tmp_path: Path) -> None:
    for number, (test, other) in enumerate([("test/{}.png", "preview/{}.jpg"), ("test/{}.JPG", "test_thumbs/{}.jpg")]):
        root = tmp_path / str(number)
        tables(root)
        write_table(root / "sample_submission.csv", ["id", "label"], [[f"t{id_}", "ant"] for id_ in TEST])
        put(root, [f"train/{id_}.jpg" for id_ in TRAIN])
        put(root, [path.format(f"t{id_}") for id_ in TEST for path in (test, other)])
        assert recognise(root).value("data.test_image") == test.format("{id}")


def test_parts_of_an_archive_are_to_be_joined(tmp_path: Path) -> None:
    root = tmp_path / "c"
    plain(root)
    for number in (1, 2):
        (root / f"train.zip.00{number}").write_bytes(b"half")
    with pytest.raises(InputError, match=r"2 files that are parts of archives.*cat train\.zip\.\* > train\.zip"):
        recognise(root)
    (root / "train.zip").write_bytes(b"whole")
    assert recognise(root).value("data.train") == "train.csv"


# ---- which table, which column


def test_the_k_best_of_the_sample_name_the_label_column(tmp_path: Path) -> None:
    root = tmp_path / "c"
    put(root, [f"train/{id_}.png" for id_ in TRAIN] + [f"test/{id_}.png" for id_ in TEST])
    people = [f"p{number % 7}" for number in range(20)]
    rows = [list(row) for row in zip(TRAIN, LABELS, people, strict=True)]
    write_table(root / "train.csv", ["id", "species", "who"], rows)
    write_table(root / "sample_submission.csv", ["id", "predictions"], [[id_, "p0 p3 p1"] for id_ in TEST])
    found = recognise(root)
    assert (found.value("data.labels"), found.value("task.metric")) == (("who",), "map@3")


def test_a_label_with_its_confidence_is_no_form_that_is_written(tmp_path: Path) -> None:
    root = tmp_path / "c"
    plain(root)
    write_table(root / "sample_submission.csv", ["id", "label"], [[id_, "ant 0.1"] for id_ in TEST])
    with pytest.raises(InputError, match=r"a label and its confidence, such as 'ant 0\.1'"):
        recognise(root)


def test_samples_that_differ_in_their_answer_alone_ask_for_the_same(tmp_path: Path) -> None:
    root = tmp_path / "c"
    plain(root)
    (root / "sample_submission.csv").unlink()
    for name in ("bee", "ant"):
        write_table(root / f"all_{name}_benchmark.csv", ["id", "label"], [[id_, name] for id_ in TEST])
    assert recognise(root).value("data.sample_submission") == "all_ant_benchmark.csv"


def test_two_samples_are_told_apart_by_what_is_said(tmp_path: Path) -> None:
    root = tmp_path / "c"
    plain(root)
    write_table(root / "sample_submission_2.csv", ["id", "label"], [[id_, "bee"] for id_ in TEST[:3]])
    with pytest.raises(InputError, match=r"--set data\.sample_submission=sample_submission\.csv"):
        recognise(root)
    found = recognise(root, given={"data.sample_submission": "sample_submission_2.csv"})
    assert value(found, "sample_submission", "test") == ["sample_submission_2.csv"] * 2
    with pytest.raises(InputError, match="must be a table of"):
        recognise(root, given={"data.sample_submission": "no.csv"})


def test_a_table_of_classes_is_neither_the_train_table_nor_the_sample(tmp_path: Path) -> None:
    root = tmp_path / "c"
    plain(root)
    (root / "sample_submission.csv").unlink()
    put(root, [f"test/t{id_}.png" for id_ in TEST])
    write_table(root / "test.csv", ["id"], [[f"t{id_}"] for id_ in TEST])
    write_table(root / "classes.csv", ["name", "kind"], [[name, "animal"] for name in NAMES])
    found = recognise(root)
    assert value(found, "train", "test", "sample_submission") == ["train.csv", "test.csv", ""]


def test_a_small_table_of_the_labels_beside_a_large_one_of_something_else(tmp_path: Path) -> None:
    root = tmp_path / "c"
    ids = [f"a{number:03d}" for number in range(300)]
    put(root, [f"images/{id_}.png" for id_ in ids])
    write_table(root / "latest.csv", ["id", "label"], [[id_, NAMES[int(id_[1:]) % 4]] for id_ in ids[:20]])
    write_table(root / "metadata.csv", ["id", "width"], [[id_, int(id_[1:]) % 3] for id_ in ids])
    write_table(root / "sample_submission.csv", ["id", "label"], [[id_, "ant"] for id_ in ids[20:30]])
    assert value(recognise(root), "train", "labels") == ["latest.csv", ("label",)]


def test_files_of_another_table_leave_no_choice(tmp_path: Path) -> None:
    root = tmp_path / "c"
    plain(root)
    people = [f"p{number}" for number in range(10)]
    put(root, [f"eyes/{name}_{side}.png" for name in people for side in ("left", "right")])
    write_table(root / "people.csv", ["who", "age"], [[name, number % 4] for number, name in enumerate(people)])
    assert recognise(root).value("data.train") == "train.csv"
    assert recognise(root, given={"data.image": "train/{id}.png"}).value("data.train") == "train.csv"


def test_a_table_of_the_test_images_is_no_train_table(tmp_path: Path) -> None:
    root = tmp_path / "c"
    put(root, [f"train/1{id_}.png" for id_ in TRAIN] + [f"test/2{id_}.png" for id_ in TEST])
    sexes = ["f", "m"] * 10
    rows = [[f"1{id_}", *row] for id_, *row in zip(TRAIN, range(20), sexes, strict=True)]
    write_table(root / "ages-training.csv", ["id", "age", "sex"], rows)
    write_table(
        root / "ages-test.csv", ["Case", "Sex"], [[f"2{id_}", sex] for id_, sex in zip(TEST, sexes, strict=False)]
    )
    assert recognise(root).value("data.train") == "ages-training.csv"


def test_one_json_for_each_image_is_no_table(tmp_path: Path) -> None:
    root = tmp_path / "c"
    plain(root)
    for id_ in TRAIN:
        (root / "train" / f"{id_}.json").write_text(json.dumps({"label": "ant"}))
    assert any("20 files of one image each" in line for line in recognise(root).seen)
    (root / "train.csv").unlink()
    (root / "sample_submission.csv").unlink()
    with pytest.raises(InputError, match=r"20 files of one image each .* a table must hold what they say"):
        recognise(root)


def test_class_folders_beside_other_parts(tmp_path: Path) -> None:
    root = tmp_path / "c"
    names = [f"{name}/{number}.png" for name in ("ant", "bee") for number in range(8)]
    for part in ("seg_train/seg_train", "additional_images"):
        put(root, [f"{part}/{name}" for name in names])
    put(root, [f"seg_pred/seg_pred/{number}.png" for number in range(6)])
    write_table(root / "sample_submission.csv", ["id", "label"], [[f"{number}.png", "ant"] for number in range(6)])
    assert recognise(root, given={"data.test_image": "seg_pred/seg_pred/{id}"}).value("data.train") == (
        "seg_train/seg_train/{label}/{file}"
    )
    chosen = "additional_images/{label}/{file}"
    given = {"data.train": chosen, "data.test_image": "seg_pred/seg_pred/{id}"}
    assert value(recognise(root, given=given), "train", "image") == [chosen, chosen]
    with pytest.raises(InputError, match=r"fits 0 of"):
        recognise(root, given={"data.train": "nothing/{label}/{file}"})


def test_a_class_that_no_train_image_has_is_one_all_the_same(tmp_path: Path) -> None:
    root = tmp_path / "c"
    put(root, [f"train/{id_}.png" for id_ in TRAIN] + [f"test/t{id_}.png" for id_ in TEST])
    rows = [[id_, *(float(number % 3 == kind) for kind in range(4)), number % 5] for number, id_ in enumerate(TRAIN)]
    write_table(root / "truth.csv", ["image", "a", "b", "c", "unknown", "age"], rows)
    assert recognise(root).value("data.labels") == ("a", "b", "c", "unknown")


# ---- one table of both parts


@pytest.mark.parametrize("has_sample", [True, False])
@pytest.mark.parametrize("labelled", [True, False])
def test_one_table_of_both_parts(tmp_path: Path, has_sample: bool, labelled: bool) -> None:
    root = tmp_path / "c"
    ids = [f"{number:03d}.png" for number in range(28)]
    put(root, [f"images/{id_}" for id_ in ids])
    parts = ["Train"] * 14 + ["val"] * 6 + ["Test"] * 8
    labels = [NAMES[number % 4] if labelled or number < 20 else "" for number in range(28)]
    write_table(
        root / "metadata.csv", ["file", "split", "label"], [list(row) for row in zip(ids, parts, labels, strict=True)]
    )
    if has_sample:
        write_table(root / "sample_submission.csv", ["file", "label"], [[id_, "ant"] for id_ in ids[20:]])
    found, cfg, train, test = read(root, tmp_path)
    assert value(found, "train", "test", "split") == ["metadata.csv", "metadata.csv", "split"]
    assert (train.ids, test.ids) == (ids[:20], ids[20:])
    form = read_form(cfg, make_task(cfg, train), test.ids)
    assert (form.columns, form.ids) == (("file", "label"), ids[20:])


def test_a_labelled_part_is_no_test_set_where_another_one_is(tmp_path: Path) -> None:
    root = tmp_path / "c"
    plain(root)
    rows = [[id_, LABELS[number], "train" if number < 15 else "test"] for number, id_ in enumerate(TRAIN)]
    write_table(root / "train.csv", ["id", "label", "split"], rows)
    put(root, [f"test/t{id_}.png" for id_ in TEST])
    write_table(root / "sample_submission.csv", ["id", "label"], [[f"t{id_}", "ant"] for id_ in TEST])
    assert recognise(root).value("data.split") is None
    assert recognise(root, given={"data.split": "split"}).value("data.split") == "split"


def test_a_column_that_names_no_parts_is_not_taken_for_one(tmp_path: Path) -> None:
    root = tmp_path / "c"
    plain(root, labels=["train", "boat", "test", "car"] * 5)
    assert recognise(root).value("data.split") is None
    plain(root)
    _, cfg, *_ = read(root, tmp_path)
    for column, message in (("label", "must begin with test in some rows"), ("no", "no")):
        data = cfg.data.model_copy(update={"split": column})
        with pytest.raises(InputError, match=message):
            read_train(cfg.model_copy(update={"data": data}))


# ---- rows without a label


def test_two_classes_and_an_empty_cell_are_two_classes(tmp_path: Path) -> None:
    root = tmp_path / "c"
    plain(root, labels=["", *["cat", "dog"] * 9, "cat"])
    write_table(root / "sample_submission.csv", ["id", "label"], [[id_, 0.5] for id_ in TEST])
    found = recognise(root)
    assert (found.value("data.negative"), found.value("task.metric")) == ("cat", "roc_auc")
    plain(root, labels=["", *LABELS[1:]])
    write_table(root / "sample_submission.csv", ["id", *NAMES], [[id_, *[0.25] * 4] for id_ in TEST])
    assert value(recognise(root), "tag_separator", "bad_images") == [None, "drop"]


@pytest.mark.parametrize("has_file", [True, False])
def test_a_few_rows_without_a_label_are_left_out(tmp_path: Path, has_file: bool) -> None:
    root = tmp_path / "c"
    plain(root, labels=["ant", "", *LABELS[2:]])
    if not has_file:
        (root / "train" / "001.png").unlink()
    found, cfg, train, _ = read(root, tmp_path)
    assert found.value("data.bad_images") == "drop" and len(train) == 19 and "001" not in train.ids
    assert make_task(cfg, train).classes == ("ant", "bee", "cow", "dog")


def test_many_rows_without_a_label_are_not(tmp_path: Path) -> None:
    root = tmp_path / "c"
    plain(root, labels=[*LABELS[:16], "", "", "", ""])
    _, cfg, train, _ = read(root, tmp_path)
    with pytest.raises(InputError, match=r"4 labels are empty .* set data\.bad_images = 'drop'"):
        make_task(cfg, train)


# ---- what is said


def test_all_that_is_said_is_taken_and_read_back(tmp_path: Path) -> None:
    root = tmp_path / "c"
    put(root, [f"a/{id_}x.png" for id_ in TRAIN] + [f"b/{id_}y.png" for id_ in TEST])
    rows = [[id_, LABELS[number], number % 5, number] for number, id_ in enumerate(TRAIN)]
    write_table(root / "first.csv", ["id", "kind", "grade", "scan"], rows)
    write_table(root / "second.csv", ["id", "kind", "grade", "scan"], rows)
    write_table(root / "asked.csv", ["scan", "grade"], [[id_, 0] for id_ in TEST])
    given = {
        "data.train": "second.csv",
        "data.id": "id",
        "data.labels": ("grade",),
        "data.image": "a/{id}x.png",
        "data.test": "asked.csv",
        "data.test_id": "scan",
        "data.test_image": "b/{scan}y.png",
        "data.sample_submission": "asked.csv",
        "data.group": "kind",
        "task.metric": "rmse",
    }
    found = recognise(root, given=given)
    assert {key: found.value(key) for key in given} == given
    path = tmp_path / "found.toml"
    path.write_text(render(found), encoding="utf-8")
    cfg = load(path)
    train = read_train(cfg, files=True)
    assert len(train) == 20 and make_task(cfg, train).kind == "number" and cfg.train.label_smoothing == 0
    assert read_test(cfg, files=True).paths[0] == "b/000y.png"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"data.train": "no.csv"}, "data.train must be a table of"),
        ({"data.id": "no"}, "must have the column data.id = 'no'"),
        ({"data.labels": ("no",)}, "must have the columns data.labels = 'no'"),
        ({"data.image": "train/{no}.png"}, "at most 0 of 20, by 'train/{no}.png' do"),
        ({"data.image": "nowhere/{id}.png"}, "at most 0 of 20, by 'nowhere/{id}.png' do"),
        ({"data.test_image": "nowhere/{id}.png"}, "at most 0 of 8, by 'nowhere/{id}.png' do"),
        ({"data.test": "no.csv"}, "data.test must be a table of"),
    ],
)
def test_what_is_said_wrongly_is_answered(tmp_path: Path, given: dict[str, object], message: str) -> None:
    plain(tmp_path / "c")
    with pytest.raises(ValueError, match=message):
        recognise(tmp_path / "c", given=given)
