"""Predictions on disk: equal ones are equal bytes, joined by id, refused where they are not whole."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.competition.answers.predictions import Predictions, read_predictions, write_predictions
from pipeline.competition.answers.probs import Probs
from pipeline.files import InputError

VALUES = np.random.default_rng(0).random((3, 2)).astype(np.float32)
MADE = Predictions(["b", "a", "c"], ("x", "고양이"), Probs.dense(VALUES))


def test_they_come_back(tmp_path: Path) -> None:
    path = tmp_path / "oof.parquet"
    write_predictions(path, MADE)
    back = read_predictions(path, "x")
    assert (back.ids, back.classes) == (MADE.ids, MADE.classes)
    assert np.array_equal(back.probs.array, VALUES)
    first = path.read_bytes()
    write_predictions(path, MADE)
    assert path.read_bytes() == first


def test_they_are_joined_by_id() -> None:
    assert np.array_equal(MADE.aligned(["a", "b", "c"], "x", "y").array, VALUES[[1, 0, 2]])
    with pytest.raises(
        InputError, match=r"t.parquet: 1 ids are missing \(z\); 2 ids are of no such image \(b, c\)\. do this"
    ):
        MADE.aligned(["a", "z"], "t.parquet", "do this")


def test_broken_ones_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "oof.parquet"
    with pytest.raises(InputError, match=r"does not exist. It is made by: the command"):
        read_predictions(path, "the command")
    write_predictions(path, MADE)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="is not whole"):
        read_predictions(path, "x")
    write_predictions(path, Predictions(["a", "a"], ("x",), Probs.dense(np.array([[1], [1]], np.float32))))
    with pytest.raises(InputError, match="more than once"):
        read_predictions(path, "x")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dense", [True, False])
def test_images_whose_values_are_not_finite_are_named(tmp_path: Path, dense: bool, bad: float) -> None:
    values = np.full((4, 3), 0.25, np.float32)
    values[1, 2] = values[3, 1] = bad  # the last class that is kept, and the first
    probs = Probs.dense(values) if dense else Probs.top(values, np.tile([4, 0, 7], (4, 1)), 9)
    write_predictions(tmp_path / "oof.parquet", Predictions(list("pqrs"), tuple("abcdefghi"), probs))
    with pytest.raises(InputError, match=r"2 images have values that are no finite numbers \(q, s\)"):
        read_predictions(tmp_path / "oof.parquet", "x")
