"""Predictions of more images than memory should hold several times: the same numbers, one table's worth of memory."""

import csv
import io
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss

from pipeline.competition.answers import metrics, predictions, scoring, submission
from pipeline.competition.answers.ensembling import combine_stored
from pipeline.competition.answers.form import Form
from pipeline.competition.answers.predictions import Predictions, Stored, stored_predictions, write_predictions
from pipeline.competition.answers.probs import Probs
from pipeline.competition.answers.task import Task
from pipeline.competition.tables.csv_table import Dialect
from pipeline.files import InputError

NUM_IMAGES, NUM_CLASSES = 20_000, 40
TABLE = NUM_IMAGES * NUM_CLASSES * 4
IDS = [f"{number:05d}" for number in range(NUM_IMAGES)]
CLASSES = tuple(f"c{number}" for number in range(NUM_CLASSES))
TASK = Task("single", CLASSES, "log_loss", ("label",))


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictions, "BLOCK", 700)
    monkeypatch.setattr(metrics, "BLOCK", 700)
    monkeypatch.setattr(submission, "CELLS", 700 * (NUM_CLASSES + 1))


def peak_of(run: Callable[[], object]) -> int:
    """The most bytes that a call has taken beyond those before."""
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def values_of(model: int) -> np.ndarray:
    values = np.random.default_rng(model).random((NUM_IMAGES, NUM_CLASSES), np.float32)
    return values / values.sum(1, keepdims=True)


def table_of(folder: Path, model: int, rows: np.ndarray | slice = slice(None)) -> Stored:
    path = folder / f"{model}.parquet"
    said = Predictions([*np.array(IDS)[rows]], CLASSES, Probs.dense(values_of(model)[rows]))
    write_predictions(path, said)
    return stored_predictions(path, "it")


def test_the_mean_of_five_tables_holds_one(tmp_path: Path) -> None:
    tables = [table_of(tmp_path, model) for model in range(5)]
    expected = np.mean([values_of(model) for model in range(5)], axis=0, dtype=np.float64).astype(np.float32)
    found = combine_stored(tables, IDS, "mean", TASK, 100)
    np.testing.assert_allclose(found.array, expected, rtol=1e-6)
    del found, expected
    assert peak_of(lambda: combine_stored(tables, IDS, "mean", TASK, 100)) < 2 * TABLE


def test_tables_in_another_order_are_joined_by_id(tmp_path: Path) -> None:
    backwards = slice(None, None, -1)
    tables = [table_of(tmp_path, 0), table_of(tmp_path, 1, backwards)]
    expected = np.mean([values_of(0), values_of(1)], axis=0, dtype=np.float64).astype(np.float32)
    np.testing.assert_allclose(combine_stored(tables, IDS, "mean", TASK, 100).array, expected, rtol=1e-6)
    tables[1] = table_of(tmp_path, 1, slice(1, None))
    with pytest.raises(InputError, match=r"1\.parquet: 1 ids are missing \(00000\)\. Delete it and run: it"):
        combine_stored(tables, IDS, "mean", TASK, 100)


def test_what_is_not_finite_behind_the_first_block_is_refused(tmp_path: Path) -> None:
    table_of(tmp_path, 0)
    values = values_of(0)
    values[[3, 19_999], 5] = np.nan
    write_predictions(tmp_path / "0.parquet", Predictions(IDS, CLASSES, Probs.dense(values)))
    with pytest.raises(InputError, match=r"2 images have values that are no finite numbers \(00003, 19999\)"):
        combine_stored([stored_predictions(tmp_path / "0.parquet", "it")], IDS, "mean", TASK, 100)


def test_a_table_is_read_without_a_second_copy(tmp_path: Path) -> None:
    table = table_of(tmp_path, 0)
    assert np.array_equal(table.read().probs.array, values_of(0))
    assert peak_of(table.read) < 2 * TABLE


def test_log_loss_of_many_images_is_scikit_learns_and_takes_less_than_a_table() -> None:
    values, targets = values_of(0), np.arange(NUM_IMAGES) % NUM_CLASSES
    probs = Probs.dense(values)
    expected = log_loss(targets, values.astype(np.float64) / values.astype(np.float64).sum(1, keepdims=True))
    assert metrics.score("log_loss", targets, probs) == pytest.approx(expected, rel=1e-9)
    assert peak_of(lambda: metrics.score("log_loss", targets, probs)) < TABLE / 2


