"""Probabilities of all classes, or of the likeliest alone: the same answers and scores."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.metrics import roc_auc_score

from pipeline.competition.answers import metrics
from pipeline.competition.answers.decide import Decision, decide
from pipeline.competition.answers.ensembling import combine
from pipeline.competition.answers.predictions import Predictions, read_predictions, write_predictions
from pipeline.competition.answers.probs import Probs
from pipeline.competition.answers.task import Task
from pipeline.config import Config, ConfigError
from pipeline.engine.gathered import Gathered
from pipeline.images.batches import Batch
from running import RUN, run_all

NUM_CLASSES = 1200
TASK = Task("single", tuple(f"c{index:04d}" for index in range(NUM_CLASSES)), "accuracy", ("label",))


def small(num_kept: int, seed: int = 0) -> tuple[np.ndarray, Probs]:
    """Twelve classes with many equal values: those that are kept, 0 elsewhere; and the same in `Probs`."""
    draw = np.random.default_rng(seed)
    values = draw.integers(1, 5, (20, 12)).astype(np.float32) / 8
    if not num_kept:
        return values, Probs.dense(values)
    classes = np.argsort(draw.random(values.shape), axis=1)[:, :num_kept]
    there = np.zeros(values.shape, bool)
    np.put_along_axis(there, classes, True, 1)
    return np.where(there, values, 0), Probs.top(np.take_along_axis(values, classes, 1), classes, 12)


def is_same(probs: Probs, values: np.ndarray) -> bool:
    """Whether an image's values are these, where what is not kept counts as 0."""
    return np.array_equal(np.stack(list(probs.by_class()), 1), values)


@pytest.mark.parametrize("num_kept", [0, 1, 3, 12])
class TestBothKinds:
    """0 kept: dense."""

    def test_what_they_hold(self, num_kept: int) -> None:
        values, probs = small(num_kept)
        assert (len(probs), probs.num_outputs, probs.is_dense) == (20, 12, num_kept == 0)
        assert is_same(probs, values) and probs.are_finite().all()

    def test_some_rows(self, num_kept: int) -> None:
        values, probs = small(num_kept)
        mask = np.arange(20) % 3 == 0
        for rows in (slice(2, 17, 4), np.array([5, 0, 5, 19]), mask, np.zeros(0, int)):
            assert is_same(probs[rows], values[rows])

    def test_the_best(self, num_kept: int) -> None:
        values, probs = small(num_kept)
        for top in (1, 2, 5, 12, 99):
            assert np.array_equal(probs.best(top), np.argsort(-values, axis=1, kind="stable")[:, :top])

    def test_values_and_places_of_classes(self, num_kept: int) -> None:
        values, probs = small(num_kept)
        order = np.argsort(-values, axis=1, kind="stable").tolist()
        for index in range(12):
            classes = (np.arange(20) + index) % 12
            assert np.array_equal(probs.at(classes), values[np.arange(20), classes])
            assert probs.places(classes).tolist() == [order[row].index(each) for row, each in enumerate(classes)]
        both = np.stack([np.arange(20) % 12, np.arange(1, 21) % 12], 1)
        assert np.array_equal(probs.at(both), np.take_along_axis(values, both, 1))

    def test_the_expected_value(self, num_kept: int) -> None:
        values, probs = small(num_kept)
        grades = np.arange(12.0) ** 2
        assert np.allclose(probs.expected(grades), [np.average(grades, weights=row) for row in values], rtol=1e-12)

    def test_stacked(self, num_kept: int) -> None:
        (one, first), (two, second) = small(num_kept), small(num_kept, 1)
        assert is_same(Probs.stack([first, second]), np.concatenate([one, two]))

    def test_the_mean(self, num_kept: int) -> None:
        (one, first), (two, second) = small(num_kept), small(num_kept, 1)
        mean = ((one.astype(np.float64) + two) / 2).astype(np.float32)
        assert is_same(Probs.mean([first, second], keep=12), mean)
        if num_kept:
            best = np.argsort(-mean, axis=1, kind="stable")[:, :2]
            assert is_same(Probs.mean([first, second], keep=2), np.where((mean >= 0) & is_in(best), mean, 0))

    def test_through_a_file(self, num_kept: int, tmp_path: Path) -> None:
        values, probs = small(num_kept)
        write_predictions(tmp_path / "p.parquet", Predictions(list("abcdefghijklmnopqrst"), tuple(range(12)), probs))
        again = read_predictions(tmp_path / "p.parquet", "").probs
        assert is_same(again, values) and again.is_dense == probs.is_dense

    def test_images_that_cannot_be_read_get_the_prior(self, num_kept: int) -> None:
        values, probs = small(num_kept)
        usable = np.arange(30) % 3 != 1
        prior = np.array([1, 3, 0, 3, 1, 0, 2, 2, 1, 0, 0, 3], np.float32) / 16
        expected = np.empty((30, 12), np.float32)
        expected[usable] = values
        # The three largest and the first of the two next ones.
        expected[~usable] = np.where(np.isin(np.arange(12), [1, 3, 11, 6]), prior, 0) if num_kept else prior
        filled = probs.filled(prior, usable, keep=4)
        assert is_same(filled, expected) and filled.is_dense == probs.is_dense
        assert is_same(probs[:0].filled(prior, np.zeros(2, bool), keep=4), expected[[1, 1]])


