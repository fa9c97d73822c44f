"""Decisions: thresholds and cuts that serve the metric, found on other images than those they are scored on."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, cohen_kappa_score, f1_score

from pipeline.competition.answers.decide import PLAIN, Decision, decide, fit_decision
from pipeline.competition.answers.probs import Probs
from pipeline.competition.answers.scoring import Folds, cross_validation, fitted, score
from pipeline.competition.answers.task import Task


def tags(metric: str) -> Task:
    return Task("multi", ("a", "b", "c"), metric, ("y",), " ")


GRADES = Task("ordinal", tuple("01234"), "quadratic_kappa", ("y",))


def test_decisions() -> None:
    multi = Task("multi", ("a", "b"), "micro_f1", ("y",), " ")
    tagged = Probs.dense(np.array([[0.6, 0.7], [0.2, 0.3], [0.9, 0.1]]))
    assert decide(multi, tagged).tolist() == [[1, 1], [0, 1], [1, 0]]
    single = Task("single", tuple("abcd"), "accuracy", ("y",))
    assert decide(single, Probs.dense(np.array([[0.1, 0.5, 0.5, 0.2]]))).tolist() == [1], "of equals the first"
    assert decide(Task("number", (), "rmse", ("y",)), Probs.dense(np.array([[2.5]]))).tolist() == [2.5]


def rare_tags(num_images: int, seed: int) -> tuple[np.ndarray, Probs]:
    """Tags that are rarely sure: the probability of one that is there is seldom above one half."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((num_images, 3)) < [0.1, 0.2, 0.3]).astype(np.float32)
    probs = np.clip(0.1 + 0.25 * targets + 0.08 * rng.normal(size=targets.shape), 0.001, 0.999)
    return targets, Probs.dense(probs)


def grades(num_images: int, seed: int) -> tuple[np.ndarray, Probs]:
    """Grades of which most are 0, by a model that is pulled to the middle."""
    rng = np.random.default_rng(seed)
    targets = rng.choice(5, num_images, p=[0.5, 0.1, 0.25, 0.05, 0.1])
    centre = 1.0 + 0.6 * (targets - 1.0) + 0.4 * rng.normal(size=num_images)
    probs = np.exp(-((np.arange(5) - centre[:, None]) ** 2))
    return targets, Probs.dense(probs / probs.sum(1, keepdims=True))


def split(probs: Probs, num_folds: int = 5) -> Folds:
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
        others = np.concatenate([indices for other, (indices, _) in oof.items() if other != fold])
        found = fit_decision(tags("micro_f1"), targets[others], probs[others])
        assert found == fitted(tags("micro_f1"), targets, oof, fold)
        labels[oof[fold][0]] = decide(tags("micro_f1"), oof[fold][1], found)
    assert scores["cv"] == pytest.approx(f1_score(targets, labels, average="micro"))
    apart = {fold: f1_score(targets[rows], labels[rows], average="micro") for fold, (rows, _) in oof.items()}
    assert scores["folds"] == pytest.approx(apart) and scores["std"] == pytest.approx(np.std(list(apart.values())))


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
        targets, probs = rng.integers(0, 5, 60), Probs.dense(rng.dirichlet(np.ones(5), 60))
        honest.append(cross_validation(GRADES, targets, split(probs))["cv"])
        fooled.append(score(GRADES, targets, probs, fit_decision(GRADES, targets, probs)))
    assert abs(np.mean(honest)) < 0.06
    assert np.mean(fooled) > 0.1, "fitted on the images that it is scored on"


@pytest.mark.parametrize("metric", ["accuracy", "log_loss", "macro_f1", "map@3"])
def test_other_metrics_take_the_likeliest(metric: str) -> None:
    task = Task("single", tuple("abcde"), metric, ("y",))
    assert fit_decision(task, *grades(50, 0)) == PLAIN
    assert fit_decision(task, np.zeros(0, int), Probs.dense(np.zeros((0, 5)))) == PLAIN


def test_the_nearest_tag_where_none_passes() -> None:
    flags = decide(tags("macro_f1"), Probs.dense(np.array([[0.2, 0.3, 0.1]])), Decision(thresholds=(0.3, 0.6, 0.25)))
    assert flags.tolist() == [[1, 0, 0]]


