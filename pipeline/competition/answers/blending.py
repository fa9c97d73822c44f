"""The probe's predictions beside the networks': how large a share of both serves images that neither was fitted on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.competition.answers import metrics
from pipeline.competition.answers.ensembling import combine
from pipeline.competition.answers.probs import Probs
from pipeline.competition.answers.scoring import Folds, cross_validation
from pipeline.competition.answers.task import Task
from pipeline.config import Config

Array = np.ndarray[Any, Any]

# Shares of the probe that are tried.
_SHARES = np.linspace(0, 1, 21)
# What a probability may be at least where its logarithm counts.
_LEAST = 1e-7


def mixed(networks: Probs, probe: Probs, share: float, keep: int) -> Probs:
    """Mix the predictions of the networks with those of the probe, whose share is in [0, 1]."""
    if share in (0, 1):
        return probe if share else networks
    return Probs.mean([networks, probe], keep, (1 - share, share))


def image_losses(task: Task, targets: Array, probs: Probs) -> Array:
    """The loss of each image, float64 (num_images,): of classes the negative log of the true one's probability, of tags
    its mean over them, of numbers the squared error in standard deviations.
    """
    if task.activation == "softmax":
        return -np.log(np.maximum(probs.at(targets).astype(np.float64), _LEAST))
    values = probs.array.astype(np.float64)
    if task.activation == "sigmoid":
        right = np.where(targets > 0, values, 1 - values)
        return np.asarray(-np.log(np.maximum(right, _LEAST)).mean(1))
    return np.asarray(np.square((values - targets) / task.std).mean(1))


@dataclass(frozen=True)
class Blend:
    """How much the probe is worth beside the networks.

    share: of the probe in the predictions, in [0, 1].
    oof: the blend's predictions of the folds, and `scores`, their `cross_validation`.
    cv: score of the probe alone, of the networks alone and of both, on these folds; None where it is undefined.
    """

    share: float
    oof: Folds
    scores: Mapping[str, Any]
    cv: Mapping[str, float | None]


def blend(cfg: Config, task: Task, targets: Array, networks: Folds, probe: Folds) -> Blend:
    """Find the share of the probe by what both say of the same folds' images, which neither was fitted on.

    It is the one with the least loss, which is smoother than a score. Where a fold is scored it is that of the others,
    and of a single one its own. Networks alone, or the probe alone, are taken where they score better than both.

    Args:
        cfg: how models are combined, and of many classes how many of each image are kept.
        task: kind, classes and metric.
        targets: of every train image, as `Task.encode` gives them.
        networks: their out-of-fold predictions; none where no network is ready.
        probe: the probe's, of the same folds where there are networks; none where there is no probe.
    """
    method, keep = cfg.ensemble.method, cfg.infer.keep_top

    def combined(oof: Folds) -> dict[str, tuple[Array, Probs]]:
        """As test images are combined: of ranks, those of one model's predictions at a time."""
        if method == "mean":
            return dict(oof)  # with the true class, which `combine` would cut where many are likelier
        return {fold: (indices, combine([probs], method, task, keep)) for fold, (indices, probs) in oof.items()}

    alone, without = combined(probe), combined(networks)
    if not probe:
        return Blend(0.0, without, cross_validation(task, targets, without), {})
    if not networks:
        scores = cross_validation(task, targets, alone)
        return Blend(1.0, alone, scores, {"probe": scores["cv"]})
    losses = {
        fold: _losses_by_share(task, targets[indices], probs, probe[fold][1])
        for fold, (indices, probs) in networks.items()
    }
    best = {fold: _best([lost for name, lost in losses.items() if name != fold] or [losses[fold]]) for fold in losses}
    all_kept = 2 * keep + 2  # of both, and the true class of each
    both = {
        fold: (indices, mixed(probs, alone[fold][1], best[fold], all_kept))
        for fold, (indices, probs) in without.items()
    }
    ways = {"both": both, "networks": without, "probe": alone}
    by_way = {name: cross_validation(task, targets, oof) for name, oof in ways.items()}
    cv = {name: scores["cv"] for name, scores in by_way.items()}
    chosen = _chosen(task, cv)
    share = {"both": _best(list(losses.values())), "networks": 0.0, "probe": 1.0}[chosen]
    return Blend(share, ways[chosen], by_way[chosen], cv)


def _chosen(task: Task, cv: Mapping[str, float | None]) -> str:
    """Name what scores best, of equals the first; the first where a score is undefined."""
    sign = 1 if metrics.get(task.metric).higher_is_better else -1
    known = {name: sign * value for name, value in cv.items() if value is not None}
    return max(known, key=lambda name: known[name]) if len(known) == len(cv) else next(iter(cv))


def _losses_by_share(task: Task, targets: Array, networks: Probs, probe: Probs) -> Array:
    """The summed loss of some images for each share of the probe: float64 (num_shares,)."""
    if task.activation == "softmax":  # one probability of each image counts
        first, second = (Probs.dense(probs.at(targets)[:, None]) for probs in (networks, probe))
        targets = np.zeros(len(targets), np.int64)
        networks, probe = first, second
    return np.array([image_losses(task, targets, mixed(networks, probe, share, 1)).sum() for share in _SHARES])


def _best(losses: Sequence[Array]) -> float:
    return float(_SHARES[np.sum(losses, axis=0).argmin()])