def test_the_likeliest_of_many_images_take_less_than_a_table() -> None:
    values = values_of(0)
    expected = np.argsort(-values[-9_000:], axis=1, kind="stable")[:, :3]
    assert np.array_equal(Probs.dense(values).best(3)[-9_000:], expected)
    assert peak_of(lambda: Probs.dense(values).best(3)) < 1.5 * TABLE


def test_nothing_is_copied_for_a_decision_that_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    oof = {str(fold): (np.arange(fold, NUM_IMAGES, 2), Probs.dense(values_of(0)[fold::2])) for fold in range(2)}
    monkeypatch.setattr(Probs, "stack", lambda parts: pytest.fail("predictions are put together"))
    assert scoring.fitted(TASK, np.zeros(NUM_IMAGES, np.int64), oof) == scoring.PLAIN


def form_of(dialect: Dialect, num_images: int = NUM_IMAGES, ids: list[str] = IDS) -> Form:
    """A column for each class, and one that is copied."""
    columns, own = ("id", "note", *CLASSES), dict(zip(CLASSES, CLASSES, strict=True))
    copied = {"note": [f"of {id_}" for id_ in ids[:num_images]]}
    return Form(columns, "id", CLASSES, ids[:num_images], "columns", dialect, copied=copied, class_of=own)


@pytest.mark.parametrize(
    "dialect",
    [Dialect(), Dialect("utf-16", ";", "\r\n", csv.QUOTE_ALL), Dialect("utf-8-sig")],
)
def test_a_submission_in_parts_is_that_in_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dialect: Dialect
) -> None:
    """Ids with separators and quotes, the order of the sample, one mark of the encoding."""
    ids = [f'"{number}",' for number in range(2_000)]
    probs = Probs.dense(values_of(0)[:2_000])
    form = form_of(dialect, 2_000, ids[::-1])
    made = []
    for cells in (50_000, 10**9):
        monkeypatch.setattr(submission, "CELLS", cells)
        frames = list(submission.fill(form, TASK, ids, probs))
        assert len(frames) == (2 if cells == 50_000 else 1)
        submission.write(tmp_path / "s.csv", form, TASK, frames)
        made.append((tmp_path / "s.csv").read_bytes())
    assert made[0] == made[1]
    text = made[0].decode(dialect.encoding)
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=dialect.separator))[1:]
    assert [row[0] for row in rows] == form.ids
    np.testing.assert_allclose(np.float64([row[2:] for row in rows]), values_of(0)[:2_000][::-1], rtol=1e-6)


@pytest.mark.parametrize("what", ["cell", "id", "short", "long"])
def test_a_later_part_is_checked_too(tmp_path: Path, what: str) -> None:
    form = form_of(Dialect(), 2_000)
    frames = list(submission.fill(form, TASK, IDS[:2_000], Probs.dense(values_of(0)[:2_000])))
    assert len(frames) == 3
    if what in ("cell", "id"):
        frames[1].loc[5, "c3" if what == "cell" else "id"] = "nan"
    messages = {"cell": "every value must be finite", "id": "1 are missing", "short": "are missing"}
    given = {"short": frames[:2], "long": [*frames, frames[0]]}.get(what, frames)
    with pytest.raises(InputError, match=messages.get(what, "not in the sample")):
        submission.write(tmp_path / "s.csv", form, TASK, given)
    assert list(tmp_path.iterdir()) == []


def test_the_text_of_a_submission_is_never_held_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "CELLS", 50 * NUM_CLASSES)
    form, probs = form_of(Dialect(), 1_000), Probs.dense(values_of(0)[:1_000])
    path = tmp_path / "s.csv"
    peak = peak_of(lambda: submission.write(path, form, TASK, submission.fill(form, TASK, IDS[:1_000], probs)))
    assert peak < path.stat().st_size


def test_rows_that_all_say_the_same_are_seen_across_parts() -> None:
    form = Form(("id", "label"), "id", ("label",), IDS[:4], "label", Dialect())
    same = [pd.DataFrame({"id": [id_], "label": ["c1"]}) for id_ in IDS[:4]]
    other = pd.DataFrame({"id": ["x"], "label": ["c2"]})
    assert submission.one_answer(form, same) == "'c1'"
    assert submission.one_answer(form, [*same, other]) is None and submission.one_answer(form, same[:1]) is None
    assert submission.one_answer(form, iter([other, same[0], None])) is None, "no more are looked at than it takes"