def is_in(classes: np.ndarray) -> np.ndarray:
    """For each image which of twelve classes are among its own."""
    return (classes[:, :, None] == np.arange(12)).any(1)


def test_a_class_that_is_there_twice_counts_once() -> None:
    few = Probs.top(np.array([[0.6, 0.4, 0.3]], np.float32), np.array([[4, 1, 1]]), 6)
    assert is_same(few, np.array([[0, 0.4, 0, 0, 0.6, 0]], np.float32))
    assert few.to_arrow()["kept"].to_pylist() == [[1, 4]]


def test_the_likeliest_alone_are_no_array() -> None:
    with pytest.raises(AssertionError, match="the likeliest alone are kept"):
        _ = small(3)[1].array
    with pytest.raises(AssertionError):
        Probs.stack([small(0)[1], small(3)[1]])


def test_what_is_left_of_one_is_spread_over_the_others() -> None:
    few = Probs.top(np.array([[0.5, 0.25]], np.float32), np.array([[3, 0]]), 7)
    assert few.full().tolist() == [[0.25, 0.05, 0.05, 0.5, 0.05, 0.05, 0.05]]
    dense = small(0)[1]
    assert dense.full().dtype == np.float64 and np.array_equal(dense.full(), dense.array)


def both(num_images: int = 40, keep: int = 30, seed: int = 0) -> tuple[np.ndarray, Probs, np.ndarray]:
    """All probabilities, the kept ones, and targets; the true class is always kept."""
    draw = np.random.default_rng(seed)
    logits = torch.from_numpy(draw.normal(0, 3, (num_images, NUM_CLASSES)).astype(np.float32))
    targets = draw.integers(0, NUM_CLASSES, num_images)
    targets[::3] = logits[::3].argmax(1)
    gathered = Gathered(TASK, num_images, logits.device, top=keep, with_true=True)
    gathered.add(Batch(logits, torch.from_numpy(targets), 0), logits, None)
    return logits.softmax(1).numpy(), gathered.probs(), targets


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "log_loss", "map@5", "top@5", "error"])
def test_scores_are_those_of_all_probabilities(metric: str) -> None:
    whole, few, targets = both()
    predicted: list[metrics.Predicted] = [Probs.dense(whole), few]
    if metrics.get(metric).needs == "labels":
        predicted = [decide(TASK, probs) for probs in (Probs.dense(whole), few)]
    expected, got = (metrics.score(metric, targets, each) for each in predicted)
    assert got == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("num_kept", [0, 3])
def test_the_order_of_images_by_every_class(num_kept: int) -> None:
    values, probs = small(num_kept)
    targets = np.arange(20) % 12
    expected = np.mean([roc_auc_score(targets == index, values[:, index]) for index in range(12)])
    assert metrics.score("mean_column_auc", targets, probs) == pytest.approx(expected)


def test_many_grades_are_cut_from_the_expected_one() -> None:
    task = Task("ordinal", tuple(str(grade) for grade in range(NUM_CLASSES)), "quadratic_kappa", ("y",))
    few = Probs.top(np.array([[0.5, 0.3], [0.4, 0.4]], np.float32), np.array([[10, 20], [1000, 1100]]), NUM_CLASSES)
    assert np.allclose(few.expected(task.grades), [(5 + 6) / 0.8, 1050])
    assert decide(task, few, Decision(cuts=(13.7, 13.8, 1050.1))).tolist() == [1, 2]


def test_the_mean_over_models() -> None:
    parts = [both(seed=0)[:2], both(seed=1)[:2]]
    expected = Probs.dense(np.mean([whole for whole, _ in parts], axis=0))
    got = combine([few for _, few in parts], "mean", TASK, 60)
    assert np.array_equal(got.best(1), expected.best(1))
    assert (got.to_arrow()["kept"].value_lengths().to_numpy() <= 60).all()
    assert np.allclose(got.at(got.best(3)), expected.at(got.best(3)), atol=2e-3)
    with pytest.raises(ConfigError, match="more than 1,000 classes"):
        combine([few for _, few in parts], "rank", TASK, 60)


