"""The competitions' scores in one table: name, direction, what they need, which kinds of labels they score.

Each is scikit-learn's, or tested against an independent computation.
"""

import difflib
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from pipeline.competition.answers.probs import Probs
from pipeline.config import ConfigError

Array = np.ndarray[Any, Any]
# Those that look at the order of the images alone, column by column.
OF_ORDER = ("roc_auc", "weighted_auc", "mean_column_auc")
Need = Literal["labels", "grades", "probs", "numbers"]
Predicted: TypeAlias = Probs | Array
# Images whose probabilities are in float64 at once.
BLOCK = 16_384


@dataclass(frozen=True)
class Metric:
    """A score. `function(targets, predicted)` takes what `needs` says:

    labels: class indices int (num_images,), or flags (num_images, num_classes) for `multi`;
    grades: float (num_images,), the values of `Task.grades`;
    probs: `Probs`; targets as `Task.encode` gives them;
    numbers: float (num_images,).

    lowest: what it cannot be below; a score of which higher is better is 1 at most.
    Where the score is a mean over images, `of_image` gives the values (num_images, ...) that it is the mean of.
    """

    name: str
    needs: Need
    higher_is_better: bool
    kinds: tuple[Literal["single", "multi", "ordinal", "number"], ...]
    function: Callable[[Array, Any], float]
    top: int = 1
    lowest: float = 0.0
    of_image: Callable[[Array, Any], Array] | None = None


def score(name: str, targets: Array, predicted: Predicted) -> float | None:
    """The metric, or None where it is undefined (one class only, say).

    Args:
        name: a metric's name.
        targets: as `Task.encode` gives them.
        predicted: what the metric needs, see `Metric`.
    """
    if not len(targets):
        return None
    value = get(name).function(targets, predicted)
    return float(value) if math.isfinite(value) else None


def get(name: str) -> Metric:
    """The metric of a name; `map@K` and `top@K` for any K from 2 on.

    Raises:
        ConfigError: there is no such metric; the nearest is named.
    """
    if name in METRICS:
        return METRICS[name]
    if match := re.fullmatch(r"(map|top)@([1-9]\d?)", name):
        top = int(match[2])
        if top > 1:
            return _of_best(match[1], top)
    near = difflib.get_close_matches(name, list(METRICS), 1, 0.5)
    hint = f"Did you mean {near[0]!r}?" if near else ""
    raise ConfigError(f"'task.metric' must be one of {', '.join(METRICS)}. Got {name!r}. {hint}".strip())


def must_allow(method: str, metric: Metric) -> None:
    """Refuse an ensemble of ranks for a metric that looks at more than the order of the images.

    Raises:
        ConfigError: ranks are no probabilities, and their likeliest class means nothing.
    """
    if method == "rank" and metric.name not in OF_ORDER:
        raise ConfigError(
            f"ensemble.method must be 'mean' unless task.metric looks at the order of images alone "
            f"({', '.join(OF_ORDER)}): ranks are no probabilities. Got 'rank' with {metric.name}"
        )


def _accuracy(targets: Array, labels: Array) -> float:
    same = targets == labels
    return float((same if same.ndim == 1 else same.all(1)).mean())


def _error(targets: Array, labels: Array) -> float:
    return 1.0 - _accuracy(targets, labels)


def _balanced_accuracy(targets: Array, labels: Array) -> float:
    """Mean recall over the classes that occur."""
    recalls = [float((labels[targets == index] == index).mean()) for index in np.unique(targets)]
    return float(np.mean(recalls))


def _f1(average: str) -> Callable[[Array, Array], float]:
    def function(targets: Array, labels: Array) -> float:
        from sklearn.metrics import f1_score

        return float(f1_score(targets, labels, average=average, zero_division=0))

    return function


def _log_losses(targets: Array, probs: Probs) -> Array:
    """Negative log of the true class's probability (rows renormalised, clipped to 1e-15), in nats, of each image:
    float64 (num_images,); of tags of each tag, (num_images, num_classes).
    """
    if not probs.is_dense:
        return np.asarray(-np.log(np.clip(probs.at(targets).astype(np.float64), 1e-15, 1.0)))
    starts = range(0, max(1, len(targets)), BLOCK)
    return np.concatenate([_dense_losses(targets[at : at + BLOCK], probs[at : at + BLOCK]) for at in starts])


def _dense_losses(targets: Array, probs: Probs) -> Array:
    values = np.clip(probs.full(), 1e-15, 1.0)
    if targets.ndim == 2:
        negative = np.clip(1.0 - values, 1e-15, 1.0)
        return np.asarray(-(targets * np.log(values) + (1 - targets) * np.log(negative)))
    return np.asarray(-np.log(values[np.arange(len(targets)), targets] / values.sum(1)))


def _roc_auc(targets: Array, probs: Probs) -> float:
    """Two classes: the second's probability decides. More: undefined."""
    if targets.ndim == 2:
        return _mean_column_auc(targets, probs)
    if probs.num_outputs != 2:
        return math.nan
    return _auc(targets == 1, probs.array[:, 1])


def _mean_column_auc(targets: Array, probs: Probs) -> float:
    scores = []
    for index, column in enumerate(probs.by_class()):
        flags = targets[:, index] > 0 if targets.ndim == 2 else targets == index
        scores.append(_auc(flags, column))
    return float(np.mean(scores))


def _auc(positive: Array, scores: Array) -> float:
    """Area under the ROC curve from ranks (Mann-Whitney U), ties at their mean rank; NaN with one class only."""
    num_positive = int(positive.sum())
    num_negative = len(positive) - num_positive
    if not num_positive or not num_negative:
        return math.nan
    from scipy.stats import rankdata

    ranks = rankdata(scores)
    return float((ranks[positive].sum() - num_positive * (num_positive + 1) / 2) / (num_positive * num_negative))


