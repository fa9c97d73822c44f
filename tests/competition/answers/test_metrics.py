"""Every metric against scikit-learn or an independent computation."""

import numpy as np
import pytest
from scipy.stats import rankdata
from sklearn import metrics as sk

from pipeline.competition.answers import metrics
from pipeline.competition.answers.ensembling import combine, ranks
from pipeline.competition.answers.probs import Probs
from pipeline.competition.answers.scoring import score
from pipeline.competition.answers.task import Task
from pipeline.config import ConfigError

rng = np.random.default_rng(0)
N, C = 200, 6
TARGETS = rng.integers(0, C, N)
LOGITS = rng.normal(size=(N, C)) + 1.5 * np.eye(C)[TARGETS]
PROBS = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
PROBS[:20] = np.round(PROBS[:20], 1) + 0.01  # ties
LABELS = PROBS.argmax(1)
FLAGS = (rng.random((N, C)) < 0.3).astype(np.float32)
GUESSED = np.where(rng.random((N, C)) < 0.2, 1 - FLAGS, FLAGS)
TWO = np.stack([1 - PROBS[:, 0], PROBS[:, 0]], 1)


def map_at_5(targets: np.ndarray, probs: np.ndarray) -> float:
    total = 0.0
    for target, row in zip(targets, probs, strict=True):
        order = sorted(range(len(row)), key=lambda number: (-row[number], number))[:5]
        total += 1 / (1 + order.index(target)) if target in order else 0
    return total / len(targets)


def weighted_auc(positive: np.ndarray, scores: np.ndarray) -> float:
    """As the published grader computes it, on a grid."""
    fpr, tpr, _ = sk.roc_curve(positive, scores)
    x = np.linspace(0, 1, 200_001)
    y = np.interp(x, fpr, tpr)
    areas = [np.trapezoid(np.clip(y, low, high) - low, x) for low, high in ((0, 0.4), (0.4, 1))]
    return float((2 * areas[0] + areas[1]) / (2 * 0.4 + 0.6))


def probabilistic_f1(positive: np.ndarray, scores: np.ndarray) -> float:
    precision, recall = scores[positive].sum() / scores.sum(), scores[positive].mean()
    return float(2 * precision * recall / (precision + recall))


CASES = [
    ("accuracy", TARGETS, LABELS, sk.accuracy_score(TARGETS, LABELS)),
    ("accuracy", FLAGS, GUESSED, sk.accuracy_score(FLAGS, GUESSED)),
    ("error", TARGETS, LABELS, 1 - sk.accuracy_score(TARGETS, LABELS)),
    ("balanced_accuracy", TARGETS, LABELS, sk.balanced_accuracy_score(TARGETS, LABELS)),
    ("macro_f1", TARGETS, LABELS, sk.f1_score(TARGETS, LABELS, average="macro")),
    ("micro_f1", FLAGS, GUESSED, sk.f1_score(FLAGS, GUESSED, average="micro")),
    ("samples_f1", FLAGS, GUESSED, sk.f1_score(FLAGS, GUESSED, average="samples", zero_division=0)),
    (
        "log_loss",
        TARGETS,
        PROBS / PROBS.sum(1, keepdims=True),
        sk.log_loss(TARGETS, PROBS / PROBS.sum(1, keepdims=True)),
    ),
    ("log_loss", FLAGS, PROBS, np.mean([sk.log_loss(FLAGS[:, c], PROBS[:, c]) for c in range(C)])),
    ("roc_auc", (TARGETS == 0).astype(int), TWO, sk.roc_auc_score(TARGETS == 0, PROBS[:, 0])),
    ("weighted_auc", (TARGETS == 0).astype(int), TWO, weighted_auc(TARGETS == 0, TWO[:, 1])),
    ("weighted_auc", (TARGETS == 0).astype(int), TWO.round(1), weighted_auc(TARGETS == 0, TWO[:, 1].round(1))),
    ("probabilistic_f1", (TARGETS == 0).astype(int), TWO, probabilistic_f1(TARGETS == 0, TWO[:, 1])),
    ("mean_column_auc", FLAGS, PROBS, sk.roc_auc_score(FLAGS, PROBS, average="macro")),
    ("quadratic_kappa", TARGETS, LABELS, sk.cohen_kappa_score(TARGETS, LABELS, weights="quadratic")),
    ("mcc", TARGETS, LABELS, sk.matthews_corrcoef(TARGETS, LABELS)),
    ("map@5", TARGETS, PROBS, map_at_5(TARGETS, PROBS)),
    ("top@3", TARGETS, LOGITS, sk.top_k_accuracy_score(TARGETS, LOGITS, k=3)),
    ("top@5", TARGETS, LOGITS, sk.top_k_accuracy_score(TARGETS, LOGITS, k=5)),
    ("rmse", LOGITS[:, :1], LOGITS[:, 1], np.sqrt(sk.mean_squared_error(LOGITS[:, 0], LOGITS[:, 1]))),
    ("mae", LOGITS[:, :1], LOGITS[:, 1], sk.mean_absolute_error(LOGITS[:, 0], LOGITS[:, 1])),
]


