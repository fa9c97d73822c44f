"""Decisions: thresholds and cuts that serve the metric, found on other images than those they are scored on."""

import numpy as np
import pytest

from pipeline.competition import metrics
from pipeline.competition.decide import PLAIN, Decision, best, decide, fit_decision
from pipeline.competition.scoring import cross_validation, fitted, score
from pipeline.competition.task import Task

Folds = dict[str, tuple[np.ndarray, np.ndarray]]


def tags(metric: str) -> Task:
    return Task("multi", ("a", "b", "c"), metric, ("y",), " ")


GRADES = Task("ordinal", tuple("01234"), "quadratic_kappa", ("y",))


def test_decisions() -> None:
    multi = Task("multi", ("a", "b"), "micro_f1", ("y",), " ")
    assert decide(multi, np.array([[0.6, 0.7], [0.2, 0.3], [0.9, 0.1]])).tolist() == [[1, 1], [0, 1], [1, 0]]
    assert best(np.array([[0.1, 0.5, 0.5, 0.2]]), 3).tolist() == [[1, 2, 3]]
    assert decide(Task("number", (), "rmse", ("y",)), np.array([[2.5]])).tolist() == [2.5]


def rare_tags(num_images: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Tags that are rarely sure: the probability of one that is there is seldom above one half."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((num_images, 3)) < [0.1, 0.2, 0.3]).astype(np.float32)
    probs = np.clip(0.1 + 0.25 * targets + 0.08 * rng.normal(size=targets.shape), 0.001, 0.999)
    return targets, probs


def grades(num_images: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Grades of which most are 0, by a model that is pulled to the middle."""
    rng = np.random.default_rng(seed)
    targets = rng.choice(5, num_images, p=[0.5, 0.1, 0.25, 0.05, 0.1])
    centre = 1.0 + 0.6 * (targets - 1.0) + 0.4 * rng.normal(size=num_images)
    probs = np.exp(-((np.arange(5) - centre[:, None]) ** 2))
    return targets, probs / probs.sum(1, keepdims=True)


def split(probs: np.ndarray, num_folds: int = 5) -> Folds:
    return {str(fold): (np.arange(fold, len(probs), num_folds), probs[fold::num_folds]) for fold in range(num_folds)}


@pytest.mark.parametrize("metric", ["macro_f1", "micro_f1", "samples_f1"])
def test_thresholds_serve_new_images_too(metric: str) -> None:
    decision = fit_decision(tags(metric), *rare_tags(400, 0))
    assert len(decision.thresholds) == 3 and max(decision.thresholds) < 0.5
    targets, probs = rare_tags(400, 1)
    plain, tuned = score(tags(metric), targets, probs), score(tags(metric), targets, probs, decision)
    assert plain is not None and tuned is not None and tuned > plain + 0.01


def test_cuts_serve_new_images_too() -> None:
    decision = fit_decision(GRADES, *grades(500, 0))
    assert len(decision.cuts) == 4 and list(decision.cuts) == sorted(decision.cuts)
    targets, probs = grades(500, 1)
    plain, tuned = score(GRADES, targets, probs), score(GRADES, targets, probs, decision)
    assert plain is not None and tuned is not None and tuned > plain + 0.01


def test_each_fold_is_decided_by_the_others() -> None:
    targets, probs = rare_tags(100, 0)
    oof = split(probs, 3)
    scores = cross_validation(tags("micro_f1"), targets, oof)
    labels = np.zeros_like(targets)
    for fold in oof:
        others = np.concatenate([numbers for part, (numbers, _) in oof.items() if part != fold])
        found = fit_decision(tags("micro_f1"), targets[others], probs[others])
        assert found == fitted(tags("micro_f1"), targets, oof, fold)
        labels[oof[fold][0]] = decide(tags("micro_f1"), oof[fold][1], found)
    assert scores["cv"] == pytest.approx(metrics.score("micro_f1", targets, labels))


def test_one_fold_alone_is_decided_plainly() -> None:
    targets, probs = rare_tags(40, 0)
    only = {"0": (np.arange(40), probs)}
    assert fitted(tags("micro_f1"), targets, only, "0") == PLAIN
    assert cross_validation(tags("micro_f1"), targets, only)["cv"] == score(tags("micro_f1"), targets, probs)
    assert fitted(tags("micro_f1"), targets, only) != PLAIN, "test images are decided by it"


def test_random_predictions_do_not_beat_chance() -> None:
    honest, fooled = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        targets, probs = rng.integers(0, 5, 60), rng.dirichlet(np.ones(5), 60)
        honest.append(cross_validation(GRADES, targets, split(probs))["cv"])
        fooled.append(score(GRADES, targets, probs, fit_decision(GRADES, targets, probs)))
    assert abs(np.mean(honest)) < 0.06
    assert np.mean(fooled) > 0.1, "fitted on the images that it is scored on"


@pytest.mark.parametrize("metric", ["accuracy", "log_loss", "macro_f1", "map@3"])
def test_other_metrics_take_the_likeliest(metric: str) -> None:
    task = Task("single", tuple("abcde"), metric, ("y",))
    assert fit_decision(task, *grades(50, 0)) == PLAIN
    assert fit_decision(task, np.zeros(0, int), np.zeros((0, 5))) == PLAIN


def test_the_nearest_tag_where_none_passes() -> None:
    flags = decide(tags("macro_f1"), np.array([[0.2, 0.3, 0.1]]), Decision(thresholds=(0.3, 0.6, 0.25)))
    assert flags.tolist() == [[1, 0, 0]]
