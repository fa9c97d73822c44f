"""Tables: encodings, separators, text cells, templates, and one message for all that is wrong."""

import csv
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from making import write_table
from pipeline.competition.tables.csv_table import Dialect, read_csv
from pipeline.competition.tables.table import read_test, read_train
from pipeline.competition.tables.templates import fields, paths_from_rows, pattern, rows_from_paths
from pipeline.config import Config, ConfigError
from pipeline.files import InputError


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ("id_code\nabc\ndd\n", {"id_code": ["abc", "dd"]}),
        ("a;b\n1;2,5\n", {"a": ["1"], "b": ["2.5"]}),
        ("a;b\n1;x,5\n", {"a": ["1"], "b": ["x,5"]}),
        ("sep=;\na;b\n1;2,5 cm\n", {"a": ["1"], "b": ["2,5 cm"]}),
        ('"SEP=|"\r\na|b\r\n1;2|3\r\n', {"a": ["1;2"], "b": ["3"]}),
        ("a\nsep=;\n", {"a": ["sep=;"]}),
        ("a\tb c\n1\t2 3\n", {"a": ["1"], "b c": ["2 3"]}),
        ("x|y\n1|2\n", {"x": ["1"], "y": ["2"]}),
        ("id,label\n001,N/A\n002,nan\n1e5,None\n", {"id": ["001", "002", "1e5"], "label": ["N/A", "nan", "None"]}),
        ('id,text\n1,"a,b\nc"\n', {"id": ["1"], "text": ["a,b\nc"]}),
        ("id,label\n1,\n2,x\n", {"id": ["1", "2"], "label": ["", "x"]}),
        ("id,label\n", {"id": [], "label": []}),
        ("\n\nid,label\r1,a\r2,b\r", {"id": ["1", "2"], "label": ["a", "b"]}),
        (",id,label\n0,a,b\n", {"": ["0"], "id": ["a"], "label": ["b"]}),
    ],
)
def test_cells_are_text_and_the_separator_is_found(tmp_path: Path, text: str, cells: dict) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="utf-8")
    assert read_csv(path).frame.to_dict("list") == cells


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949"])
def test_korean_encodings_and_the_dialect(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes('"아이디";"라벨"\r\n"1";"강아지"\r\n'.encode(encoding))
    table = read_csv(path)
    assert table.frame.to_dict("list") == {"아이디": ["1"], "라벨": ["강아지"]}
    assert table.dialect == Dialect(encoding, ";", "\r\n", csv.QUOTE_ALL)


@pytest.mark.parametrize("mark", ["\ufeff", ""])
def test_utf_16_is_known_by_its_mark(tmp_path: Path, mark: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(f"{mark}id,label\n1,강아지\n".encode("utf-16-be"))
    if mark:
        assert read_csv(path).frame.to_dict("list") == {"id": ["1"], "label": ["강아지"]}
    assert read_csv(path, "utf-16-be").frame.to_dict("list") == {"id": ["1"], "label": ["강아지"]}


@pytest.mark.parametrize(
    ("words", "encoding"),
    [
        (["正常", "擦花"], "gbk"),
        (["猫", "狗", "鸟"], "gbk"),  # each is a syllable of Korean in CP949
        (["꿩", "닭"], "cp949"),  # so that one syllable proves nothing
        (["苹果", "香蕉", "西瓜"], "gbk"),
        (["Äpfel", "Gemüse"], "cp1252"),
        (["écureuil", "lièvre"], "cp1252"),
        (["犬", "ねこ"], "cp932"),
        (["ÀÁÂ", "ÃÄÅ"], "cp1252"),
    ],
)
def test_text_that_is_no_korean_is_not_read_as_korean(tmp_path: Path, words: list[str], encoding: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("\n".join(["id,label", *(f"{n},{word}" for n, word in enumerate(words))]).encode(encoding))
    with pytest.raises(InputError, match=f"{words[0]!r} in {encoding}.*set data.encoding"):
        read_csv(path)
    assert read_csv(path, encoding).frame["label"].tolist() == words
    with pytest.raises(InputError, match="must be in utf-8, as"):
        read_csv(path, "utf-8")


@pytest.mark.parametrize("labels", [["개", "고양이"], ["정상 25℃", "불량 30㎜"]])
def test_korean_needs_no_setting(tmp_path: Path, labels: list[str]) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("\n".join(["id,label", *(f"{n},{label}" for n, label in enumerate(labels))]).encode("cp949"))
    assert read_csv(path).frame["label"].tolist() == labels


def test_korean_labels_of_one_syllable_below_korean_columns(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    labels = ["개", "소", "말", "닭", "양"]
    path.write_bytes("\n".join(["번호,종류", *(f"{n},{label}" for n, label in enumerate(labels))]).encode("cp949"))
    assert read_csv(path).frame["종류"].tolist() == labels


def test_a_table_that_happens_to_be_utf8_too_is_in_the_encoding_that_is_given(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    data = "id,label\n1,猫\n".encode("gbk")
    path.write_bytes(data)
    assert data.decode("utf-8") == "id,label\n1,è\n"
    assert read_csv(path).frame["label"].tolist() == ["è"]
    assert read_csv(path, "gbk").frame["label"].tolist() == ["猫"]
    for words, encoding in (("café,25 °C", "gbk"), ("кот,猫", "gbk"), ("è,à", "cp1252")):
        path.write_text(f"a,b\n{words}\n", encoding="utf-8")
        assert read_csv(path, encoding).frame.iloc[0].tolist() == words.split(",")


@pytest.mark.parametrize(
    ("cells", "plain"),
    [
        (["0,25", "0,5", "-1,75e-3", "2"], ["0.25", "0.5", "-1.75e-3", "2"]),
        (["0,25", "0,5", "0,75"], ["0.25", "0.5", "0.75"]),
        (["1,3", "2,4", "1,2", "2"], None),
        (["1.234,5", "-12.345.678,25", "500,0", "1.000"], ["1234.5", "-12345678.25", "500.0", "1000"]),
        (["1.234,5", "1234,5"], None),
        (["1.234", "2.345"], None),  # may be fractions
        (["1.23,5"], None),
        (["1,3,5", "2,1"], None),
        (["['a', 'b']", "['c']", "[]"], ["a|b", "c", ""]),
        (['["a b","b"]', '["c"]'], ["a b|b", "c"]),
        (["[a, b]", "[c]"], ["a|b", "c"]),
        (["['a' 'b']", "['c']"], ["a|b", "c"]),
        (["['a, b', \"it's\"]"], ["a, b|it's"]),
        (["[a]", "[b]"], None),
        (["[a, b]", "c"], None),
        (["['a|b']"], None),
        (["[['a'], ['b']]"], None),
        (["['a',  'b']"], None),
    ],
)
def test_cells_in_a_way_of_their_own_become_plain_and_come_back(
    tmp_path: Path, cells: list[str], plain: list[str] | None
) -> None:
    import pandas as pd

    path = tmp_path / "t.csv"
    pd.DataFrame({"id": range(len(cells)), "label": cells}).to_csv(path, sep=";", index=False)
    table = read_csv(path)
    assert table.frame["label"].tolist() == (plain or cells)
    writing = table.dialect.writings.get("label")
    assert [writing.write(cell) for cell in plain] == cells if plain and writing else writing is None


def test_a_comma_between_tags_is_no_decimal_one(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id;label\n0;0,5\n1;3\n")
    assert read_csv(path).frame["label"].tolist() == ["0.5", "3"]
    assert read_csv(path, tag_separator=",").frame["label"].tolist() == ["0,5", "3"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"a,b\n1,2,3\n1,2\n1,2\n", "Expected 2 fields in line 2, saw 3"),
        (b"a,b\n1,2\n1\n1,2\n", "Row 3 has 1"),
        (b"a,b\n1,\x00\n", "NUL"),
        (b"a,b\n1,\xff\xfe\xfa\n", "in UTF-8"),
    ],
)
def test_broken_tables_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message):
        read_csv(path)


words = st.text(
    st.characters(codec="utf-8", exclude_characters="/{}\0\n\r.", exclude_categories=["Cs"]), min_size=1
).filter(lambda text: unicodedata.is_normalized("NFC", text))


@given(words, words)
def test_templates_read_back_what_they_write(label: str, number: str) -> None:
    import pandas as pd

    template = "train/{label}/{id}.jpg"
    (path,) = paths_from_rows(template, pd.DataFrame({"id": [number], "label": [label]}))
    match = pattern(template).fullmatch(path)
    assert match is not None
    assert match.groups() == (label, number)
    assert fields(template) == ["label", "id"]


@pytest.mark.parametrize("template", ["train/{id", "train/{}.jpg", "train/{id!r}.jpg", "train/{id:>5}.jpg"])
def test_a_wrong_template_is_a_wrong_setting(template: str) -> None:
    with pytest.raises(ConfigError):
        fields(template)


def test_a_template_makes_the_table(tmp_path: Path) -> None:
    for name in ("train/cat/1.jpg", "train/cat/2.jpg", "train/big dog/1.jpg", "train/readme.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    frame = rows_from_paths(tmp_path, "train/{label}/{file}.jpg")
    assert frame.to_dict("list") == {
        "label": ["big dog", "cat", "cat"],
        "file": ["1", "1", "2"],
        "path": ["train/big dog/1.jpg", "train/cat/1.jpg", "train/cat/2.jpg"],
    }
    assert rows_from_paths(tmp_path, "train/{path}/1.jpg")["path"].tolist() == ["big dog", "cat"]
    with pytest.raises(InputError, match="no file"):
        rows_from_paths(tmp_path, "test/{file}.jpg")


def test_a_linked_folder_is_followed_once(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.jpg").write_text("")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "train").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "loop").symlink_to(tmp_path / "root")
    assert rows_from_paths(tmp_path / "root", "train/{id}.jpg")["id"].tolist() == ["a"]


def test_samples_come_in_the_order_of_their_ids(competition: Callable[..., Config]) -> None:
    cfg = competition()
    before = read_train(cfg, files=True)
    rows = list(csv.reader((cfg.root / "train.csv").read_text().splitlines()))
    write_table(cfg.root / "train.csv", rows[0], rows[:0:-1])
    after = read_train(cfg, files=True)
    assert (before.ids, before.paths) == (after.ids, after.paths)
    assert before.labels.equals(after.labels)
    assert before.paths[3] == "train/003.png"


def test_everything_wrong_is_in_one_message(competition: Callable[..., Config]) -> None:
    cfg = competition()
    write_table(
        cfg.root / "train.csv", ["id", "label"], [["000", "ant"], ["000", "bee"], *([f"x{i}", "ant"] for i in range(7))]
    )
    with pytest.raises(InputError) as error:
        read_train(cfg, files=True)
    text = str(error.value)
    assert "1 ids appear more than once (000)" in text
    assert (
        "7 images are missing (train/x0.png, train/x1.png, train/x2.png, train/x3.png, train/x4.png, ...) under" in text
    )


def test_missing_and_double_columns_are_named(competition: Callable[..., Config]) -> None:
    cfg = competition("data.group=patient")
    with pytest.raises(InputError, match=r"must have the columns 'patient'\. It has: id, label"):
        read_train(cfg)
    write_table(cfg.root / "train.csv", ["id", "label", "label", "patient"], [["000", "ant", "bee", "p"]])
    with pytest.raises(InputError, match="more than one column named 'label'"):
        read_train(cfg)


@pytest.mark.parametrize("path", ["../{id}.png", "/etc/{id}"])
def test_no_path_leads_out_of_the_root(competition: Callable[..., Config], path: str) -> None:
    with pytest.raises(InputError, match="must stay inside"):
        read_train(competition(f"data.image={path}"))


def test_missing_folder_table_and_rows(competition: Callable[..., Config], workplace: Path) -> None:
    with pytest.raises(InputError, match="not a folder"):
        read_train(competition("data.root=input/none"))
    with pytest.raises(InputError, match=r"data.train: .*none.csv does not exist"):
        read_train(competition("data.train=none.csv"))
    write_table(workplace / "input/tiny/empty.csv", ["id", "label"], [])
    with pytest.raises(InputError, match="at least one row"):
        read_test(competition("data.test=empty.csv"))


def test_a_star_stands_for_the_extension_that_is_there(competition: Callable[..., Config], workplace: Path) -> None:
    cfg = competition("data.image=train/{id}.*")
    (cfg.root / "train/001.png").rename(cfg.root / "train/001.jpeg")
    assert read_train(cfg, files=True).paths[:3] == ["train/000.png", "train/001.jpeg", "train/002.png"]
    (cfg.root / "train/000.png").rename(cfg.root / "train/x.png")
    with pytest.raises(InputError, match=r"1 images are missing \(train/000\.\*\) under"):
        read_train(cfg, files=True)
    (cfg.root / "train/002.jpg").touch()
    with pytest.raises(InputError, match=r"1 paths fit several files \(train/002\.\*: 002\.jpg or 002\.png\)"):
        read_train(cfg)


def test_an_image_without_a_group_is_one_of_its_own(competition: Callable[..., Config]) -> None:
    cfg = competition("data.group=patient")
    write_table(cfg.root / "train.csv", ["id", "label", "patient"], [["0", "a", "p"], ["1", "b", ""], ["2", "b", ""]])
    assert len(set(read_train(cfg).groups or [])) == 3


def test_names_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    with open(os.fsencode(tmp_path / "train") + b"/\xb0\xad.png", "wb"):
        pass
    with pytest.raises(InputError, match="file names must be UTF-8"):
        rows_from_paths(tmp_path, "train/{id}.png")


def test_rows_of_one_image_share_a_fold(competition: Callable[..., Config]) -> None:
    cfg = competition("data.image=train/{image}.png")
    rows = [[f"box{number}", f"{number // 2:03d}", ("ant", "bee")[number % 2]] for number in range(8)]
    write_table(cfg.root / "train.csv", ["id", "image", "label"], rows)
    groups = read_train(cfg).groups
    assert groups is not None and [groups.index(group) for group in groups] == [0, 0, 2, 2, 4, 4, 6, 6]
    write_table(cfg.root / "train.csv", ["id", "image", "label"], rows[::2])
    assert read_train(cfg).groups is None