def test_the_file_holds_what_is_kept(tmp_path: Path) -> None:
    _, few, _ = both()
    ids = [f"{index}" for index in range(40)]
    write_predictions(tmp_path / "p.parquet", Predictions(ids, TASK.classes, few))
    assert (tmp_path / "p.parquet").stat().st_size < 40 * NUM_CLASSES
    write_predictions(tmp_path / "q.parquet", Predictions(ids, TASK.classes, Probs.stack([few[:10], few[10:]])))
    assert (tmp_path / "p.parquet").read_bytes() == (tmp_path / "q.parquet").read_bytes()


def test_few_classes_are_all_kept() -> None:
    task = Task("single", ("a", "b"), "accuracy", ("label",))
    assert Gathered(task, 3, torch.device("cpu"), top=1).probs().is_dense


BIG = """
import sys
import numpy as np
from pathlib import Path
from pipeline.competition.answers import scoring, submission
from pipeline.competition.tables.csv_table import Dialect
from pipeline.competition.answers.ensembling import combine
from pipeline.competition.answers.form import Form
from pipeline.competition.answers.predictions import Predictions, read_predictions, write_predictions
from pipeline.competition.answers.probs import Probs
from pipeline.competition.answers.task import Task
import resource

num_classes, num_images, keep = 20_000, 5_000, 100
task = Task("single", tuple(f"c{number:05d}" for number in range(num_classes)), "macro_f1", ("label",))
import sklearn.metrics, scipy.sparse, pyarrow.parquet, pandas  # whose own memory is not what is measured
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
ids = [str(number) for number in range(num_images)]
draw = np.random.default_rng(0)
targets = draw.integers(0, num_classes, num_images)
tables = []
for model in range(5):
    values = draw.random((num_images, keep), np.float32) / keep
    few = Probs.top(values, draw.integers(0, num_classes, (num_images, keep)), num_classes)
    write_predictions(Path(sys.argv[1]) / f"{model}.parquet", Predictions(ids, task.classes, few))
    tables.append(read_predictions(Path(sys.argv[1]) / f"{model}.parquet", "").aligned(ids, "", ""))
oof = {str(model): (np.arange(model, num_images, 5), tables[model][model::5]) for model in range(5)}
scores = scoring.cross_validation(task, targets, oof)
combined = combine(tables, "mean", task, keep)
form = Form(("id", "label"), "id", ("label",), ids, "label", Dialect())
submission.write(Path(sys.argv[1]) / "s.csv", form, task, submission.fill(form, task, ids, combined))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def test_twenty_thousand_classes_take_little_memory(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", BIG, str(tmp_path)], capture_output=True, text=True, check=True)
    assert len((tmp_path / "s.csv").read_text().splitlines()) == 5001
    assert float(done.stdout) < 300, "all probabilities of one model alone would be 400 MB"


def test_a_run_with_many_classes(competition: Callable[..., Config]) -> None:
    cfg = competition("model.name=mlp", num_train=2100, num_test=30)
    text = (cfg.root / "train.csv").read_text().splitlines()
    rows = [f"{line.split(',')[0]},c{number % 1050:04d}" for number, line in enumerate(text[1:])]
    (cfg.root / "train.csv").write_text("\n".join([text[0], *rows]) + "\n")
    for name in ("sample_submission.csv", "answers.csv"):
        text = (cfg.root / name).read_text().splitlines()
        (cfg.root / name).write_text("\n".join([text[0], *(f"{line.split(',')[0]},c0001" for line in text[1:])]) + "\n")
    settings = ("train.num_epochs=1", "task.metric=map@5")
    (cfg.root / "train/0003.png").unlink(missing_ok=True)
    assert run_all(*settings) == 0
    oof = read_predictions(RUN / "fold0" / "oof.parquet", "")
    assert (RUN / "fold0" / "oof.parquet").read_bytes() == (RUN / "fold0" / "valid.parquet").read_bytes()
    assert oof.probs.num_outputs == 1050
    assert max(map(len, pq.read_table(RUN / "fold0" / "oof.parquet")["kept"].to_pylist())) <= 101
    (RUN / "fold0" / "valid.parquet").unlink()
    (RUN / "fold0" / "infer.json").unlink()
    assert run_all(*settings) == 0
    again = read_predictions(RUN / "fold0" / "oof.parquet", "")
    assert again.ids == oof.ids and np.abs(again.probs.full() - oof.probs.full()).max() < 1e-6
    cells = [line.split(",")[1].split() for line in (RUN / "submission.csv").read_text().splitlines()[1:]]
    assert len(cells) == 30 and all(len(set(cell)) == 5 for cell in cells)
