"""Submissions: in the sample's form to the byte, and refused where the competition would refuse them."""

import csv
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from making import write_table
from pipeline.competition.answers import submission
from pipeline.competition.answers.ensembling import combine
from pipeline.competition.answers.form import read_form
from pipeline.competition.answers.probs import Probs
from pipeline.competition.answers.task import Task
from pipeline.competition.tables.csv_table import read_csv
from pipeline.config import Config
from pipeline.config_file import load
from pipeline.files import InputError
from pipeline.log import with_log

NAMES = ("ant", "bee", "cow")
IDS = [f"{number:03d}" for number in range(8)]
PROBS = np.random.default_rng(0).dirichlet([1, 1, 1], 8).astype(np.float32)
SINGLE = Task("single", NAMES, "accuracy", ("label",))


def sample(cfg: Config, header: list[str], cells: list[object], ids: list[str] = IDS) -> None:
    write_table(cfg.root / "sample_submission.csv", header, [[id_, *cells] for id_ in ids])


def make(cfg: Config, task: Task, probs: np.ndarray, path: Path = Path("output/submission.csv")) -> dict:
    form = read_form(cfg, task, IDS)
    submission.write(path, form, task, submission.fill(form, task, IDS, Probs.dense(probs)))
    return read_csv(path).frame.to_dict("list")


@pytest.mark.parametrize(
    ("task", "header", "cells", "expected"),
    [
        (SINGLE, ["id", "label"], ["ant"], [NAMES[k] for k in PROBS.argmax(1)]),
        (Task("single", ("no", "yes"), "roc_auc", ("y",)), ["id", "y"], [0.5], PROBS[:, 1]),
        (Task("single", NAMES, "map@3", ("y",)), ["id", "y"], ["ant"], None),
        (Task("multi", NAMES, "micro_f1", ("y",), " "), ["id", "y"], ["ant"], None),
        (Task("number", (), "rmse", ("y",)), ["id", "y"], [0], PROBS[:, 0]),
        (
            Task("single", ("0", "1", "2"), "quadratic_kappa", ("y",)),
            ["id", "y"],
            [0],
            [str(k) for k in PROBS.argmax(1)],
        ),
    ],
)
def test_one_column(
    competition: Callable[..., Config], task: Task, header: list, cells: list, expected: object
) -> None:
    cfg = competition()
    sample(cfg, header, cells)
    probs = PROBS[:, : max(1, len(task.classes))]
    made = make(cfg, task, probs)
    assert list(made) == header and made["id"] == IDS
    cells = made[header[1]]
    if task.metric == "map@3":
        assert all(len(set(cell.split())) == 3 for cell in cells)
        assert [cell.split()[0] for cell in cells] == [NAMES[k] for k in PROBS.argmax(1)]
    elif task.kind == "multi":
        assert all(cells)
    elif isinstance(expected, list):
        assert cells == expected
    else:
        assert np.allclose([float(cell) for cell in cells], expected)


def test_a_column_for_each_class_in_the_samples_order(competition: Callable[..., Config]) -> None:
    cfg = competition()
    sample(cfg, ["id", "cow", "ant", "bee"], [0, 0, 0], IDS[::-1])
    made = make(cfg, Task("single", NAMES, "log_loss", ("y",)), PROBS)
    assert list(made) == ["id", "cow", "ant", "bee"]
    assert made["id"] == IDS[::-1]
    values = np.array([[float(cell) for cell in made[name]] for name in NAMES]).T[::-1]
    assert np.allclose(values, PROBS, atol=1e-6)
    assert np.abs(values.sum(1) - 1).max() < 1e-9


def test_rows_of_many_classes_still_sum_to_one(competition: Callable[..., Config]) -> None:
    cfg, names = competition(), tuple(f"c{number}" for number in range(120))
    sample(cfg, ["id", *names], [1 / 120] * 120)
    made = make(cfg, Task("single", names, "log_loss", ("y",)), np.full((8, 120), 1 / 120, np.float32))
    assert np.abs(np.array([[float(cell) for cell in made[name]] for name in names]).sum(0) - 1).max() < 1e-6


