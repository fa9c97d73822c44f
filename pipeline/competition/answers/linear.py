"""Linear classifiers of features: fitted from the most regularised on, to be chosen from by images not fitted on.

Of one class of many, of grades and of tags, logistic regression; where that would take too long, linear discriminant
analysis, whose cost does not depend on the number of classes; of numbers, ridge regression.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from pipeline.competition.answers.probs import Probs
from pipeline.competition.answers.task import Task
from pipeline.cores import num_cores

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]

# Inverse strengths of the regularisation of features with mean 0 and mean square 1. By cross-validation 0.01 to 0.03 of
# them serve 960 photos of 17 classes and 224 of 5, 1 serves two images of each of 120 classes.
_INVERSE_STRENGTHS = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
# Of ridge regression, the strengths themselves.
_ALPHA = (1e5, 3e4, 1e4, 3e3, 1e3, 3e2, 1e2, 3e1)
# Of discriminant analysis: parts of the covariance that a multiple of the identity replaces, and factors of the logits,
# which are far too sure of themselves where features are many.
_SHRINKAGES = (0.5, 0.2, 0.05)
_FACTORS = (0.05, 0.1, 0.2, 0.4, 0.8)
# Images x features x classes up to which logistic regression takes less than a minute for each fold.
_LOGISTIC_LIMIT = 1e9
# Images x features that each is fitted on, at most: a gigabyte, for each core.
MOST_VALUES = 2.5e8
_BLOCK = 4096


@dataclass(frozen=True)
class Linear:
    """A linear layer: weight float32 (num_outputs, num_features), bias float32 (num_outputs,)."""

    weight: Floats
    bias: Floats

    def predict(self, features: Floats, task: Task, keep: int, true: Ints | None = None) -> Probs:
        """Predict probabilities, or numbers in the label's own unit.

        Args:
            features: (num_images, num_features).
            task: kind and classes.
            keep: of many classes, how many of each image are kept.
            true: class of each image, which is kept too where of many classes the likeliest alone are.
        """
        if not len(features):  # whose number nobody knows then
            features = np.zeros((0, self.weight.shape[1]), np.float32)
        blocks = []
        for start in range(0, max(1, len(features)), _BLOCK):
            rows = slice(start, start + _BLOCK)
            values = _activate(features[rows].astype(np.float32) @ self.weight.T + self.bias, task)
            if not task.is_many:
                blocks.append(Probs.dense(values))
                continue
            classes = np.argpartition(-values, keep, axis=1)[:, :keep]
            if true is not None:
                classes = np.concatenate([classes, true[rows, None]], 1)
            blocks.append(Probs.top(np.take_along_axis(values, classes, 1), classes, task.num_outputs))
        return Probs.stack(blocks)


def _activate(logits: Floats, task: Task) -> Floats:
    """Logits -> probabilities, or numbers: float32, as networks' are."""
    if task.activation == "softmax":
        return np.asarray(special.softmax(logits, axis=1), np.float32)
    if task.activation == "sigmoid":
        return np.asarray(special.expit(logits), np.float32)
    return np.asarray(logits * task.std + task.mean, np.float32)


def fit_paths(
    features: Floats, targets: npt.NDArray[Any], task: Task, chosen: Sequence[Ints]
) -> list[Sequence[Linear]]:
    """Fit classifiers of some images each, of several strengths of regularisation, in the same order for all.

    Where the images are very many, every second or third is enough.

    Args:
        features: float (num_images, num_features).
        targets: of the images, as `Task.encode` gives them.
        task: kind and classes.
        chosen: indices of the images that each is fitted on.
    """
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    largest, num_features = max(map(len, chosen)), features.shape[1]
    is_logistic = largest * num_features * task.num_outputs <= _LOGISTIC_LIMIT
    most = MOST_VALUES / num_features
    if task.kind == "multi":  # a regression for each tag, for which there is no quicker way
        most = min(most, _LOGISTIC_LIMIT / num_features / task.num_outputs)
    step = math.ceil(largest / most)

    def fit(indices: Ints) -> Sequence[Linear]:
        some = indices[::step]
        return _fit_path(features[some].astype(np.float32), targets[some], task, is_logistic=is_logistic)

    # With several threads scikit-learn's and numpy's wait for each other at each of hundreds of short steps: eight
    # times as slow on two cores (960 images, 17 classes).
    with threadpool_limits(1), warnings.catch_warnings(), ThreadPoolExecutor(num_cores(), "fit") as pool:
        warnings.simplefilter("ignore", ConvergenceWarning)  # the least regularised need not converge
        return list(pool.map(fit, chosen))


def _fit_path(features: Floats, targets: npt.NDArray[Any], task: Task, *, is_logistic: bool) -> Sequence[Linear]:
    """Fit the classifiers of some images: features float32 (num_images, num_features), which are changed in place."""
    centre = features.mean(0, dtype=np.float64).astype(np.float32)
    features -= centre
    scale = float(np.linalg.norm(features) / math.sqrt(features.size)) or 1.0
    features /= scale
    if task.kind == "number":
        path: Sequence[Linear] = _ridge(features, (targets[:, 0] - task.mean) / task.std)
    elif task.kind == "multi":
        path = _tags(features, targets)
    elif is_logistic:
        path = _logistic(features, targets, task.num_outputs)
    else:
        path = Discriminants(features, targets, task.num_outputs)
    return _OfUnscaled(path, centre, scale)


