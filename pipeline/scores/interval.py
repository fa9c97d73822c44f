"""How sure a CV score, or the difference of two, is: the bootstrap interval over the images, or over the groups that
share a fold.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.competition.answers import metrics
from pipeline.competition.answers.probs import Probs
from pipeline.competition.answers.scoring import Folds, pooled_predictions
from pipeline.competition.answers.task import Task

Array = np.ndarray[Any, Any]

_LEVEL = 0.95
_RESAMPLES = 1000
# Of many images fewer resamples say as much in the time: about so many predictions are looked at in all.
_MOST = 2e8
_FEWEST = 100


@dataclass(frozen=True)
class Interval:
    """Where the score lies in 95 of 100 resamples: the percentile interval (Efron and Tibshirani 1993, chapter 13)."""

    low: float
    high: float


def cv_interval(
    task: Task, targets: Array, oof: Folds, groups: Sequence[str] | None = None, seed: int = 0
) -> Interval | None:
    """The interval of the CV score; None where there is none, or where most resamples have no score.

    Args:
        task: kind, classes and metric.
        targets: of every train image.
        oof: what was said of each fold by a model that has not seen it.
        groups: of every train image; whole groups are drawn, as images of one group are not independent.
        seed: of the resamples.
    """
    if not oof:
        return None
    indices = np.concatenate([indices for indices, _ in oof.values()])
    true, scored = pooled_predictions(task, targets, oof)
    own = None if groups is None else [groups[index] for index in indices]
    return interval(task.metric, true, scored, own, seed)


def interval(
    metric: str, true: Array, scored: metrics.Predicted, groups: Sequence[str] | None = None, seed: int = 0
) -> Interval | None:
    """The interval of a metric over images, a row each, or over their groups."""
    score = _scorer(metric, true, scored)
    return _middle([score(rows) for rows in resamples(len(true), _width(scored), groups, seed)])


def difference(
    metric: str,
    true: Array,
    scored: tuple[metrics.Predicted, metrics.Predicted],
    groups: Sequence[str] | None = None,
    seed: int = 0,
) -> Interval | None:
    """The interval of the second score less the first, of two predictions of the same images: each resample is of
    both, so that what makes images hard or easy for both of them drops out (paired bootstrap).
    """
    scores = [_scorer(metric, true, said) for said in scored]
    values: list[float | None] = []
    for rows in resamples(len(true), max(map(_width, scored)), groups, seed):
        first, second = (score(rows) for score in scores)
        values.append(None if first is None or second is None else second - first)
    return _middle(values)


def _scorer(metric: str, true: Array, scored: metrics.Predicted) -> Callable[[Array], float | None]:
    """Give what scores some of the images, drawn again and again: where the metric is a mean over images, the values
    that it is the mean of are computed once.
    """
    of_image = metrics.get(metric).of_image
    if of_image is None or not len(true):
        return lambda rows: metrics.score(metric, true[rows], scored[rows])
    values = of_image(true, scored)

    def mean(rows: Array) -> float | None:
        value = float(values[rows].mean())
        return value if math.isfinite(value) else None

    return mean


def _width(scored: metrics.Predicted) -> int:
    return scored.num_outputs if isinstance(scored, Probs) else 1


def _middle(values: Sequence[float | None]) -> Interval | None:
    """Where 95 of 100 values lie; None where most are undefined."""
    known = [value for value in values if value is not None]
    if 2 * len(known) < len(values):
        return None
    low, high = np.quantile(known, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Interval(float(low), float(high))


def resamples(num_images: int, width: int, groups: Sequence[str] | None, seed: int) -> list[Array]:
    """The rows of each resample, int64, drawn with replacement: of images, or of whole groups.

    Args:
        num_images: how many there are.
        width: numbers in a prediction, by which the count of resamples is bounded.
        groups: a name for each image; None: each image is its own.
        seed: the same rows for the same seed.
    """
    generator = np.random.default_rng(seed)
    count = int(np.clip(_MOST / (num_images * width), _FEWEST, _RESAMPLES))
    if groups is None:
        return [generator.integers(0, num_images, num_images) for _ in range(count)]
    names, codes = np.unique(np.array(groups, dtype=object).astype(str), return_inverse=True)
    order = np.argsort(codes, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(codes))[:-1])
    return [
        np.concatenate([members[group] for group in generator.integers(0, len(names), len(names))])
        for _ in range(count)
    ]