@pytest.mark.parametrize(
    "data",
    [
        'id,label\n{}', '"id","label"\n{}', "id;label\r\n{}", "\ufeffid\tlabel\n{}",
    ],
)  # fmt: skip
def test_encoding_separator_quoting_and_line_ends_are_the_samples(
    competition: Callable[..., Config], data: str
) -> None:
    cfg = competition()
    newline = "\r\n" if "\r\n" in data else "\n"
    separator = next(mark for mark in ",;\t" if mark in data)
    quote = '"' if '"' in data else ""
    rows = "".join(f"{quote}{id_}{quote}{separator}{quote}ant{quote}{newline}" for id_ in IDS)
    (cfg.root / "sample_submission.csv").write_bytes(data.format(rows).encode())
    make(cfg, SINGLE, np.tile([1.0, 0, 0], (8, 1)))
    assert Path("output/submission.csv").read_bytes() == data.format(rows).encode()


def test_korean_cp949(competition: Callable[..., Config]) -> None:
    cfg = competition()
    text = "id,분류\n" + "".join(f"{id_},\n" for id_ in IDS)
    (cfg.root / "sample_submission.csv").write_bytes(text.encode("cp949"))
    make(cfg, Task("single", ("강아지", "고양이"), "accuracy", ("y",)), PROBS[:, :2])
    assert "강아지" in Path("output/submission.csv").read_bytes().decode("cp949")


def test_an_unnamed_index_column_is_the_id(competition: Callable[..., Config]) -> None:
    cfg = competition()
    sample(cfg, ["", "label"], ["ant"])
    assert list(make(cfg, SINGLE, PROBS)) == ["", "label"]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([*IDS, "999"], r"1 ids have no test image \(999\) of 9"),
        (["900", "999"], r"2 ids have no test image \(900, 999\) of 2; set data.test or data.test_id"),
        ([*IDS, "000"], r"1 ids appear more than once \(000\)"),
    ],
)
def test_a_sample_that_does_not_fit(competition: Callable[..., Config], ids: list[str], message: str) -> None:
    cfg = competition()
    sample(cfg, ["id", "label"], ["ant"], ids)
    with pytest.raises(InputError, match=message):
        read_form(cfg, SINGLE, IDS)


