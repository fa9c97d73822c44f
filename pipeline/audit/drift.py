"""Whether what is said of the test images is like what was said of the train images, by models that had not seen them.

Where images are of one kind, classes come as often, and models are as sure. What differs by more than chance and by
more than a little is worth a look before a submission is believed.
"""

from typing import Any

import numpy as np
from scipy import stats

from pipeline.competition.answers.probs import Probs
from pipeline.competition.answers.task import Task
from pipeline.quoting import shown

Array = np.ndarray[Any, Any]

# By how much shares of classes (as total variation), mean confidence, and distributions of numbers (by Kolmogorov and
# Smirnov) may differ: between random halves of the shared competitions' train images they do by less.
_MOST = 0.15
_MOST_CONFIDENCE = 0.1
# How unlikely a difference is by chance before it is said.
_CHANCE = 1e-3
# A class that should come so often by its share, and never does.
_EXPECTED = 10


def find_drift(task: Task, oof: Probs, test: Probs) -> list[str]:
    """What differs between predictions out of fold and of the test images, a sentence each.

    Args:
        task: kind and classes.
        oof: of train images, by models that have not seen them.
        test: of the test images.
    """
    if min(len(oof), len(test)) < _EXPECTED:
        return []
    if task.kind == "number":
        return _of_numbers(oof.array[:, 0], test.array[:, 0])
    if task.kind == "multi":
        return _of_tags(task, oof, test)
    return [*_of_classes(task, oof, test), *_of_confidence(oof, test)]


def _of_classes(task: Task, oof: Probs, test: Probs) -> list[str]:
    counts = np.array([np.bincount(each.best(1)[:, 0], minlength=task.num_outputs) for each in (oof, test)])
    found = []
    expected = counts[0] / len(oof) * len(test)
    if never := [task.classes[index] for index in np.flatnonzero((expected >= _EXPECTED) & (counts[1] == 0))]:
        names = ", ".join(shown(name) for name in never[:5])
        found.append(f"none of the test images is said to be {names}, and out of fold many are")
    shares = counts / counts.sum(1, keepdims=True)
    if _distance(*shares) > _MOST and _is_no_chance(counts):
        index = int(np.abs(shares[1] - shares[0]).argmax())
        found.append(
            f"classes come in other shares than out of fold: {shown(task.classes[index])} is {shares[1, index]:.0%} of "
            f"the test images, and {shares[0, index]:.0%} there"
        )
    return found


def _of_confidence(oof: Probs, test: Probs) -> list[str]:
    own, other = (each.at(each.best(1))[:, 0].astype(np.float64) for each in (oof, test))
    if abs(other.mean() - own.mean()) <= _MOST_CONFIDENCE or stats.ttest_ind(own, other, equal_var=False)[1] > _CHANCE:
        return []
    return [
        f"the likeliest class has a probability of {other.mean():.2f} on average, and of {own.mean():.2f} out of fold"
    ]


def _of_tags(task: Task, oof: Probs, test: Probs) -> list[str]:
    rates = np.array([[column.mean(dtype=np.float64) for column in each.by_class()] for each in (oof, test)])
    index = int(np.abs(rates[1] - rates[0]).argmax())
    own, other = (list(each.by_class())[index] for each in (oof, test))
    if abs(rates[1, index] - rates[0, index]) <= _MOST or stats.ttest_ind(own, other, equal_var=False)[1] > _CHANCE:
        return []
    return [
        f"tags come in other shares than out of fold: {shown(task.classes[index])} is {rates[1, index]:.0%} likely on "
        f"average, and {rates[0, index]:.0%} there"
    ]


def _of_numbers(own: Array, other: Array) -> list[str]:
    distance, chance = stats.ks_2samp(own, other)
    if distance <= _MOST or chance > _CHANCE:
        return []
    return [
        f"numbers are distributed otherwise than out of fold: half of them are below {np.median(other):.4g}, and below "
        f"{np.median(own):.4g} there"
    ]


def _distance(own: Array, other: Array) -> float:
    """Total variation, in [0, 1]."""
    return float(np.abs(own - other).sum() / 2)


def _is_no_chance(counts: Array) -> bool:
    """Whether two rows of counts differ by more than chance by Pearson's chi-squared; rare classes are one."""
    rare = counts.sum(0) < _EXPECTED
    merged = np.concatenate([counts[:, ~rare], counts[:, rare].sum(1, keepdims=True)], axis=1)
    merged = merged[:, merged.sum(0) > 0]
    return merged.shape[1] > 1 and float(stats.chi2_contingency(merged)[1]) < _CHANCE
