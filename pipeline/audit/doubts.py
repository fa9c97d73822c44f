"""Labels that may be wrong, by what models say of images that they have not seen.

How many there are, confident learning estimates (Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating
Uncertainty in Dataset Labels", section 3.1): an image counts for a class where its probability is at least what the
class's own images have on average, so that classes of which models are less sure are not all in doubt; the confident
joint of labels and such classes, scaled to the number of each label, has the wrong ones off its diagonal.

Which they are says the probability of the label: those with the least (self-confidence; Kuan and Mueller 2022,
"Model-agnostic label quality scoring to detect real-world label errors"). By the margin to the likeliest class, and by
the joint's own cells, fewer injected errors were found: see the benchmarks' README.

The method rests on models that know the classes (section 2 there): where they do not it is they that are wrong, and
nearly every label would be in doubt. Labels are judged where they and what models say agree at least moderately by
kappa (Landis and Koch 1977, "The Measurement of Observer Agreement for Categorical Data"), and of a class that was
learnt, that is that another fold has, and of whose images no more count for another class than for itself, by two
standard errors. Where more than half had to count for it, wrong labels made small classes such, and were not found.

Numbers are in doubt by the modified z-score of their residual (Iglewicz and Hoaglin 1993, "How to Detect and Handle
Outliers"), where the median residual is less by as much than what a constant leaves.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.competition.answers.probs import Probs
from pipeline.competition.answers.task import Task

Array = np.ndarray[Any, Any]

# Of each image, the likeliest classes that are looked at.
_MOST_CLASSES = 10
# Of the modified z-score, as its authors advise.
_FAR = 3.5
# Kappa from which agreement is moderate, as its authors have it; standard errors that are not by chance.
_MODERATE, _ERRORS = 0.4, 2.0


@dataclass(frozen=True)
class Doubts:
    """Labels in doubt, the most doubtful first: arrays of one length.

    image: int64, the index of the image.
    label: int64, the class, or tag, that its label says; -1 for numbers.
    likelier: int64, the class that is said; of tags the same one, which is said not to be there, or to be; -1 for
        numbers.
    said: float64, the probability of the label, in [0, 1]: 0 is the gravest. Of numbers the modified z-score of the
        residual, negative.
    num_judged: how many labels were judged: of tags those of every image.
    """

    image: Array
    label: Array
    likelier: Array
    said: Array
    num_judged: int

    def __len__(self) -> int:
        return len(self.image)


def learnt(task: Task, targets: Array, folds: Array) -> Array:
    """Whether another fold has an image of the same label, which a model that has not seen the image could learn.

    Args:
        task: kind and classes.
        targets: of every train image, as `Task.encode` gives them.
        folds: int64 (num_images,), of every train image.

    Returns:
        bool (num_images,), of tags (num_images, num_tags).
    """
    if task.kind == "number":
        return np.ones(len(targets), np.bool_)
    if task.kind == "multi":
        return np.stack([_learnt((column > 0).astype(np.int64), folds) for column in targets.T], 1)
    return _learnt(targets, folds)


def _learnt(labels: Array, folds: Array) -> Array:
    size = int(labels.max(initial=0)) + 1
    own = folds * size + labels
    return np.asarray(np.bincount(labels, minlength=size)[labels] > np.bincount(own)[own])


def labels_in_doubt(task: Task, targets: Array, probs: Probs, is_learnt: Array | None = None) -> Doubts:
    """Find the labels that out-of-fold predictions speak against.

    Args:
        task: kind and classes.
        targets: of the images, as `Task.encode` gives them.
        probs: of the same images, by models that have not seen them.
        is_learnt: of the same images, as `learnt` gives it; by default all are.
    """
    if task.kind == "number":
        return _numbers(targets[:, 0], probs.array[:, 0])
    is_learnt = np.ones(targets.shape, np.bool_) if is_learnt is None else is_learnt
    if task.kind == "multi":
        return _tags(targets > 0, probs, is_learnt)
    return _classes(targets, probs, is_learnt)


def _classes(targets: Array, probs: Probs, is_learnt: Array) -> Doubts:
    images = np.flatnonzero(is_learnt)
    targets, probs = targets[images], probs[images]
    rows, num_classes = np.arange(len(targets)), probs.num_outputs
    own = probs.at(targets).astype(np.float64)
    counts = np.bincount(targets, minlength=num_classes)
    # A class without images has no threshold that a probability could reach.
    thresholds = np.where(counts, np.bincount(targets, own, num_classes) / np.maximum(counts, 1), np.inf)
    best = probs.best(min(_MOST_CLASSES, num_classes))
    values = probs.at(best).astype(np.float64)
    counted = values >= thresholds[best]
    # The likeliest of those for which it counts, as they are in order.
    counts_for = np.where(counted.any(1), best[rows, counted.argmax(1)], -1)
    counted = counts_for >= 0
    num_counted = np.bincount(targets[counted], minlength=num_classes)
    others = np.bincount(targets[counted & (counts_for != targets)], minlength=num_classes)
    right, most = num_counted - others, _most_of_another(targets[counted], counts_for[counted], num_classes)
    is_known = (num_counted > 0) & (most - right <= _ERRORS * np.sqrt(most + right))
    is_known &= _agree(targets, best[:, 0], num_classes)
    number = (counts * others / np.maximum(num_counted, 1))[is_known].sum()
    judged = np.flatnonzero(is_known[targets])
    found = judged[np.argsort(own[judged], kind="stable")[: round(float(number))]]
    found = found[best[found, 0] != targets[found]]
    return _ranked(images[found], targets[found], best[found, 0], own[found], len(judged))


def _most_of_another(labels: Array, counts_for: Array, num_classes: int) -> Array:
    """How many images of each class count for the other class that most do: int64 (num_classes,)."""
    wrong = labels != counts_for
    cells, sizes = np.unique(labels[wrong] * num_classes + counts_for[wrong], return_counts=True)
    most = np.zeros(num_classes, np.int64)
    np.maximum.at(most, cells // num_classes, sizes)
    return most


def _agree(labels: Array, said: Array, num_classes: int) -> bool:
    """Whether labels and the likeliest classes agree more than by chance, by Cohen's kappa; without scikit-learn's
    matrix of all classes.
    """
    shares = [np.bincount(classes, minlength=num_classes) / max(len(labels), 1) for classes in (labels, said)]
    by_chance = float(shares[0] @ shares[1])
    return bool(np.mean(labels == said) - by_chance > _MODERATE * (1 - by_chance)) if len(labels) else False


def _tags(targets: Array, probs: Probs, is_learnt: Array) -> Doubts:
    """Each tag by itself: it is there, or it is not."""
    parts: list[tuple[Array, Array, Array]] = []
    num_judged = 0
    for tag, said in enumerate(probs.by_class()):
        label = targets[:, tag].astype(np.int64)
        if label.min() == label.max():
            continue
        both = Probs.dense(np.stack([1 - said.astype(np.float64), said.astype(np.float64)], axis=1))
        found = _classes(label, both, is_learnt[:, tag])
        num_judged += found.num_judged
        parts.append((found.image, np.full(len(found), tag), found.said))
    if not parts:
        return _none(num_judged)
    image, tags, said = (np.concatenate(column) for column in zip(*parts, strict=True))
    return _ranked(image, tags, tags, said, num_judged)


def _numbers(targets: Array, predicted: Array) -> Doubts:
    residual = targets.astype(np.float64) - predicted
    away = np.abs(residual - np.median(residual))
    spread = np.median(away)
    of_constant = np.median(np.abs(targets - np.median(targets)))
    if not 0 < spread < (1 - _MODERATE) * of_constant:
        return _none(0)
    scores = 0.6745 * away / spread
    found = np.flatnonzero(scores > _FAR)
    no_class = np.full(len(found), -1)
    return _ranked(found, no_class, no_class, -scores[found], len(targets))


def _none(num_judged: int) -> Doubts:
    none = np.zeros(0, np.int64)
    return Doubts(none, none, none, np.zeros(0), num_judged)


def _ranked(image: Array, label: Array, likelier: Array, said: Array, num_judged: int) -> Doubts:
    order = np.lexsort((label, image, said))
    return Doubts(image[order], label[order], likelier[order], said[order], num_judged)