@dataclass(frozen=True)
class _OfUnscaled(Sequence[Linear]):
    """A path fitted on (features - centre) / scale, for the features themselves."""

    path: Sequence[Linear]
    centre: Floats
    scale: float

    def __len__(self) -> int:
        return len(self.path)

    def __getitem__(self, index: Any) -> Any:
        fitted = self.path[index]
        weight = (fitted.weight / self.scale).astype(np.float32)
        return Linear(weight, (fitted.bias - weight @ self.centre).astype(np.float32))


def _logistic(features: Floats, targets: Ints, num_classes: int) -> list[Linear]:
    """Multinomial logistic regression. A class without an image is as likely as one image of all would make it."""
    from sklearn.linear_model import LogisticRegression

    present = np.unique(targets)
    num_images, num_features = features.shape
    rare = -float(np.log(num_images + num_classes))
    if len(present) == 1:
        bias = np.full(num_classes, rare, np.float32)
        bias[present] = 0
        return [Linear(np.zeros((num_classes, num_features), np.float32), bias)] * len(_INVERSE_STRENGTHS)
    turned, back = _turned(features)
    model, path = LogisticRegression(warm_start=True, tol=1e-3, max_iter=200), []
    for strength in _INVERSE_STRENGTHS:
        model.set_params(C=strength).fit(turned, targets)
        coefficients, intercepts = model.coef_, model.intercept_
        if len(present) == 2:  # of the second class against the first
            coefficients = np.concatenate([-coefficients, coefficients]) / 2
            intercepts = np.concatenate([-intercepts, intercepts]) / 2
        weight = np.zeros((num_classes, num_features), np.float32)
        weight[present] = back(coefficients)
        usual = special.logsumexp(turned @ coefficients.T + intercepts, axis=1).mean()
        bias = np.full(num_classes, usual + rare, np.float32)
        bias[present] = intercepts
        path.append(Linear(weight, bias))
    return path


def _tags(features: Floats, targets: Floats) -> list[Linear]:
    """A logistic regression for each tag; one that all images have, or none, keeps its share, smoothed."""
    from sklearn.linear_model import LogisticRegression

    num_images, num_features = features.shape
    num_tags = targets.shape[1]
    weights = np.zeros((len(_INVERSE_STRENGTHS), num_tags, num_features), np.float32)
    biases = np.zeros((len(_INVERSE_STRENGTHS), num_tags), np.float32)
    turned, back = _turned(features)
    for tag in range(num_tags):
        has = targets[:, tag] > 0
        if has.all() or not has.any():
            biases[:, tag] = special.logit((has.sum() + 0.5) / (num_images + 1))
            continue
        model = LogisticRegression(warm_start=True, tol=1e-3, max_iter=200)
        for place, strength in enumerate(_INVERSE_STRENGTHS):
            model.set_params(C=strength).fit(turned, has)
            weights[place, tag] = back(model.coef_)[0]
            biases[place, tag] = model.intercept_[0]
    return [Linear(*layer) for layer in zip(weights, biases, strict=True)]


def _ridge(features: Floats, targets: Floats) -> list[Linear]:
    """Ridge regression of standardised numbers."""
    from sklearn.linear_model import Ridge

    fitted = [Ridge(alpha).fit(features, targets) for alpha in _ALPHA]
    return [Linear(ridge.coef_[None].astype(np.float32), np.array([ridge.intercept_], np.float32)) for ridge in fitted]


class Discriminants(Sequence[Linear]):
    """Linear discriminant analysis (Hastie et al. 2009, section 4.3) with a shrunk covariance and milder logits.

    scikit-learn's goes through the classes one by one, of which there may be tens of thousands. Each classifier is made
    when it is asked for.

    Args:
        features: float32 (num_images, num_features), with mean 0.
        targets: int64 (num_images,).
        num_classes: a class without an image has its mean in the middle.
    """

    def __init__(self, features: Floats, targets: Ints, num_classes: int) -> None:
        from scipy import sparse

        num_images = len(targets)
        member = sparse.csr_array(
            (np.ones(num_images, np.float32), targets, np.arange(num_images + 1)), shape=(num_images, num_classes)
        )
        counts = np.bincount(targets, minlength=num_classes)
        self.means = np.asarray(member.T @ features) / np.maximum(counts, 1).astype(np.float32)[:, None]
        self.log_shares = np.log((counts + 1 / num_classes) / (num_images + 1))
        between = (self.means * counts[:, None]).T @ self.means
        within = (features.T @ features - between).astype(np.float64) / num_images
        self.variances, self.axes = np.linalg.eigh(within)
        self.variances = np.maximum(self.variances, 0)

    def __len__(self) -> int:
        return len(_SHRINKAGES) * len(_FACTORS)

    def __getitem__(self, index: Any) -> Any:
        shrinkage, factor = _SHRINKAGES[index // len(_FACTORS)], _FACTORS[index % len(_FACTORS)]
        variances = (1 - shrinkage) * self.variances + shrinkage * max(self.variances.mean(), 1e-12)
        weight = (self.means @ self.axes / variances) @ self.axes.T
        bias = self.log_shares - factor * (weight * self.means).sum(1) / 2
        return Linear((factor * weight).astype(np.float32), bias.astype(np.float32))


def _turned(features: Floats) -> tuple[Floats, Callable[[Floats], Floats]]:
    """Turn features onto a basis of what they span, where they are more than the images.

    Regularised solutions lie in it, so that fitting there gives the same at less cost.

    Returns:
        The features, float (num_images, rank), and what brings weights (num_outputs, rank) back to all features.
    """
    num_images, num_features = features.shape
    if num_images >= num_features:
        return features, lambda weights: weights
    basis = np.linalg.svd(features, full_matrices=False)[2]
    return features @ basis.T, lambda weights: weights @ basis
