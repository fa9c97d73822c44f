"""Bootstrap intervals against scipy's, of images and of groups."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score

from pipeline.competition.answers import metrics
from pipeline.competition.answers.probs import Probs
from pipeline.competition.answers.scoring import cross_validation
from pipeline.competition.answers.task import Task
from pipeline.scores.interval import cv_interval, difference, interval, resamples

TRUE = np.random.default_rng(0).integers(0, 3, 150)
SAID = np.where(np.random.default_rng(1).random(150) < 0.7, TRUE, 0)


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_it_is_scipys_but_for_the_draws(metric: str) -> None:
    def score(rows: np.ndarray) -> float:
        if metric == "accuracy":
            return float((TRUE[rows] == SAID[rows]).mean())
        return float(f1_score(TRUE[rows], SAID[rows], average="macro"))

    expected = stats.bootstrap(
        (np.arange(150),), score, n_resamples=1000, vectorized=False, method="percentile", rng=np.random.default_rng(5)
    ).confidence_interval
    found = interval(metric, TRUE, SAID)
    assert found is not None
    # The quantiles of a thousand draws differ by about a twentieth of the interval from those of a thousand others.
    width = expected.high - expected.low
    assert found.low == pytest.approx(expected.low, abs=0.15 * width)
    assert found.high == pytest.approx(expected.high, abs=0.15 * width)


def test_the_difference_of_two_is_scipys_paired_one() -> None:
    generator = np.random.default_rng(3)
    true = generator.normal(size=(120, 1))
    hard = generator.normal(size=(120, 1))  # what both are wrong by
    one, other = (true + hard + generator.normal(scale=scale, size=(120, 1)) for scale in (0.3, 0.1))

    def less(true: np.ndarray, one: np.ndarray, other: np.ndarray) -> float:
        return float(np.sqrt(((other - true) ** 2).mean()) - np.sqrt(((one - true) ** 2).mean()))

    data = (true[:, 0], one[:, 0], other[:, 0])
    expected = stats.bootstrap(
        data, less, n_resamples=1000, paired=True, vectorized=False, method="percentile", rng=np.random.default_rng(5)
    ).confidence_interval
    found = difference("rmse", true, (one, other))
    assert found is not None
    width = expected.high - expected.low
    assert found.low == pytest.approx(expected.low, abs=0.15 * width)
    assert found.high == pytest.approx(expected.high, abs=0.15 * width)
    alone = [interval("rmse", true, said) for said in (one, other)]
    assert all(own is not None and own.high - own.low > 1.5 * width for own in alone), "what both share drops out"


def test_the_difference_from_itself_is_none_at_all() -> None:
    found = difference("accuracy", TRUE, (SAID, SAID))
    assert found is not None and found.low == found.high == 0


def test_images_of_a_group_are_drawn_together() -> None:
    groups = [str(number // 3) for number in range(30)]
    for rows in resamples(30, 1, groups, 0)[:50]:
        counts = np.bincount(rows, minlength=30).reshape(10, 3)
        assert (counts == counts[:, :1]).all() and counts.sum() == 30


def test_copies_make_a_score_no_surer() -> None:
    """Ten copies of each image, as a group: the interval of the images alone."""
    once = interval("accuracy", TRUE[:40], SAID[:40])
    groups = [str(number % 40) for number in range(400)]
    copies = interval("accuracy", np.tile(TRUE[:40], 10), np.tile(SAID[:40], 10), groups)
    alone = interval("accuracy", np.tile(TRUE[:40], 10), np.tile(SAID[:40], 10))
    assert once and copies and alone
    assert copies.high - copies.low == pytest.approx(once.high - once.low, rel=0.15)
    assert alone.high - alone.low < 0.5 * (once.high - once.low)


def test_the_score_lies_within() -> None:
    task = Task("single", ("a", "b", "c"), "log_loss", ("label",))
    probs = np.random.default_rng(2).dirichlet([1, 1, 1], 150)
    oof = {"0": (np.arange(0, 150, 2), Probs.dense(probs[::2])), "1": (np.arange(1, 150, 2), Probs.dense(probs[1::2]))}
    found, score = cv_interval(task, TRUE, oof), cross_validation(task, TRUE, oof)["cv"]
    assert found is not None and found.low < score < found.high
    assert found == cv_interval(task, TRUE, oof) and cv_interval(task, TRUE, {}) is None


def test_a_metric_that_is_undefined_has_none() -> None:
    task = Task("single", ("a", "b"), "roc_auc", ("label",))
    oof = {"0": (np.arange(20), Probs.dense(np.full((20, 2), 0.5)))}
    assert cv_interval(task, np.zeros(20, np.int64), oof) is None


@pytest.mark.parametrize("metric", ["log_loss", "map@2", "top@2"])
def test_of_a_mean_over_images_predictions_are_looked_at_once(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the interval is that of the score of each resample."""
    values = np.random.default_rng(2).dirichlet(np.ones(3), 150).astype(np.float32)
    other = values[::-1]
    scores = [
        [metrics.score(metric, TRUE[rows], Probs.dense(said[rows])) for rows in resamples(150, 3, None, 0)]
        for said in (values, other)
    ]
    seen: list[int] = []
    for name in ("full", "places"):
        whole = getattr(Probs, name)
        monkeypatch.setattr(
            Probs, name, lambda self, *given, whole=whole: (seen.append(len(self)), whole(self, *given))[1]
        )
    found = interval(metric, TRUE, Probs.dense(values))
    expected = np.quantile(scores[0], [0.025, 0.975])
    assert found is not None and [found.low, found.high] == pytest.approx(expected.tolist(), abs=1e-12)
    both = difference(metric, TRUE, (Probs.dense(values), Probs.dense(other)))
    expected = np.quantile(np.subtract(scores[1], scores[0]), [0.025, 0.975])
    assert both is not None and [both.low, both.high] == pytest.approx(expected.tolist(), abs=1e-12)
    assert sum(seen) == 3 * 150