def _weighted_auc(targets: Array, probs: Probs) -> float:
    """Area under the ROC curve of two classes, weighted 2 where the true positive rate is below 0.4 and 1 above.

    The metric of steganalysis competitions: false alarms are to be rare. Ties at one point of the curve; normalised to
    1 for a perfect order; exact, where the published grader sums on a grid.
    """
    positive = targets == 1
    num_positive = int(positive.sum())
    if not 0 < num_positive < len(positive):
        return math.nan
    scores, inverse = np.unique(-probs.array[:, 1], return_inverse=True)
    hits, alarms = (np.bincount(inverse, chosen, len(scores)).cumsum() for chosen in (positive, ~positive))
    rate = np.concatenate([[0.0], hits / num_positive])
    width = np.diff(np.concatenate([[0.0], alarms / (len(positive) - num_positive)]))
    area = total = 0.0
    for low, high, weight in ((0.0, 0.4, 2.0), (0.4, 1.0, 1.0)):
        # The integral of clip(rate, low, high) - low up to a rate; along a segment the rate is linear.
        inside = np.clip(rate, low, high) - low
        integral = inside**2 / 2 + (high - low) * np.maximum(rate - high, 0)
        rise = np.diff(rate)
        mean = np.where(rise > 0, np.diff(integral) / np.where(rise > 0, rise, 1.0), inside[1:])
        area += weight * float((mean * width).sum())
        total += weight * (high - low)
    return area / total


def _probabilistic_f1(targets: Array, probs: Probs) -> float:
    """F1 of two classes with probabilities as counts, of the second class (Yacouby and Axman 2020, section 3)."""
    scores = probs.array[:, 1].clip(0, 1)
    hits, found, num_positive = float(scores[targets == 1].sum()), float(scores.sum()), int((targets == 1).sum())
    if not num_positive:
        return math.nan
    return 2 * hits / (found + num_positive)


def quadratic_kappa(targets: Array, grades: Array) -> float:
    """Quadratic weighted kappa (Cohen 1968, weights by squared distance): 1 - E[(t - g)^2] / E[(t - g')^2], where t and
    g' are drawn apart, which is var t + var g + (mean t - mean g)^2.

    From the values of the grades, so a grade that no image has leaves its gap; NaN where both are one grade.
    """
    chance = targets.var() + grades.var() + (targets.mean() - grades.mean()) ** 2
    return float(1 - np.square(targets - grades).mean() / chance) if chance else math.nan


def _mcc(targets: Array, labels: Array) -> float:
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(targets, labels))


def _map_at(top: int) -> Callable[[Array, Probs], Array]:
    def of_image(targets: Array, probs: Probs) -> Array:
        place = probs.places(targets)
        return np.where(place < top, 1.0 / (1 + place), 0.0)

    return of_image


def _top_at(top: int) -> Callable[[Array, Probs], Array]:
    return lambda targets, probs: probs.places(targets) < top


def _mean_of(of_image: Callable[[Array, Probs], Array]) -> Callable[[Array, Probs], float]:
    return lambda targets, probs: float(of_image(targets, probs).mean())


def _of_best(name: str, top: int) -> Metric:
    """`map@K` or `top@K`."""
    of_image = (_map_at if name == "map" else _top_at)(top)
    return Metric(f"{name}@{top}", "probs", True, ("single",), _mean_of(of_image), top=top, of_image=of_image)


def _rmse(targets: Array, numbers: Array) -> float:
    return float(np.sqrt(np.square(_errors(targets, numbers)).mean()))


def _mae(targets: Array, numbers: Array) -> float:
    return float(np.abs(_errors(targets, numbers)).mean())


def _errors(targets: Array, numbers: Array) -> Array:
    """In float64: squares of large numbers are beyond float32."""
    return targets.reshape(-1).astype(np.float64) - numbers.reshape(-1)


# One that is often asked for, by the kind of the labels.
COMMON = {"single": "accuracy", "ordinal": "quadratic_kappa", "multi": "micro_f1", "number": "rmse"}
METRICS = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "labels", True, ("single", "ordinal", "multi"), _accuracy),
        Metric("error", "labels", False, ("single", "ordinal", "multi"), _error),
        Metric("balanced_accuracy", "labels", True, ("single", "ordinal"), _balanced_accuracy),
        Metric("macro_f1", "labels", True, ("single", "ordinal", "multi"), _f1("macro")),
        Metric("micro_f1", "labels", True, ("single", "ordinal", "multi"), _f1("micro")),
        Metric("samples_f1", "labels", True, ("multi",), _f1("samples")),
        Metric(
            "log_loss",
            "probs",
            False,
            ("single", "ordinal", "multi"),
            _mean_of(_log_losses),
            of_image=_log_losses,
        ),
        Metric("roc_auc", "probs", True, ("single", "multi"), _roc_auc),
        Metric("mean_column_auc", "probs", True, ("single", "multi"), _mean_column_auc),
        Metric("weighted_auc", "probs", True, ("single",), _weighted_auc),
        Metric("probabilistic_f1", "probs", True, ("single",), _probabilistic_f1),
        Metric("quadratic_kappa", "grades", True, ("ordinal", "single"), quadratic_kappa, lowest=-1.0),
        Metric("mcc", "labels", True, ("single", "ordinal"), _mcc, lowest=-1.0),
        _of_best("map", 5),
        _of_best("top", 5),
        Metric("rmse", "numbers", False, ("number",), _rmse),
        Metric("mae", "numbers", False, ("number",), _mae),
    )
}
