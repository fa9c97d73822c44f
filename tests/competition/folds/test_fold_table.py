"""The table of folds: the same bytes whatever the order of rows, and refused where it does not fit the train table."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from making import write_table
from pipeline.competition.folds.fold_table import read_folds, read_labelled, write_folds
from pipeline.competition.tables.table import read_train
from pipeline.config import Config
from pipeline.files import InputError
from pipeline.paths import folds_path

PATH = Path("folds/x.csv")


def test_rows_are_sorted_and_read_back(competition: Callable[..., Config]) -> None:
    samples = read_train(competition("folds.num_folds=3"))
    folds = np.arange(24) % 3
    write_folds(PATH, samples, folds)
    rows = list(csv.DictReader(PATH.read_text().splitlines()))
    assert list(rows[0]) == ["id", "labels", "group", "fold"]
    assert [row["id"] for row in rows] == sorted(samples.ids)
    assert np.array_equal(read_folds(PATH, samples.ids[::-1], 3, "x"), folds[::-1])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([["a", 0], ["b", 1], ["b", 1]], r"1 ids appear more than once \(b\)"),
        ([["a", 0]], r"1 train ids are missing \(b\)"),
        ([["a", 0], ["b", 1], ["c", 1]], r"1 ids are not in the train table \(c\)"),
        ([["a", 0], ["b", 2]], "folds must be 0 to 1"),
        ([["a", 0], ["b", "x"]], "folds must be 0 to 1"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(workplace: Path, rows: list, message: str) -> None:
    write_table(PATH, ["id", "fold"], rows)
    with pytest.raises(InputError, match=message) as error:
        read_folds(PATH, ["a", "b"], 2, "the command")
    assert "Delete it and run: the command" in str(error.value)


def test_without_the_table_the_command_is_named(workplace: Path) -> None:
    with pytest.raises(InputError, match=r"folds/x.csv does not exist. It is made by: the command"):
        read_folds(PATH, ["a"], 2, "the command")


def test_every_image_is_validated_once(competition: Callable[..., Config]) -> None:
    cfg = competition("folds.num_folds=3")
    write_folds(folds_path(cfg), read_train(cfg), np.arange(24) % 3)
    labelled = read_labelled(cfg)
    seen = []
    for fold in range(3):
        train, valid = labelled.split(fold)
        assert sorted([*train, *valid]) == list(range(24))
        seen += valid.tolist()
    assert sorted(seen) == list(range(24))
    train, valid = labelled.split("full")
    assert (len(train), len(valid)) == (24, 0)
