"""Predictions on disk: equal ones are equal bytes, joined by id, refused where they are not whole."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.competition.answers.predictions import Predictions, in_order, read_predictions, write_predictions
from pipeline.files import InputError

MADE = Predictions(["b", "a", "c"], ("x", "고양이"), np.random.default_rng(0).random((3, 2)).astype(np.float32))


def test_they_come_back(tmp_path: Path) -> None:
    path = tmp_path / "oof.parquet"
    write_predictions(path, MADE)
    back = read_predictions(path, "x")
    assert (back.ids, back.classes) == (MADE.ids, MADE.classes)
    assert np.array_equal(back.probs, MADE.probs)
    first = path.read_bytes()
    write_predictions(path, MADE)
    assert path.read_bytes() == first


def test_they_are_joined_by_id() -> None:
    assert np.array_equal(in_order(MADE, ["a", "b", "c"], "x", "y"), MADE.probs[[1, 0, 2]])
    with pytest.raises(
        InputError, match=r"t.parquet: 1 ids are missing \(z\); 2 ids are of no such image \(b, c\)\. do this"
    ):
        in_order(MADE, ["a", "z"], "t.parquet", "do this")


def test_broken_ones_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "oof.parquet"
    with pytest.raises(InputError, match=r"does not exist. It is made by: the command"):
        read_predictions(path, "the command")
    write_predictions(path, MADE)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="is not whole"):
        read_predictions(path, "x")
    write_predictions(path, Predictions(["a", "a"], ("x",), np.array([[np.nan], [1]], np.float32)))
    with pytest.raises(InputError, match=r"more than once.*; .*no finite numbers"):
        read_predictions(path, "x")