def untagged(num_images: int, seed: int, part_empty: float = 0.63) -> tuple[np.ndarray, Probs]:
    """Tags of which most images have none, by a network that knows them all."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((num_images, 3)) < 0.5) * (rng.random((num_images, 1)) >= part_empty)
    return targets.astype(np.float32), Probs.dense(np.where(targets, 0.9, 0.1))


@pytest.mark.parametrize("metric", ["accuracy", "micro_f1", "macro_f1"])
def test_images_may_have_no_tag_where_train_images_have_none(metric: str) -> None:
    targets, probs = untagged(300, 0)
    assert 0.5 < (targets.sum(1) == 0).mean() < 0.9
    free = replace(tags(metric), may_be_empty=True)
    flags = decide(free, probs, fit_decision(free, targets, probs))
    assert accuracy_score(targets, flags) == f1_score(targets, flags, average="micro") == 1.0
    assert score(free, targets, probs) == 1.0
    forced = decide(tags(metric), probs)
    assert (forced.sum(1) > 0).all() and accuracy_score(targets, forced) < 0.5


def test_thresholds_for_macro_f1_count_the_tags_that_are_forced() -> None:
    rng = np.random.default_rng(3)
    targets = np.eye(4)[rng.integers(0, 4, 300)]
    probs = Probs.dense(np.clip(0.25 * targets + 0.3 * rng.random((300, 4)), 0, 1))
    task = Task("multi", tuple("abcd"), "macro_f1", ("y",), " ")
    found = fit_decision(task, targets, probs).thresholds
    apart = fit_decision(replace(task, may_be_empty=True), targets, probs).thresholds

    def macro_f1(thresholds: tuple[float, ...]) -> float:
        return float(f1_score(targets, decide(task, probs, Decision(thresholds)), average="macro", zero_division=0))

    assert macro_f1(found) > macro_f1(apart), "found as if none were forced"


@pytest.mark.parametrize("decimals", [1, 6])
def test_each_threshold_for_macro_f1_is_the_best_beside_the_others(decimals: int) -> None:
    """By brute force and scikit-learn, with ties too: tags are gone through in their order, from their own best."""
    rng = np.random.default_rng(decimals)
    targets = np.eye(3)[rng.integers(0, 3, 60)]
    probs = Probs.dense(np.clip(0.25 * targets + 0.4 * rng.random((60, 3)), 0, 1).round(decimals))
    task = Task("multi", tuple("abc"), "macro_f1", ("y",), " ")
    thresholds = list(fit_decision(replace(task, may_be_empty=True), targets, probs).thresholds)
    grid = sorted(np.arange(0.05, 0.951, 0.01).round(2).tolist(), key=lambda value: abs(value - 0.5))
    for number in range(3):
        tried = []
        for value in grid:
            thresholds[number] = value
            flags = decide(task, probs, Decision(tuple(thresholds)))
            tried.append(f1_score(targets, flags, average="macro", zero_division=0))
        thresholds[number] = grid[int(np.argmax(np.round(tried, 12)))]
    found = fit_decision(task, targets, probs).thresholds
    scores = [
        f1_score(targets, decide(task, probs, Decision(tuple(each))), average="macro") for each in (found, thresholds)
    ]
    assert scores[0] == pytest.approx(scores[1])


HALVES = tuple(str(number / 2) for number in range(9))  # 0.0, 0.5, ... 4.0


@pytest.mark.parametrize(
    ("classes", "values"),
    [
        (tuple("01234"), range(5)),
        (tuple("0124"), (0, 1, 2, 4)),
        (HALVES, [number / 2 for number in range(9)]),
        (tuple(f"{number}.0" for number in range(1, 11)), range(1, 11)),
        (("-1.0", "0.0", "1.0", "2.0"), (-1, 0, 1, 2)),
        (("none", "mild", "severe"), (0, 1, 2)),
    ],
)
def test_kappa_is_of_the_values_of_grades(classes: tuple[str, ...], values: list[float]) -> None:
    task = Task("ordinal", classes, "quadratic_kappa", ("y",))
    rng = np.random.default_rng(0)
    targets = rng.integers(0, len(classes), 200)
    said = np.where(rng.random(200) < 0.6, targets, rng.integers(0, len(classes), 200))
    # scikit-learn goes by places: half grades count double, and grades that no class has are listed.
    places = (2 * np.array(values)).astype(int)
    every = np.arange(places.min(), places.max() + 1)
    expected = cohen_kappa_score(places[targets], places[said], labels=every, weights="quadratic")
    assert score(task, targets, Probs.dense(np.eye(len(classes))[said])) == pytest.approx(expected)


def test_cuts_do_not_depend_on_the_unit_of_grades() -> None:
    targets, probs = grades(300, 0)
    tens = Task("ordinal", ("0", "10", "20", "30", "40"), "quadratic_kappa", ("y",))
    cuts, scaled = fit_decision(GRADES, targets, probs).cuts, fit_decision(tens, targets, probs).cuts
    assert np.allclose(np.array(cuts) * 10, scaled)
    assert score(tens, targets, probs, Decision(cuts=scaled)) == pytest.approx(
        score(GRADES, targets, probs, Decision(cuts=cuts))
    )


def test_cuts_of_grades_with_a_gap() -> None:
    task = Task("ordinal", ("0", "1", "4"), "quadratic_kappa", ("y",))
    targets = np.repeat([0, 1, 2], 20)
    probs = Probs.dense(np.eye(3)[targets] * 0.7 + 0.1)
    cuts = fit_decision(task, targets, probs).cuts
    assert 0 < cuts[0] < cuts[1] < 4 and score(task, targets, probs, Decision(cuts=cuts)) == 1.0