@pytest.mark.parametrize(("name", "targets", "predicted", "expected"), CASES)
def test_a_metric_is_what_others_compute(
    name: str, targets: np.ndarray, predicted: np.ndarray, expected: float
) -> None:
    given = Probs.dense(predicted) if metrics.get(name).needs == "probs" else predicted
    assert metrics.score(name, targets, given) == pytest.approx(expected, abs=1e-5)


def test_every_metric_is_compared() -> None:
    assert set(metrics.METRICS) <= {case[0] for case in CASES}


@pytest.mark.parametrize("name", ["map@1", "map@0", "top@100", "map@", "map@5x"])
def test_no_such_metric(name: str) -> None:
    with pytest.raises(ConfigError, match=r"'task\.metric' must be one of"):
        metrics.get(name)


def test_no_order_scores_as_a_random_one() -> None:
    flat = Probs.dense(np.full((100, 2), 0.5))
    targets = np.arange(100) % 2
    diagonal = (2 * (0.4**2 / 2 + 0.4 * 0.6) + 0.6**2 / 2) / 1.4
    assert metrics.score("weighted_auc", targets, flat) == pytest.approx(diagonal)
    assert metrics.score("weighted_auc", np.zeros(5, int), flat[:5]) is None
    assert metrics.score("probabilistic_f1", np.zeros(5, int), flat[:5]) is None


def test_an_undefined_score_is_none() -> None:
    assert metrics.score("roc_auc", np.zeros(5, int), Probs.dense(np.full((5, 2), 0.5))) is None
    assert metrics.score("quadratic_kappa", np.zeros(5, int), np.zeros(5, int)) is None
    assert metrics.score("accuracy", np.zeros(0, int), np.zeros(0, int)) is None


@pytest.mark.parametrize("name", [name for name, metric in metrics.METRICS.items() if "single" in metric.kinds])
def test_a_perfect_prediction_scores_best(name: str) -> None:
    two = name in ("roc_auc", "weighted_auc", "probabilistic_f1")
    targets = TARGETS[:50] % 2 if two else TARGETS[:50]
    classes = tuple("ab" if two else "abcdef")
    task = Task("single", classes, name, ("y",))
    perfect = score(task, targets, Probs.dense(np.eye(len(classes))[targets]))
    worst = score(task, targets, Probs.dense(np.eye(len(classes))[(targets + 1) % len(classes)]))
    assert perfect is not None and worst is not None
    assert (perfect > worst) == metrics.get(name).higher_is_better


def test_ranks_keep_the_order_of_every_column() -> None:
    task = Task("single", tuple("abcdef"), "mean_column_auc", ("y",))
    twisted = PROBS**0.2 / (PROBS**0.2).sum(1, keepdims=True)
    ranked = combine([Probs.dense(PROBS), Probs.dense(twisted)], "rank", task, keep=6).array
    apart = [[rankdata(column) / (N + 1) for column in probs.T] for probs in (PROBS, twisted)]
    assert np.allclose(ranked, np.mean(apart, axis=0).T)
    expected = np.mean([sk.roc_auc_score(number == TARGETS, ranked[:, number]) for number in range(C)])
    assert score(task, TARGETS, Probs.dense(ranked)) == pytest.approx(expected)
    one = Probs.dense(PROBS)
    alone = combine([one], "rank", task, keep=6)
    assert score(task, TARGETS, alone) == pytest.approx(score(task, TARGETS, one)), "one model's order stays"


def test_ensembles() -> None:
    task = Task("single", ("a", "b"), "accuracy", ("y",))
    models = [Probs.dense(np.array(values)) for values in ([[0.2, 0.8], [0.6, 0.4]], [[0.4, 0.6], [1.0, 0.0]])]
    assert np.allclose(combine(models, "mean", task, keep=2).array, [[0.3, 0.7], [0.8, 0.2]])
    ranked = combine(models, "rank", task, keep=2).array
    assert np.allclose(ranked.sum(1), 1)
    assert ranked.argmax(1).tolist() == [1, 0]
    assert ranks(np.array([[0.3], [0.1], [0.3], [0.9]])).tolist() == [[0.5], [0.2], [0.5], [0.8]]
    confident = Probs.dense(np.array([[0.0, 1.0], [0.001, 0.999], [0.002, 0.998]]))
    ranked = combine([confident], "rank", Task("multi", ("a", "b"), "roc_auc", ("y",)), keep=2).array
    assert np.allclose(ranked, [[0.25, 0.75], [0.5, 0.5], [0.75, 0.25]])
