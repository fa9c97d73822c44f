"""The probe's share beside the networks: that of the least loss on images that neither saw; how it is scored."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import rankdata
from sklearn.metrics import accuracy_score, log_loss

from pipeline.competition.answers.blending import blend, image_losses, mixed
from pipeline.competition.answers.probs import Probs
from pipeline.competition.answers.task import Task
from pipeline.config import Config, EnsembleConfig, InferConfig

Array = np.ndarray[Any, Any]
TASK = Task("single", ("a", "b", "c"), "accuracy", ("label",))


def said(targets: Array, strength: float, seed: int) -> Probs:
    """Probabilities that are right the more often the greater the strength."""
    logits = np.random.default_rng(seed).normal(size=(len(targets), 3)) + strength * np.eye(3)[targets]
    return Probs.dense(np.exp(logits) / np.exp(logits).sum(1, keepdims=True))


def by_fold(probs: Probs) -> dict[str, tuple[Array, Probs]]:
    return {str(fold): (np.arange(fold, len(probs), 2), probs[np.arange(fold, len(probs), 2)]) for fold in (0, 1)}


def best_share(targets: Array, networks: Array, probe: Array) -> float:
    shares = np.linspace(0, 1, 21)
    losses = [log_loss(targets, (1 - share) * networks + share * probe, labels=range(3)) for share in shares]
    return float(shares[np.argmin(losses)])


def test_the_share_is_that_of_the_least_loss_and_scored_by_the_other_fold_s() -> None:
    targets = np.random.default_rng(0).integers(0, 3, 300)
    networks, probe = said(targets, 1.5, 1), said(targets, 1.2, 2)
    found = blend(Config(), TASK, targets, by_fold(networks), by_fold(probe))
    assert 0 < found.share < 1 and found.share == best_share(targets, networks.array, probe.array)
    right = 0
    for fold in (0, 1):
        own, other = np.arange(fold, 300, 2), np.arange(1 - fold, 300, 2)
        share = best_share(targets[other], networks.array[other], probe.array[other])
        both = (1 - share) * networks.array[own] + share * probe.array[own]
        np.testing.assert_allclose(found.oof[str(fold)][1].array, both, rtol=1e-5)
        right += (both.argmax(1) == targets[own]).sum()
    assert found.cv["both"] == pytest.approx(right / 300)
    assert found.cv["networks"] == pytest.approx(accuracy_score(targets, networks.array.argmax(1)))
    assert found.cv["probe"] == pytest.approx(accuracy_score(targets, probe.array.argmax(1)))


@pytest.mark.parametrize(("strong", "share"), [("networks", 0.0), ("probe", 1.0)])
def test_what_scores_better_alone_is_taken_alone(strong: str, share: float) -> None:
    """Networks that are right and unsure beside a probe that is wrong and sure, and the other way round."""
    targets = np.arange(60) % 3
    unsure = Probs.dense((0.9 / 3 + 0.1 * np.eye(3)[targets]).astype(np.float32))
    sure = np.where(np.arange(60) % 4 > 0, targets, (targets + 1) % 3)
    wrong = Probs.dense((0.001 + 0.997 * np.eye(3)[sure]).astype(np.float32))
    networks, probe = (unsure, wrong) if strong == "networks" else (wrong, unsure)
    found = blend(Config(), TASK, targets, by_fold(networks), by_fold(probe))
    assert found.share == share and found.cv[strong] == 1.0


def test_without_the_one_the_other_is_all() -> None:
    targets = np.arange(60) % 3
    probs = said(targets, 1.0, 3)
    alone = blend(Config(), TASK, targets, {}, by_fold(probs))
    assert alone.share == 1.0 and set(alone.cv) == {"probe"} and alone.oof["1"][1].array.shape == (30, 3)
    none = blend(Config(), TASK, targets, by_fold(probs), {})
    assert none.share == 0.0 and none.cv == {} and none.oof["0"][1].array.shape == (30, 3)


def test_one_fold_is_mixed_by_itself_and_equals_are_mixed() -> None:
    targets = np.arange(60) % 3
    probs = {"0": by_fold(said(targets, 1.0, 3))["0"]}
    found = blend(Config(), TASK, targets, probs, probs)
    assert found.cv["both"] == found.cv["probe"] == found.cv["networks"]
    np.testing.assert_allclose(found.oof["0"][1].array, probs["0"][1].array, rtol=1e-6)


def test_ranks_are_mixed_as_test_images_are() -> None:
    targets = np.arange(60) % 3
    task = replace(TASK, metric="mean_column_auc")
    cfg = Config(ensemble=EnsembleConfig(method="rank"))
    networks, probe = said(targets, 1.0, 4), said(targets, 1.0, 5)
    found = blend(cfg, task, targets, by_fold(networks), by_fold(probe))
    own, other = np.arange(0, 60, 2), np.arange(1, 60, 2)
    share = best_share(targets[other], networks.array[other], probe.array[other])
    ranked = [rankdata(probs.array[own], axis=0) / 31 for probs in (networks, probe)]
    np.testing.assert_allclose(found.oof["0"][1].array, (1 - share) * ranked[0] + share * ranked[1], rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "targets", "probs", "wanted"),
    [
        ("single", [1, 0], [[0.2, 0.8], [0.0, 1.0]], [-np.log(0.8), -np.log(1e-7)]),
        ("multi", [[1.0, 0.0]], [[0.9, 0.4]], [-(np.log(0.9) + np.log(0.6)) / 2]),
        ("number", [[3.0]], [[7.0]], [4.0]),
    ],
)
def test_the_loss_of_an_image(kind: Any, targets: list[Any], probs: list[Any], wanted: list[float]) -> None:
    task = Task(kind, ("a", "b"), "accuracy", ("label",), std=2.0)
    losses = image_losses(task, np.array(targets), Probs.dense(np.array(probs)))
    np.testing.assert_allclose(losses, wanted)


def test_the_likeliest_of_many_classes_are_mixed_too() -> None:
    task = Task("single", tuple(map(str, range(1200))), "accuracy", ("label",))
    first = Probs.top(np.array([[0.6, 0.3]], np.float32), np.array([[4, 7]]), 1200)
    second = Probs.top(np.array([[0.5, 0.4]], np.float32), np.array([[7, 9]]), 1200)
    mix = mixed(first, second, 0.25, 2)
    np.testing.assert_allclose(mix.at(np.array([[4, 7, 9]]))[0], [0.45, 0.35, 0], rtol=1e-6)
    found = blend(Config(), task, np.array([7]), {"0": (np.array([0]), first)}, {"0": (np.array([0]), second)})
    assert found.share == 1.0


def test_the_true_class_stays_where_others_are_likelier() -> None:
    """A hundred are kept of test images; of images with labels the true one too, or a log loss would be of nothing."""
    task = Task("single", tuple(map(str, range(1200))), "log_loss", ("label",))
    cfg = Config(infer=InferConfig(keep_top=2))
    values = np.array([[0.5, 0.3, 0.01]], np.float32)
    networks = Probs.top(values, np.array([[4, 7, 9]]), 1200)
    probe = Probs.top(values, np.array([[5, 8, 9]]), 1200)
    for given in ({}, {"0": (np.array([0]), probe)}):
        found = blend(cfg, task, np.array([9]), {"0": (np.array([0]), networks)}, given)
        np.testing.assert_allclose(found.oof["0"][1].at(np.array([9])), 0.01, rtol=1e-5)
