"""Probabilities -> answers: what a metric scores and a submission holds.

Some metrics are not served best by what is likeliest: tags scored by F1 have thresholds below one half, grades scored
by kappa are cut from the expected grade. These are found on out-of-fold predictions (`fit_decision`), and cross-fitted
where such predictions are scored, so that no score is of the images that its thresholds were found on.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.competition.answers import metrics
from pipeline.competition.answers.probs import Probs
from pipeline.competition.answers.task import Task

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
        probs: of the images.
        decision: thresholds or cuts found on other images.

    Returns:
        int64 (num_images,) classes for `single` and `ordinal`; float32 (num_images, num_classes) flags for `multi`,
        those above their threshold, and, unless images may have no tag, the one nearest to it where none is; float
        (num_images,) numbers.
    """
    if task.kind == "number":
        return probs.array[:, 0]
    if task.kind == "multi":
        above = probs.array - np.array(decision.thresholds or (0.5,))
        flags = above > 0
        if not task.may_be_empty:
            none = ~flags.any(1)
            flags[none, above[none].argmax(1)] = True
        return flags.astype(np.float32)
    if decision.cuts:
        return np.searchsorted(np.array(decision.cuts), probs.expected(task.grades))
    return probs.best(1)[:, 0]


def is_fitted(task: Task) -> bool:
    """Whether the task's metric is served best by thresholds or cuts that are found on predictions."""
    needs = metrics.get(task.metric).needs
    return (needs == "labels" and task.kind == "multi") or (needs == "grades" and len(task.classes) > 2)


def fit_decision(task: Task, targets: Array, probs: Probs) -> Decision:
    """What serves the task's metric best on some predictions; `PLAIN` for metrics that need nothing.

    Args:
        task: kind, classes and metric.
        targets: as `Task.encode` gives them.
        probs: of the images.
    """
    if not len(targets) or not is_fitted(task):
        return PLAIN
    if metrics.get(task.metric).needs == "labels":
        return Decision(thresholds=_thresholds(task, targets, probs))
    return Decision(cuts=_cuts(task.grades, targets, probs.expected(task.grades)))


def _thresholds(task: Task, targets: Array, probs: Probs) -> tuple[float, ...]:
    """One threshold for all tags; for the macro F1, whose classes are scored apart, one for each. Of equals the one
    nearest to one half.
    """
    grid = sorted(_GRID.tolist(), key=lambda value: abs(value - 0.5))
    if task.metric == "macro_f1":
        return _thresholds_by_tag(task, targets > 0, probs.array, np.array(grid))
    scores = [
        metrics.score(task.metric, targets, decide(task, probs, Decision(thresholds=(value,)))) or 0.0 for value in grid
    ]
    sign = 1 if metrics.get(task.metric).higher_is_better else -1
    return (grid[int(np.argmax(sign * np.array(scores)))],) * len(task.classes)


def _thresholds_by_tag(task: Task, wanted: Array, probs: Array, grid: Array) -> tuple[float, ...]:
    """Each tag's threshold, by its own F1; where every image must have a tag, then once more, tag by tag, by the mean
    F1 of what `decide` says, tags by force included.
    """
    tags = zip(probs.T, wanted.T, strict=True)
    found = [_best_threshold(_f1(column[None] > grid[:, None], true), grid) for column, true in tags]
    thresholds = np.array(found)
    for tag in range(len(task.classes)) if not task.may_be_empty else ():
        above = probs - thresholds
        above[:, tag] = -np.inf
        # By force an image gets the tag nearest to its threshold, the first of equals, where none passes.
        lower, higher = (part.max(1, initial=-np.inf) for part in (above[:, :tag], above[:, tag + 1 :]))
        forced = np.maximum(lower, higher) <= 0
        margins = probs[None, :, tag] - grid[:, None]
        flags = (margins > 0) | (forced & (margins > lower) & (margins >= higher))
        scores = _f1(flags, wanted[:, tag])
        # The other tags: those that pass, and those by force where this one is not set.
        sure = (above > 0) & ~forced[:, None]
        nearest = np.eye(len(task.classes))[above[forced].argmax(1)]
        left = ~flags[:, forced]
        hits = (sure & wanted).sum(0) + left @ (nearest * wanted[forced])
        num_set = sure.sum(0) + left @ nearest
        others = 2 * hits / np.maximum(num_set + wanted.sum(0), 1)
        others[:, tag] = 0
        thresholds[tag] = _best_threshold(scores + others.sum(1), grid)
    return tuple(float(value) for value in thresholds)


def _f1(flags: Array, wanted: Array) -> Array:
    """F1 of each row of flags (count, num_images); 0 where nothing is set and nothing wanted, as scikit-learn's."""
    hits = (flags & wanted).sum(1)
    return 2 * hits / np.maximum(flags.sum(1) + wanted.sum(), 1)


def _best_threshold(scores: Array, grid: Array) -> float:
    """The threshold of the highest score; the first of equals."""
    return float(grid[int(scores.argmax())])


def _cuts(grades: Array, targets: Array, expected: Array) -> tuple[float, ...]:
    """Cuts between grades: from the middles, each in turn to where the kappa is highest, a few times."""
    middles, gaps, wanted = (grades[1:] + grades[:-1]) / 2, np.diff(grades), grades[targets]
    cuts = middles
    for _ in range(_NUM_SWEEPS):
        for place, (middle, gap) in enumerate(zip(middles, gaps, strict=True)):
            low = cuts[place - 1] if place else -np.inf
            high = cuts[place + 1] if place + 1 < len(cuts) else np.inf
            tried = [value for value in middle + gap * _CUT_STEPS if low < value < high] or [cuts[place]]
            kappas = [
                metrics.quadratic_kappa(wanted, grades[np.searchsorted(_with(cuts, place, value), expected)])
                for value in tried
            ]
            cuts = _with(cuts, place, tried[int(np.nan_to_num(kappas).argmax())])
    return tuple(float(cut) for cut in cuts)


def _with(cuts: Array, place: int, value: float) -> Array:
    changed = cuts.copy()
    changed[place] = value
    return changed
