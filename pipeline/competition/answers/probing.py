"""A linear classifier for each fold, of features of the images that it may be fitted on; what it says of the others.

How strongly each is regularised is chosen by the loss on the other folds' images, each by its own fold's classifier.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.competition.answers.blending import image_losses
from pipeline.competition.answers.linear import Linear, fit_paths
from pipeline.competition.answers.probs import Probs
from pipeline.competition.answers.task import Task
from pipeline.competition.folds.fold_table import Labelled
from pipeline.files import InputError

Array = np.ndarray[Any, Any]

# Images x classes of a fold by which classifiers are chosen, at most.
_MOST = 20_000_000


@dataclass(frozen=True)
class Fitted:
    """A classifier, and the shares of the classes in its images: what is said of an image that cannot be read."""

    linear: Linear
    prior: Array

    def predict(self, features: Array, readable: Array, task: Task, keep: int, true: Array | None = None) -> Probs:
        """Predict images by their features, see `Linear.predict`; those that cannot be read get the prior."""
        known = None if true is None else true[readable]
        said = self.linear.predict(features[readable], task, keep, known)
        return said.filled(self.prior, readable, keep)


def fit_probe(
    labelled: Labelled, features: Array, readable: Array, folds: Sequence[int | str]
) -> dict[int | str, Fitted]:
    """Fit a classifier for each model of a run, on the images that it trains on.

    Args:
        labelled: the labelled images with their folds.
        features: float (num_images, num_features), in their order.
        readable: bool (num_images,), which images have features.
        folds: the models; `full` is that of all images.

    Returns:
        The classifier of each.

    Raises:
        InputError: a fold leaves no image.
    """
    chosen = [indices[readable[indices]] for indices in (labelled.split(fold)[0] for fold in folds)]
    for name, indices in zip(folds, chosen, strict=True):
        if not len(indices):
            raise InputError(f"fold {name} leaves no image to train on. Lower folds.num_folds")
    paths = dict(zip(folds, fit_paths(features, labelled.targets, labelled.task, chosen), strict=True))
    losses = {fold: _losses(labelled, features, readable, fold, paths[fold]) for fold in folds if fold != "full"}
    fitted: dict[int | str, Fitted] = {}
    for name, indices in zip(folds, chosen, strict=True):
        place = _choose(losses, name, len(paths[name]))
        fitted[name] = Fitted(paths[name][place], np.array(labelled.prior(indices), np.float32))
    return fitted


def out_of_fold(
    labelled: Labelled, features: Array, readable: Array, fitted: Mapping[int | str, Fitted], keep: int
) -> tuple[Array, Probs]:
    """Predict each fold's images by the classifier that has not seen them.

    Returns:
        Indices of the images, and what is said of them; there must be a fold.
    """
    true = labelled.targets if labelled.task.is_many else None
    parts = []
    for fold, one in fitted.items():
        if fold != "full":
            _, indices = labelled.split(fold)
            known = None if true is None else true[indices]
            said = one.predict(features[indices], readable[indices], labelled.task, keep, known)
            parts.append((indices, said))
    return np.concatenate([indices for indices, _ in parts]), Probs.stack([said for _, said in parts])


def _losses(labelled: Labelled, features: Array, readable: Array, fold: int | str, path: Sequence[Linear]) -> Array:
    """Sum the loss on a fold's images, or some of many, by each classifier: float64 (len(path),)."""
    task, (_, indices) = labelled.task, labelled.split(fold)
    indices = indices[readable[indices]]
    step = max(1, len(indices) * task.num_outputs // _MOST)
    indices, targets = indices[::step], labelled.targets[indices[::step]]
    if not len(indices):
        return np.zeros(len(path))
    true = targets if task.is_many else None
    said = (linear.predict(features[indices], task, 1, true) for linear in path)
    return np.array([image_losses(task, targets, probs).sum() for probs in said])


def _choose(losses: Mapping[int | str, Array], name: int | str, num: int) -> int:
    """Choose a classifier by the folds but its own; the one in the middle where there are none."""
    others = [lost for fold, lost in losses.items() if fold != name]
    return int(np.sum(others, axis=0).argmin()) if others else num // 2
