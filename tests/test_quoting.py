"""Cells are anybody's and may be a page long: a message shows at most 80 characters of each, on one line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from making import write_table
from pipeline import prepare
from pipeline.competition.answers import submission
from pipeline.competition.answers.form import read_form
from pipeline.competition.answers.task import make_task
from pipeline.competition.tables.csv_table import read_csv
from pipeline.competition.tables.table import read_test, read_train
from pipeline.config import Config, ConfigError
from pipeline.config_file import load
from pipeline.files import InputError
from pipeline.quoting import MOST, shown
from running import CONFIG

PAGE = "x" * 5000
NAMES = ["ant", "bee", "cow"]
TRAIN = [[f"{n:03d}", NAMES[n % 3]] for n in range(24)]
TEST = [[f"{n:03d}", "ant"] for n in range(8)]
# A row of each table, or a whole one, and the settings by which it is refused.
CASES = {
    "an id without an image": ("train.csv", ["id", "label"], [*TRAIN, [PAGE[:200], "ant"]], ()),
    "an id twice": ("train.csv", ["id", "label"], [*TRAIN, [PAGE, "ant"], [PAGE, "bee"]], ()),
    "a path out of the folder": ("train.csv", ["id", "label"], [*TRAIN, [f"../{PAGE}", "ant"]], ()),
    "a header": ("train.csv", ["id", PAGE], TRAIN, ()),
    "two columns of a name": (
        "train.csv",
        ["id", PAGE, PAGE],
        [[*row, "x"] for row in TRAIN],
        (f"data.labels=['{PAGE}']",),
    ),
    "one class": ("train.csv", ["id", "label"], [[id_, PAGE] for id_, _ in TRAIN], ()),
    "no number": ("train.csv", ["id", "label"], [*TRAIN[:-1], ["023", PAGE]], ("task.metric=rmse",)),
    "no flag": (
        "train.csv",
        ["id", "a", "b"],
        [[id_, "1", PAGE] for id_, _ in TRAIN],
        ("data.labels=['a', 'b']",),
    ),
    "no grade": ("train.csv", ["id", "label"], [*TRAIN[:-1], ["023", PAGE]], ("task.order=['ant', 'bee', 'cow']",)),
    "no side of a box": (
        "train.csv",
        ["id", "label"],
        [[*row] for row in TRAIN],
        ("data.box=['id','id','id','label']",),
    ),
    "no split": ("train.csv", ["id", "label"], [*TRAIN, ["x", PAGE]], ("data.split=label",)),
    "an id that is not asked for": (
        "sample_submission.csv",
        ["id", "label"],
        [*TEST, [PAGE, "ant"]],
        ("data.test=test.csv",),
    ),
    "answers that are no labels": (
        "sample_submission.csv",
        ["id", "label"],
        [[id_, f"{n % 2}{PAGE}"] for n, (id_, _) in enumerate(TEST)],
        (),
    ),
    "columns that are no classes": ("sample_submission.csv", ["id", PAGE, "bee"], [[*row, "1"] for row in TEST], ()),
    "two spellings": (
        "sample_submission.csv",
        ["id", "label"],
        [[id_, ["Ant" + PAGE, "aNt" + PAGE][n % 2]] for n, (id_, _) in enumerate(TEST)],
        (),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_refusal_shows_little_of_a_cell(competition: Callable[..., Config], case: str) -> None:
    name, header, rows, settings = CASES[case]
    cfg = competition()
    write_table(cfg.root / "test.csv", ["id", "label"], TEST)
    if case == "two spellings":
        write_table(cfg.root / "train.csv", ["id", "label"], [[id_, label + PAGE] for id_, label in TRAIN])
    write_table(cfg.root / name, header, rows)
    cfg = load(Path(cfg.path), settings)
    with pytest.raises((InputError, ConfigError)) as caught:
        task = make_task(cfg, read_train(cfg, files=True))
        read_form(cfg, task, read_test(cfg, files=True).ids)
    said = str(caught.value).replace(str(settings), "")
    assert "x" * (MOST + 1) not in said and "\n" not in said and len(said) < 1200


def test_the_gate_shows_little_of_a_cell(competition: Callable[..., Config]) -> None:
    cfg = competition()
    task = make_task(cfg, read_train(cfg))
    form = read_form(cfg, task, read_test(cfg).ids)
    for header, rows in (
        (["id", PAGE], TEST),
        (["id", "label"], [*TEST, [PAGE, PAGE]]),
        (["id", "label"], [["0", PAGE]]),
    ):
        write_table(cfg.root / "mine.csv", header, rows)
        (problem,) = submission.check(form, task, read_csv(cfg.root / "mine.csv", like=form.dialect))
        assert "x" * (MOST + 1) not in problem


def test_what_is_quoted_is_one_line_of_eighty_characters(
    competition: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    assert shown("cat") == "'cat'" and shown(PAGE) == f"'{PAGE[:80]}'..." and shown("a\nb") == "'a\\nb'"
    assert shown(["a", "b"]) == "['a', 'b']" and len(shown([PAGE])) == MOST + 3
    competition()
    assert prepare.main([*CONFIG, "--set", f"data.bad_images={PAGE}"]) == 2
    said = capsys.readouterr().err
    assert f"Got '{PAGE[:80]}'..." in said
