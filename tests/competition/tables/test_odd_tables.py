"""Odd tables, from the table to the submission: what is written comes back as it was written, or one line says why."""

import csv
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.competition.tables.json_table import read_frame
from pipeline.config import Config
from running import RUN, run_all

ROOT = Path("input/tiny")

# Ids of twelve images, all different, that spreadsheets, file systems or careless readers take for others.
IDS = {
    "formulas": ["=1+1", "+2", "-3", "@x", "=cmd|' calc'!A0", "1", "2", "3", "4", "5", "6", "7"],
    "only case differs": ["a", "A", "b", "B", "c", "C", "d", "D", "e", "E", "f", "F"],
    "only the unicode form differs": [
        unicodedata.normalize(form, text) for text in ("é", "가", "ä", "힣", "ñ", "ö") for form in ("NFC", "NFD")
    ],
    "numbers in many ways": ["1", "1.0", "01", "001", "1e0", "+1", "1_0", "10", "0x1", "1.00", "\uff11", "\u0661"],
    "like nothing": ["nan", "NaN", "None", "NULL", "null", "n.a.", "NA", "true", "True", "inf", "-inf", "#NA"],
    "spaces and quotes": ["a b", "a  b", "a'b", 'a"b', "a,b", "a;b", "a&b", "<b>", "a%20b", "a+b", "a#b", "a?b"],
    "names that few files have": [
        *(
            "a\nb",
            "tab\there",
            "-rf",
            "강아지 1",
            "x" * 251,
            "가" * 83,
            ".hidden",
            "trailing.",
            "..x",
            "*",
            "a\\b",
            "👩\u200d🔬",
        ),
    ],
    "columns": ["id", "label", "fold", "group", "image", "0", "Unnamed: 0", "index", "path", "x", "y", "z"],
}
LABELS = {
    "a class named like a column": ["id", "label", "fold"],
    "numbers that are equal": ["1", "1.0", "01"],
    "like nothing": ["nan", "None", "N/A"],
    "quotes and separators": ['a,"b"', "a;b", "a\tb"],
    "a formula": ["=1+1", "@x", "-1"],
    "line ends in a label": ["a\nb", "c", "d"],
    "Korean": ["강아지", "고양이", unicodedata.normalize("NFD", "새")],
}


def write(path: Path, rows: list[list[str]], newline: str = "\n") -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator=newline).writerows(rows)


def rename(ids: list[str], part: str, number: int) -> None:
    (ROOT / part / f"{number:03d}.png").rename(ROOT / part / f"{ids[number]}.png")


def cells(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream))


@pytest.mark.parametrize("kind", IDS)
def test_ids_stay_what_they_are(competition: Callable[..., Config], kind: str) -> None:
    ids, labels = IDS[kind], ["ant", "bee", "cow"]
    assert len(set(ids)) == 12
    competition(num_train=12, num_test=12)
    for part in ("train", "test"):
        for number in range(12):
            rename(ids, part, number)
    write(ROOT / "train.csv", [["id", "label"], *([id_, labels[n % 3]] for n, id_ in enumerate(ids))])
    write(ROOT / "answers.csv", [["id", "label"], *([id_, labels[n % 3]] for n, id_ in enumerate(ids))])
    write(ROOT / "sample_submission.csv", [["id", "label"], *([id_, "ant"] for id_ in ids)])
    assert run_all() == 0
    assert [row[0] for row in cells(RUN / "submission.csv")] == ["id", *ids]


@pytest.mark.parametrize("kind", LABELS)
def test_labels_stay_what_they_are(competition: Callable[..., Config], kind: str) -> None:
    labels = LABELS[kind]
    competition()
    for name, count in (("train", 24), ("answers", 8)):
        write(ROOT / f"{name}.csv", [["id", "label"], *([f"{n:03d}", labels[n % 3]] for n in range(count))])
    assert run_all() == 0
    rows = cells(RUN / "submission.csv")
    assert rows[0] == ["id", "label"] and {row[1] for row in rows[1:]} <= set(labels)
    assert len(cells(next(Path("folds").glob("*.csv")))) == 25


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty"),
        ("id,label\n", "must have at least one row"),
        ("id,label\n000,ant\n", "at least two classes"),
        ("id,label\n000,ant\n001,ant\n002,ant\n", "at least two classes"),
        ("id,label\n000,ant\n001,bee\n002\n", "Row 4 has 1"),
        ("id,label\n000,ant\n001,bee,x\n002,ant\n", "saw 3"),
        ("id,label,label\n000,ant,ant\n001,bee,ant\n", "more than one column named 'label'"),
        ("id,label\n000,ant\n000,bee\n", "appear more than once (000)"),
        ("id,label\n000,ant\n001,b\0ee\n", "NUL"),
        ("id,label\n000,ant\n,bee\n", "no id"),
        ("id,label\n000,ant\n001,\n", "labels are empty (001)"),
        ("id,name\n000,ant\n001,bee\n", "must have the columns 'label'"),
    ],
)
def test_tables_that_cannot_be_used_are_one_line(
    competition: Callable[..., Config], capsys: pytest.CaptureFixture[str], content: str, message: str
) -> None:
    competition()
    (ROOT / "train.csv").write_text(content, encoding="utf-8")
    assert run_all() == 1
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert not (RUN / "submission.csv").exists()


@pytest.mark.parametrize("newline", ["\r\n", "\r", "\n\n", "\n\r\n"])
def test_line_ends_of_every_kind(competition: Callable[..., Config], newline: str) -> None:
    competition()
    for name in ("train", "sample_submission"):
        path = ROOT / f"{name}.csv"
        path.write_bytes(path.read_bytes().replace(b"\n", newline.encode(), 10))
    assert run_all() == 0
    assert [row[0] for row in cells(RUN / "submission.csv")] == ["id", *(f"{n:03d}" for n in range(8))]


@pytest.mark.parametrize(("encoding", "given"), [("cp949", ""), ("gbk", "gbk"), ("utf-16", "")])
def test_lists_are_read_in_other_encodings_too(tmp_path: Path, encoding: str, given: str) -> None:
    label = "\uac15\uc544\uc9c0" if encoding != "gbk" else "\u6b63\u5e38"
    (tmp_path / "train.txt").write_bytes(f"a/1.jpg {label}\na/2.jpg {label}\n".encode(encoding))
    assert read_frame(tmp_path / "train.txt", given)["label"].tolist() == [label] * 2
