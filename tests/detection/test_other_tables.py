"""Labels in other forms than csv and json; what is not read stops the reading of folders."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from downloads import LABELS, NAMES, TEST, TRAIN, plain, put, read
from making import write_table
from pipeline.competition.answers import submission
from pipeline.competition.answers.form import read_form
from pipeline.competition.answers.probs import Probs
from pipeline.competition.answers.task import make_task
from pipeline.competition.tables.csv_table import read_csv
from pipeline.competition.tables.other_tables import read_parquet, read_xlsx
from pipeline.detection.recognise import recognise
from pipeline.files import InputError

ROWS = [[f"{id_}.png", label] for id_, label in zip(TRAIN, LABELS, strict=True)]


def site_folders(root: Path) -> None:
    """Train images in folders that are no classes, and a sample."""
    put(root, [f"train/site_{'ab'[number // 10]}/{id_}.png" for number, id_ in enumerate(TRAIN)])
    put(root, [f"test/t{id_}.png" for id_ in TEST])
    write_table(root / "sample_submission.csv", ["file_name", "kind"], [[f"t{id_}.png", "ant"] for id_ in TEST])


def as_parquet(root: Path) -> None:
    pd.DataFrame(ROWS, columns=["file_name", "kind"]).to_parquet(root / "train.parquet")


def as_lines(root: Path) -> None:
    lines = [json.dumps({"file_name": name, "kind": label, "box": [1, 2]}) for name, label in ROWS]
    (root / "train" / "metadata.jsonl").write_text("\n".join(lines) + "\n")


def as_list(root: Path) -> None:
    (root / "train.txt").write_text("".join(f"{name} {label}\n" for name, label in ROWS))


def as_tabs(root: Path) -> None:
    (root / "labels.txt").write_text("".join(f"{name}\t{label}\n" for name, label in ROWS))


def as_workbook(root: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in [["file_name", "kind ", "scan", "seen"], *([*row, 1, None] for row in ROWS)]:
        book.active.append(row)
    book.create_sheet("about").append(["not", "read"])
    book.save(root / "train.xlsx")


def as_second_sheet(root: Path) -> None:
    book = pytest.importorskip("openpyxl").Workbook()
    for row in (["Version", "3"], ["Contact", "x@y.z"]):
        book.active.append(row)
    sheet = book.create_sheet("train")
    for row in (["Labels of the train images"], [], ["file_name", "kind"], *ROWS):
        sheet.append(row)
    book.save(root / "train.xlsx")


def as_parquet_index(root: Path) -> None:
    pd.Series(dict(ROWS), name="kind", dtype="category").to_frame().to_parquet(root / "train.parquet")


def as_named_index(root: Path) -> None:
    pd.DataFrame(ROWS, columns=["file_name", "kind"]).set_index("file_name").to_parquet(root / "train.parquet")


def without_header(root: Path) -> None:
    (root / "train.csv").write_text("".join(f"{name},{label}\n" for name, label in ROWS))


@pytest.mark.parametrize(
    "form",
    [
        as_parquet,
        as_lines,
        as_list,
        as_tabs,
        as_workbook,
        as_second_sheet,
        as_parquet_index,
        as_named_index,
        without_header,
    ],
)
def test_labels_in_a_file_are_read_and_not_the_folders(tmp_path: Path, form: Callable[[Path], None]) -> None:
    root = tmp_path / "c"
    site_folders(root)
    form(root)
    _, _, train, test = read(root, tmp_path)
    names = [path.rpartition("/")[2] for path in train.paths]
    assert dict(zip(names, train.labels.iloc[:, 0], strict=True)) == dict(ROWS)
    assert test.paths == [f"test/t{id_}.png" for id_ in TEST]


def test_a_list_without_labels_names_the_test_images(tmp_path: Path) -> None:
    root = tmp_path / "c"
    put(root, [f"train/class_{NAMES.index(label)}/{id_}.png" for id_, label in zip(TRAIN, LABELS, strict=True)])
    put(root, [f"test/t{id_}.png" for id_ in TEST] + ["val/v1.png", "val/v2.png"])
    rows = [f"train/class_{NAMES.index(label)}/{id_}.png {NAMES.index(label)}" for id_, label in zip(TRAIN, LABELS, strict=True)]  # fmt: skip  # noqa: E501
    (root / "train.txt").write_text("\n".join(rows))
    (root / "test.txt").write_text("".join(f"test/t{id_}.png\n" for id_ in TEST))
    (root / "README.txt").write_text("As you like.\nGood luck.\n")
    _, cfg, train, test = read(root, tmp_path)
    assert (cfg.data.train, cfg.data.test, cfg.data.id) == ("train.txt", "test.txt", "name")
    assert set(train.labels["label"]) == set("0123") and test.ids == [f"t{id_}" for id_ in TEST]


def test_train_and_test_tables_without_a_header(tmp_path: Path) -> None:
    root = tmp_path / "c"
    site_folders(root)
    without_header(root)
    (root / "sample_submission.csv").unlink()
    (root / "test.csv").write_text("".join(f"t{id_}.png,x\n" for id_ in TEST))
    _, cfg, train, test = read(root, tmp_path)
    assert cfg.data.headerless == ("train.csv", "test.csv") and cfg.data.labels == ("column_2",)
    assert (len(train), len(test)) == (20, 8)


@pytest.mark.parametrize("form", [as_list, without_header])
@pytest.mark.parametrize("ending", ["PNG", "Png"])
def test_the_first_line_may_name_an_image_in_another_case(
    tmp_path: Path, form: Callable[[Path], None], ending: str
) -> None:
    root = tmp_path / "c"
    put(root, [f"train/{id_}.{ending}" for id_ in TRAIN] + [f"test/{id_}.{ending}" for id_ in TEST])
    form(root)
    (root / "test.csv").write_text("".join(f"{id_}.png\n" for id_ in TEST))
    _, _, train, test = read(root, tmp_path)
    assert train.labels.iloc[:, 0].tolist() == LABELS
    assert train.paths == [f"train/{id_}.{ending}" for id_ in TRAIN] and len(test) == len(TEST)


@pytest.mark.parametrize("number", [str, lambda id_: str(int(id_))], ids=["as files", "without zeros"])
def test_that_the_first_line_is_a_row_is_seen_by_the_images(tmp_path: Path, number: Callable[[str], str]) -> None:
    root = tmp_path / "c"
    plain(root)
    (root / "sample_submission.csv").write_text("".join(f"{number(id_)},0\n" for id_ in TEST))
    np.save(root / "features.npy", np.zeros((20, 5)))
    _, cfg, _, test = read(root, tmp_path)
    assert cfg.data.headerless == ("sample_submission.csv",) and test.ids == [number(id_) for id_ in TEST]
    (root / "sample_submission.csv").write_text("0,0\n0,0\n")
    with pytest.raises(
        InputError, match=r"""or data\.headerless='\["sample_submission\.csv"\]' where its first line is a row"""
    ):
        recognise(root)
    (root / "sample_submission.csv").unlink()
    (root / "test").rename(root / "second")
    assert recognise(root).value("data.test") == "second/{file}"


@pytest.mark.parametrize("train_has_header", [True, False])
def test_a_sample_without_a_header_asks_for_a_submission_without_one(tmp_path: Path, train_has_header: bool) -> None:
    root = tmp_path / "c"
    plain(root)
    if not train_has_header:
        rows = [f"{id_},{number % 3},{label}\n" for number, (id_, label) in enumerate(zip(TRAIN, LABELS, strict=True))]
        (root / "train.csv").write_text("".join(rows))
    (root / "sample_submission.csv").write_text("".join(f"{id_},ant\n" for id_ in TEST))
    _, cfg, train, test = read(root, tmp_path)
    assert (len(train), test.ids, set(train.labels.iloc[:, 0])) == (20, TEST, set(NAMES))
    task = make_task(cfg, train)
    form = read_form(cfg, task, test.ids)
    answers = [NAMES[number % 4] for number in range(8)]
    probs = Probs.dense(np.array([[name == answer for name in task.classes] for answer in answers], np.float32))
    path = tmp_path / "submission.csv"
    submission.write(path, form, task, submission.fill(form, task, test.ids, probs))
    assert path.read_text() == "".join(f"{id_},{answer}\n" for id_, answer in zip(TEST, answers, strict=True))
    path.write_text("id,label\n" + path.read_text())
    assert submission.check(form, task, read_csv(path, like=form.dialect)) == [
        "the ids must be the sample's, in its order. Of 9, 1 are not in the sample (id)"
    ]


def test_classes_that_are_numbers_are_no_images(tmp_path: Path) -> None:
    root = tmp_path / "c"
    plain(root, labels=[number % 3 for number in range(20)])
    write_table(root / "sample_submission.csv", ["id", "0", "1", "2"], [[id_, 0, 0, 0] for id_ in TEST])
    put(root, [f"test/{number}.png" for number in range(3)])
    assert recognise(root).value("data.headerless") is None


def test_columns_of_a_sample_without_a_header_are_to_be_named(tmp_path: Path) -> None:
    root = tmp_path / "c"
    plain(root)
    (root / "sample_submission.csv").write_text("".join(f"{id_},0.25,0.25,0.25,0.25\n" for id_ in TEST))
    with pytest.raises(
        InputError, match=r"must have a header line that says which of its 4 columns to fill is which cl"
    ):
        recognise(root)


def test_that_a_table_has_no_header_can_be_said(tmp_path: Path) -> None:
    root = tmp_path / "c"
    put(root, [f"train/{id_}.png" for id_ in TRAIN] + [f"test/{id_}.png" for id_ in TEST])
    (root / "labels.csv").write_text("".join(f"{int(id_)},{x}\n" for id_, x in zip(TRAIN, LABELS, strict=True)))
    write_table(root / "sample_submission.csv", ["id", "label"], [[int(id_), "ant"] for id_ in TEST])
    found = recognise(root, given={"data.headerless": ("labels.csv",)})
    assert found.value("data.image") == "train/{column_1:03}.png" and found.facts.num_images == 20


def test_a_table_for_each_part_in_its_folder(tmp_path: Path) -> None:
    root = tmp_path / "c"
    for part, count in (("train", 20), ("valid", 5), ("test", 8)):
        names = [f"{part}_{number}.jpg" for number in range(count)]
        put(root, [f"{part}/{name}" for name in names])
        rows = [[name, *(int(number % 3 == place) for place in range(3))] for number, name in enumerate(names)]
        lines = [", ".join(map(str, row)) for row in [["filename", *NAMES[:3]], *rows]]
        (root / part / "_classes.csv").write_text("\n".join(lines) + "\n")
    _, cfg, train, test = read(root, tmp_path)
    assert (cfg.data.train, cfg.data.test) == ("train/_classes.csv", "test/_classes.csv")
    assert cfg.data.extra == ("valid/_classes.csv:valid/{filename}",)
    assert cfg.data.labels == tuple(NAMES[:3]) and (len(train), len(test)) == (25, 8)


@pytest.mark.parametrize("name", ["labels.mat", "train_annotations.xml", "meta/classes.pkl", "train.xls"])
def test_what_looks_like_labels_and_is_not_read_stops_the_reading_of_folders(tmp_path: Path, name: str) -> None:
    root = tmp_path / "c"
    site_folders(root)
    (root / "meta").mkdir()
    (root / name).write_bytes(b"\0\1")
    with pytest.raises(InputError, match=rf"{name} looks like labels.*data\.train=FOLDER"):
        recognise(root)
    found = recognise(root, given={"data.train": "train/{label}/{file}"})
    assert found.value("data.train") == "train/{label}/{file}"


def test_a_workbook_as_it_was_written(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in (["id", " label ", "size"], ["007", "N/A", 3], ["a b", None, 2.5]):
        book.active.append(row)
    book.save(tmp_path / "a.xlsx")
    frame = read_xlsx(tmp_path / "a.xlsx")
    assert frame.to_dict("list") == {"id": ["007", "a b"], "label": ["N/A", ""], "size": ["3", "2.5"]}
    (tmp_path / "a.xlsx").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"a\.xlsx must be a workbook.*; save it as csv"):
        read_xlsx(tmp_path / "a.xlsx")


@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        ([["id", "label"], ["a", "x"]], {"id": ["a"], "label": ["x"]}),
        ([["Title"], [], ["id", "label"], ["a", "x"], ["b"]], {"id": ["a", "b"], "label": ["x", ""]}),
        ([[None, "label"], [0, "x"], [1, "y"]], {"Unnamed: 0": ["0", "1"], "label": ["x", "y"]}),  # an index
        ([["id"], ["a"], ["b"]], {"id": ["a", "b"]}),
    ],
)
def test_a_title_above_a_worksheet_is_no_header(tmp_path: Path, rows: list[list], columns: dict) -> None:
    book = pytest.importorskip("openpyxl").Workbook()
    for row in rows:
        book.active.append(row)
    book.create_sheet("notes").append(["a", "b"])
    book.save(tmp_path / "a.xlsx")
    assert read_xlsx(tmp_path / "a.xlsx").to_dict("list") == columns


def test_an_index_that_counts_rows_is_no_column(tmp_path: Path) -> None:
    pd.DataFrame({"id": list("abc")})[1:].to_parquet(tmp_path / "a.parquet")
    assert list(read_parquet(tmp_path / "a.parquet")) == ["id"]


def test_a_workbook_says_what_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "c"
    site_folders(root)
    (root / "train.xlsx").write_bytes(b"PK")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"train\.xlsx is read by openpyxl.*pip install openpyxl"):
        recognise(root)
