"""Of many classes the likeliest alone: the same answers and scores as from all probabilities."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.competition.answers import metrics
from pipeline.competition.answers.decide import decide
from pipeline.competition.answers.ensembling import combine
from pipeline.competition.answers.likeliest import at, best, dense, from_pairs, places, stack
from pipeline.competition.answers.predictions import Predictions, read_predictions, write_predictions
from pipeline.competition.answers.task import Task
from pipeline.config import Config, ConfigError
from pipeline.engine.predict import keeper, kept
from running import RUN, run_all

NUM_CLASSES = 1200
TASK = Task("single", tuple(f"c{number:04d}" for number in range(NUM_CLASSES)), "accuracy", ("label",))


def both(num_images: int = 40, keep: int = 30, seed: int = 0) -> tuple[np.ndarray, object, np.ndarray]:
    """All probabilities, the kept ones, and targets; the true class is always kept."""
    draw = np.random.default_rng(seed)
    logits = torch.from_numpy(draw.normal(0, 3, (num_images, NUM_CLASSES)).astype(np.float32))
    targets = draw.integers(0, NUM_CLASSES, num_images)
    targets[::3] = logits[::3].argmax(1)
    keep_rows = keeper(TASK, keep)
    assert keep_rows is not None
    rows = keep_rows(logits, torch.from_numpy(targets)).numpy()
    return logits.softmax(1).numpy(), kept(rows, TASK), targets


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "log_loss", "map@5", "top@5", "error"])
def test_scores_are_those_of_all_probabilities(metric: str) -> None:
    whole, few, targets = both()
    if metrics.get(metric).needs == "labels":
        whole, few = decide(TASK, whole), decide(TASK, few)
    assert metrics.score(metric, targets, few) == pytest.approx(metrics.score(metric, targets, whole), rel=1e-6)


def test_ranks_values_and_places() -> None:
    whole, few, targets = both()
    assert np.array_equal(best(few, 7), best(whole, 7))
    assert np.allclose(at(few, targets), at(whole, targets)) and np.allclose(
        at(few, best(few, 3)), at(whole, best(whole, 3))
    )
    near = places(whole, targets) < 30
    assert np.array_equal(places(few, targets)[near], places(whole, targets)[near])
    assert (places(few, targets)[~near] >= 30).all()
    assert np.allclose(dense(few).sum(1), 1) and np.abs(dense(few) - whole).max() < 0.01


def test_where_fewer_are_kept_than_asked_for() -> None:
    few = from_pairs(np.array([[0.6, 0.4, 0.4]], np.float32), np.array([[4, 1, 1]]), 6)
    assert best(few, 4).tolist() == [[4, 1, 0, 2]] and few.nnz == 2
    whole = few.toarray()
    for number in range(6):
        assert places(few, np.array([number])) == places(whole, np.array([number]))


def test_the_mean_over_models() -> None:
    parts = [both(seed=0)[:2], both(seed=1)[:2]]
    expected = np.mean([whole for whole, _ in parts], axis=0)
    got = combine([few for _, few in parts], "mean", TASK, 60)
    assert np.array_equal(best(got, 1), best(expected, 1)) and (np.diff(got.indptr) <= 60).all()
    assert np.allclose(at(got, best(got, 3)), at(expected, best(got, 3)), atol=2e-3)
    with pytest.raises(ConfigError, match="more than 1,000 classes"):
        combine([few for _, few in parts], "rank", TASK, 60)


def test_the_file_holds_what_is_kept(tmp_path: Path) -> None:
    _, few, _ = both()
    ids = [f"{number}" for number in range(40)]
    write_predictions(tmp_path / "p.parquet", Predictions(ids, TASK.classes, few))
    again = read_predictions(tmp_path / "p.parquet", "")
    assert again.ids == ids and (again.probs != few).nnz == 0
    assert (tmp_path / "p.parquet").stat().st_size < 40 * NUM_CLASSES
    write_predictions(tmp_path / "q.parquet", Predictions(ids, TASK.classes, stack([few[:10], few[10:]])))
    assert (tmp_path / "p.parquet").read_bytes() == (tmp_path / "q.parquet").read_bytes()


def test_few_classes_are_all_kept() -> None:
    assert keeper(Task("single", ("a", "b"), "accuracy", ("label",)), 1) is None


BIG = """
import sys
import numpy as np
from pathlib import Path
from pipeline.competition.answers import scoring, submission
from pipeline.competition.tables.csv_table import Dialect
from pipeline.competition.answers.ensembling import combine
from pipeline.competition.answers.form import Form
from pipeline.competition.answers.likeliest import from_pairs
from pipeline.competition.answers.predictions import Predictions, in_order, read_predictions, write_predictions
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
    few = from_pairs(values, draw.integers(0, num_classes, (num_images, keep)), num_classes)
    write_predictions(Path(sys.argv[1]) / f"{model}.parquet", Predictions(ids, task.classes, few))
    tables.append(in_order(read_predictions(Path(sys.argv[1]) / f"{model}.parquet", ""), ids, "", ""))
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
    assert oof.probs.shape[1] == 1050 and (np.diff(oof.probs.indptr) <= 101).all()
    (RUN / "fold0" / "valid.parquet").unlink()
    (RUN / "fold0" / "infer.json").unlink()
    assert run_all(*settings) == 0
    again = read_predictions(RUN / "fold0" / "oof.parquet", "")
    assert again.ids == oof.ids and abs(again.probs - oof.probs).max() < 1e-6
    cells = [line.split(",")[1].split() for line in (RUN / "submission.csv").read_text().splitlines()[1:]]
    assert len(cells) == 30 and all(len(set(cell)) == 5 for cell in cells)
