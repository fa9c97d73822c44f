"""Probabilities -> answers: what a metric scores and a submission holds.

Some metrics are not served best by what is likeliest: tags scored by F1 have thresholds below one half, grades scored
by kappa are cut from the expected grade. These are found on out-of-fold predictions (`fit_decision`), and cross-fitted
where such predictions are scored, so that no score is of the images that its thresholds were found on.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from pipeline.competition import metrics
from pipeline.competition.likeliest import Probs, best
from pipeline.competition.task import Task

Array = np.ndarray[Any, Any]

_GRID = np.round(np.arange(0.05, 0.951, 0.01), 2)
_CUT_STEPS = np.linspace(-0.5, 0.5, 41)
_NUM_SWEEPS = 3


@dataclass(frozen=True)
class Decision:
    """thresholds: of each class, for tags; cuts: of the expected grade, one fewer than classes.

    Empty: one half, and the likeliest.
    """

    thresholds: tuple[float, ...] = ()
    cuts: tuple[float, ...] = ()


PLAIN = Decision()


def decide(task: Task, probs: Probs, decision: Decision = PLAIN) -> Array:
    """Answers of the task's kind.

    Args:
        task: kind and classes.
        probs: float (num_images, num_outputs); of many classes the likeliest alone.
        decision: thresholds or cuts found on other images.

    Returns:
        int64 (num_images,) classes for `single` and `ordinal`; float32 (num_images, num_classes) flags for `multi`,
        those above their threshold, and the one nearest to it where none is; float (num_images,) numbers.
    """
    if task.kind == "number":
        return probs[:, 0]
    if task.kind == "multi":
        above = probs - np.array(decision.thresholds or (0.5,))
        flags = above > 0
        none = ~flags.any(1)
        flags[none, above[none].argmax(1)] = True
        return flags.astype(np.float32)
    if decision.cuts:
        return np.searchsorted(np.array(decision.cuts), _expected(probs))
    return best(probs, 1)[:, 0] if sparse.issparse(probs) else probs.argmax(1)


def fit_decision(task: Task, targets: Array, probs: Probs) -> Decision:
    """What serves the task's metric best on some predictions; `PLAIN` for metrics that need nothing.

    Args:
        task: kind, classes and metric.
        targets: as `Task.encode` gives them.
        probs: float (num_images, num_outputs).
    """
    if not len(targets) or metrics.get(task.metric).needs != "labels":
        return PLAIN
    if task.kind == "multi":
        return Decision(thresholds=_thresholds(task, targets, probs))
    if task.metric == "quadratic_kappa" and len(task.classes) > 2:
        return Decision(cuts=_cuts(targets, _expected(probs), len(task.classes)))
    return PLAIN


def _expected(probs: Array) -> Array:
    """The mean grade by the probabilities, in [0, num_classes - 1]."""
    return probs.astype(np.float64) @ np.arange(probs.shape[1]) / probs.sum(1)


def _thresholds(task: Task, targets: Array, probs: Array) -> tuple[float, ...]:
    """One threshold for all tags; for the macro F1, whose classes are scored apart, one for each. Of equals the one
    nearest to one half.
    """
    grid = sorted(_GRID.tolist(), key=lambda value: abs(value - 0.5))
    if task.metric == "macro_f1":
        found = []
        for column, wanted in zip(probs.T, targets.T > 0, strict=True):
            flags = column[None] > np.array(grid)[:, None]
            hits = (flags & wanted).sum(1)
            found.append(grid[int((2 * hits / np.maximum(flags.sum(1) + wanted.sum(), 1)).argmax())])
        return tuple(found)
    scores = [
        metrics.score(task.metric, targets, decide(task, probs, Decision(thresholds=(value,)))) or 0.0 for value in grid
    ]
    sign = 1 if metrics.get(task.metric).higher_is_better else -1
    return (grid[int(np.argmax(sign * np.array(scores)))],) * len(task.classes)


def _cuts(targets: Array, expected: Array, num_classes: int) -> tuple[float, ...]:
    """Cuts between grades: from the middles, each in turn to where the kappa is highest, a few times."""
    cuts = np.arange(num_classes - 1) + 0.5
    for _ in range(_NUM_SWEEPS):
        for place in range(len(cuts)):
            low = cuts[place - 1] if place else -np.inf
            high = cuts[place + 1] if place + 1 < len(cuts) else np.inf
            tried = [value for value in place + 0.5 + _CUT_STEPS if low < value < high] or [cuts[place]]
            kappas = [
                _kappa(targets, np.searchsorted(_with(cuts, place, value), expected), num_classes) for value in tried
            ]
            cuts = _with(cuts, place, tried[int(np.argmax(kappas))])
    return tuple(float(cut) for cut in cuts)


def _with(cuts: Array, place: int, value: float) -> Array:
    changed = cuts.copy()
    changed[place] = value
    return changed


def _kappa(targets: Array, labels: Array, num_classes: int) -> float:
    """Quadratic weighted kappa from the table of counts; 0 where it is undefined."""
    table = np.bincount(targets * num_classes + labels, minlength=num_classes**2).reshape(num_classes, num_classes)
    grades = np.arange(num_classes)
    weights = (grades[:, None] - grades) ** 2
    chance = (weights * np.outer(table.sum(1), table.sum(0))).sum() / len(targets)
    return float(1 - (weights * table).sum() / chance) if chance else 0.0