@pytest.mark.parametrize("more", [[], ["900", "999"]])
def test_a_sample_of_another_stage_is_said_with_counts(
    competition: Callable[..., Config], more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Test images that are not asked for have no row; ids without an image are refused, or get the prior."""
    cfg = competition("data.bad_images=drop") if more else competition()
    sample(cfg, ["id", "label"], ["ant"], [*IDS[:5], *more])
    with_log(None)
    form = read_form(cfg, SINGLE, IDS)
    said = capsys.readouterr().out
    assert "3 test images are not asked for (005, 006, 007)" in said and "of 8: they have no row" in said
    assert ("2 ids have no test image (900, 999) of 7, and get the class prior" in said) == bool(more)
    assert form.ids == [*IDS[:5], *more]
    if more:
        with pytest.raises(InputError, match=r"2 ids have no test image .* of 7; set data.bad_images = 'drop'"):
            read_form(load(Path(cfg.path)), SINGLE, IDS)


@pytest.mark.parametrize(
    ("separator", "cells", "expected"),
    [
        (",", ["ant, bee", "cow"], "ant, bee"),
        (",", ["ant,bee", "cow"], "ant,bee"),
        (",", ["ant bee", "cow"], "ant bee"),
        ("|", ["ant; bee", "bee; cow"], "ant; bee"),
        (",", ["ant", "cow"], "ant,bee"),
        (" + ", ["ant", "cow"], "ant + bee"),
        (",", ["ant + bee", "cow"], "ant + bee"),
        ("/", ["ant", "ant/cow"], "ant/bee"),
        (",", ["", ""], "ant,bee"),
        ("|", ["['ant', 'bee']", "[]"], "['ant', 'bee']"),
        ("|", ["[]", "[]"], "['ant', 'bee']"),
        (" ", ['["cow"]', '["cow"]'], '["ant", "bee"]'),
    ],
)
def test_tags_are_separated_as_in_the_sample(
    competition: Callable[..., Config], separator: str, cells: list[str], expected: str
) -> None:
    cfg = competition(f"data.tag_separator={separator}")
    rows = [[id_, cells[number % 2]] for number, id_ in enumerate(IDS)]
    write_table(cfg.root / "sample_submission.csv", ["id", "label"], rows)
    task = Task("multi", NAMES, "micro_f1", ("label",), separator, may_be_empty=True)
    make(cfg, task, np.tile(np.float32([0.9, 0.8, 0.1]), (8, 1)))
    with Path("output/submission.csv").open(newline="") as stream:
        assert [row[1] for row in csv.reader(stream)] == ["label", *[expected] * 8]


def test_numbers_are_written_with_the_samples_decimal_comma(competition: Callable[..., Config]) -> None:
    cfg = competition()
    text = "sep=;\r\nid;y;note\r\n" + "".join(f"{id_};0,5;1,0{id_}\r\n" for id_ in IDS)
    (cfg.root / "sample_submission.csv").write_bytes(text.encode())
    write_table(cfg.root / "test.csv", ["id", "note"], [[id_, f"1.0{id_}"] for id_ in IDS])
    values = np.float32([[0.25], [0.5], [0.75], [1], [2], [-3.5], [1e-7], [12]])
    form = read_form(load(Path(cfg.path), ["data.test=test.csv"]), Task("number", (), "rmse", ("y",)), IDS)
    path = Path("output/submission.csv")
    task = Task("number", (), "rmse", ("y",))
    submission.write(path, form, task, submission.fill(form, task, IDS, Probs.dense(values)))
    frame = pd.read_csv(path, sep=";", decimal=",", dtype={"id": str})
    assert frame["id"].tolist() == IDS and np.allclose(frame["y"], values[:, 0]) and b"1,0003\r\n" in path.read_bytes()
    assert path.read_bytes().startswith(b"id;y;note\r\n000;0,25;1,0000\r\n")


@pytest.mark.parametrize(
    ("train", "expected"), [("0,25", b"000;0,25\n"), ("1.234,5", b"000;0,25\n"), ("0.25", b"000;0.25\n")]
)
def test_where_the_sample_has_no_fraction_the_train_table_shows_the_decimal_comma(
    competition: Callable[..., Config], train: str, expected: bytes
) -> None:
    cfg, task = competition(), Task("number", (), "rmse", ("y",))
    (cfg.root / "train.csv").write_text("id;y\n" + "".join(f"{n:03d};{train}\n" for n in range(24)))
    (cfg.root / "sample_submission.csv").write_text("id;y\n" + "".join(f"{id_};0\n" for id_ in IDS))
    path = Path("output/submission.csv")
    form = read_form(cfg, task, IDS)
    submission.write(path, form, task, submission.fill(form, task, IDS, Probs.dense(np.full((8, 1), 0.25))))
    assert path.read_bytes().startswith(b"id;y\n" + expected)


def test_the_encoding_is_the_samples(competition: Callable[..., Config]) -> None:
    cfg = competition("data.encoding=gbk")
    text = "id,分类\n" + "".join(f"{id_},正常\n" for id_ in IDS)
    for data, encoding in ((text.encode("gbk"), "gbk"), (text.encode("utf-16"), "utf-16")):
        (cfg.root / "sample_submission.csv").write_bytes(data)
        task, path = Task("single", ("擦花", "正常"), "accuracy", ("分类",)), Path("output/submission.csv")
        form = read_form(cfg, task, IDS)
        submission.write(path, form, task, submission.fill(form, task, IDS, Probs.dense(PROBS[:, :2])))
        assert "擦花" in path.read_bytes().decode(encoding)


def test_columns_that_are_no_classes(competition: Callable[..., Config]) -> None:
    cfg = competition()
    sample(cfg, ["id", "ant", "bee", "dog"], [0, 0, 0])
    with pytest.raises(InputError, match=r"1 columns are no class \(dog\); 1 classes have no column \(cow\)"):
        read_form(cfg, SINGLE, IDS)


@pytest.mark.parametrize(
    ("metric", "header", "change", "message"),
    [
        ("accuracy", ["id", "label"], {"label": "dog"}, "no train class"),
        ("accuracy", ["id", "label"], {"label": ""}, "no cell may be empty"),
        ("accuracy", ["id", "label"], {"id": "zzz"}, "the ids must be the sample's"),
        ("log_loss", ["id", *NAMES], {"ant": "nan"}, "finite"),
        ("log_loss", ["id", *NAMES], {"ant": "0.9", "bee": "0.9"}, "sum to 1"),
        ("log_loss", ["id", *NAMES], {"ant": "-1", "bee": "2", "cow": "0"}, r"in \[0, 1\]"),
        ("log_loss", ["id", *NAMES], {"ant": "x"}, "must be a number"),
        ("map@3", ["id", "label"], {"label": "ant ant bee"}, "3 different labels"),
    ],
)
def test_what_would_be_refused_is_not_written(
    competition: Callable[..., Config], metric: str, header: list[str], change: dict, message: str
) -> None:
    cfg, task, path = competition(), Task("single", NAMES, metric, ("label",)), Path("output/submission.csv")
    sample(cfg, header, ["ant"] * (len(header) - 1))
    path.write_text("an older one")
    form = read_form(cfg, task, IDS)
    (frame,) = submission.fill(form, task, IDS, Probs.dense(PROBS))
    for column, cell in change.items():
        frame.loc[3, column] = cell
    with pytest.raises(InputError, match=message):
        submission.write(path, form, task, [frame])
    assert list(Path("output").iterdir()) == []


def test_spaces_in_the_header_are_kept(competition: Callable[..., Config]) -> None:
    cfg = competition()
    sample(cfg, ["id", " cow", "ant ", " bee"], [0, 0, 1])
    made = Path("output/submission.csv")
    make(cfg, Task("single", NAMES, "log_loss", ("label",)), PROBS, made)
    assert made.read_text().splitlines()[0] == "id, cow,ant , bee"


@pytest.mark.parametrize("header", [["id", "label"], ["id", "label", "confidence"], ["id", "y"]])
def test_answers_that_all_differ_are_answers(competition: Callable[..., Config], header: list[str]) -> None:
    cfg = competition()
    rows = [[id_, f"any {id_}", *[0.5] * (len(header) - 2)] for id_ in IDS]
    write_table(cfg.root / "sample_submission.csv", header, rows)
    made = make(cfg, SINGLE, PROBS)
    assert made[header[1]] == [NAMES[k] for k in PROBS.argmax(1)]
    assert "confidence" not in made or set(made["confidence"]) == {"0.5"}


def test_a_test_table_that_has_the_samples_answers_too(competition: Callable[..., Config]) -> None:
    cfg = competition("data.test=test.csv")
    rows = [[id_, "unknown", 0.5] for id_ in IDS]
    for name in ("test.csv", "sample_submission.csv"):
        write_table(cfg.root / name, ["id", "label", "prob"], rows)
    assert make(cfg, SINGLE, PROBS)["label"] == [NAMES[k] for k in PROBS.argmax(1)]


@pytest.mark.parametrize(
    ("names", "cells", "written"),
    [
        (("0.0", "1.0", "2.0"), ["0"], ("0", "1", "2")),
        (("1", "2", "3"), ["01"], ("01", "02", "03")),
        (("ant", "bee", "cow"), ["Cow"], ("Ant", "Bee", "Cow")),
        ((" ant", " bee", " cow"), ["ant"], ("ant", "bee", "cow")),
        (("False", "True"), ["0"], ("0", "1")),
        (("ant", "bee", "cow"), [""], ("ant", "bee", "cow")),
        (("None", "Mild", "Severe"), ["none"], ("none", "mild", "severe")),
    ],
)
def test_labels_are_written_as_in_the_sample(
    competition: Callable[..., Config], names: tuple, cells: list, written: tuple
) -> None:
    cfg = competition()
    sample(cfg, ["id", "label"], cells)
    probs = PROBS[:, : len(names)]
    made = make(cfg, Task("single", names, "accuracy", ("label",)), probs)
    assert made["label"] == [written[number] for number in probs.argmax(1)]


@pytest.mark.parametrize(
    ("task", "cell", "pattern"),
    [
        (Task("single", ("1.0", "2.0", "3.0"), "map@3", ("y",)), "1 2 3", "^[123] [123] [123]$"),
        (Task("multi", ("ant", "bee", "cow"), "micro_f1", ("y",), " "), "Ant Bee", "^(Ant|Bee|Cow)( Bee| Cow)*$"),
    ],
)
def test_several_labels_in_a_cell_are_written_as_in_the_sample(
    competition: Callable[..., Config], task: Task, cell: str, pattern: str
) -> None:
    cfg = competition()
    sample(cfg, ["id", "y"], [cell])
    assert all(re.match(pattern, cell) for cell in make(cfg, task, PROBS)["y"])


def test_answers_that_are_no_labels(competition: Callable[..., Config], caplog: pytest.LogCaptureFixture) -> None:
    cfg = competition()
    rows = [[id_, ("north", "south")[number % 2]] for number, id_ in enumerate(IDS)]
    write_table(cfg.root / "sample_submission.csv", ["id", "label"], rows)
    with pytest.raises(InputError, match=r"answers must be labels of the train table, such as 'ant'. 2 are none"):
        read_form(cfg, SINGLE, IDS)
    sample(cfg, ["id", "label"], ["north"])
    with caplog.at_level("INFO", "pipeline"):
        make(cfg, SINGLE, PROBS)
    assert "the sample's answer 'north' is none of the 3 labels ('ant', ...)" in caplog.text
    rows = [[id_, ("A", "B")[number % 2]] for number, id_ in enumerate(IDS)]
    write_table(cfg.root / "sample_submission.csv", ["id", "label"], rows)
    with pytest.raises(InputError, match=r"leave open whether 'sea lion' is written SEA LION or Sea Lion"):
        read_form(cfg, Task("single", ("a", "b", "sea lion"), "accuracy", ("label",)), IDS)


def test_labels_with_spaces_cannot_stand_in_one_cell(competition: Callable[..., Config]) -> None:
    cfg = competition()
    sample(cfg, ["id", "label"], ["ant"])
    with pytest.raises(InputError, match=r"labels must have no spaces.*1 have some \(red fox\)"):
        read_form(cfg, Task("single", ("ant", "bee", "red fox"), "map@3", ("label",)), IDS)


def test_some_answers_that_are_no_labels_are_said(
    competition: Callable[..., Config], caplog: pytest.LogCaptureFixture
) -> None:
    cfg = competition()
    rows = [[id_, ("ant", "fly")[number % 2]] for number, id_ in enumerate(IDS)]
    write_table(cfg.root / "sample_submission.csv", ["id", "label"], rows)
    with caplog.at_level("INFO", "pipeline"):
        make(cfg, SINGLE, PROBS)
    assert "1 answers are no train class (fly) in the sample" in caplog.text


def test_another_spelling_than_the_samples_is_refused(competition: Callable[..., Config]) -> None:
    cfg, task = competition(), Task("single", ("1.0", "2.0"), "accuracy", ("label",))
    sample(cfg, ["id", "label"], ["1"])
    form = replace(read_form(cfg, task, IDS), spelling={})
    (frame,) = submission.fill(form, task, IDS, Probs.dense(PROBS[:, :2]))
    with pytest.raises(InputError, match=r"1 labels are written in another way than in the sample \(1.0\)"):
        submission.write(Path("output/submission.csv"), form, task, [frame])


def test_an_image_without_tags_is_an_empty_cell(competition: Callable[..., Config]) -> None:
    cfg = competition()
    sample(cfg, ["id", "y"], ["ant"])
    task = Task("multi", NAMES, "micro_f1", ("y",), " ", may_be_empty=True)
    probs = np.where(np.arange(8)[:, None] % 2, 0.9, 0.1) * np.ones(3)
    assert make(cfg, task, probs)["y"] == ["", "ant bee cow"] * 4
    assert make(cfg, replace(task, may_be_empty=False), probs)["y"] == ["ant", "ant bee cow"] * 4


def test_columns_of_ranks_need_not_sum_to_one(competition: Callable[..., Config]) -> None:
    cfg = competition()
    sample(cfg, ["id", *NAMES], [0.3, 0.3, 0.4])
    task = Task("single", NAMES, "mean_column_auc", ("y",))
    made = make(cfg, task, combine([Probs.dense(PROBS)], "rank", task, keep=3).array)
    for number, name in enumerate(NAMES):
        assert np.argsort([float(cell) for cell in made[name]]).tolist() == np.argsort(PROBS[:, number]).tolist()
