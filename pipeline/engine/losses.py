"""Losses: (logits, targets) -> one float32 loss per image."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.config import ConfigError, TrainConfig

Loss = Callable[[Tensor, Tensor], Tensor]

# Which losses make sense for which kind of label; the first is that of `auto`.
LOSSES_OF_KIND = {
    "single": ("cross_entropy", "nll", "mse", "focal"),
    "ordinal": ("cross_entropy", "nll", "mse", "focal"),
    "multi": ("bce", "focal"),
    "number": ("mse", "huber"),
}
# The smallest base of a power in the focal loss: 0 ** (gamma - 1) in its gradient is infinite for gamma < 1.
_TINY = 1e-12
# The most that a weighted image of a tag counts for, and 1 / the least: without it a single image of 100,000, maybe
# wrongly labelled, would outweigh whole batches. Tags of 1 to 99 % of the images are balanced exactly.
_MOST = 100.0


def make_loss(cfg: TrainConfig, kind: str, class_weights: Tensor | None) -> Loss:
    """The loss that the settings name for a kind of label.

    Class weights multiply each image's loss by the weight of its class, and each term of soft targets by the weight of
    its own. Nothing is divided by the weights' sum: those of `class_weights` sum to the number of images that they were
    counted on, so the mean over these equals torch's weighted mean. Weights of tags multiply the loss of the images
    that have the tag alone (`pos_weight` of torch's BCEWithLogitsLoss).

    Args:
        cfg: loss, label smoothing, focal gamma.
        kind: single, ordinal, multi or number.
        class_weights: float32 (num_outputs,) on the device of the logits; None for equal weights.

    Returns:
        A function of logits (batch, num_outputs), of any float dtype, and targets; it gives float32 (batch,). The
        targets of `single` and `ordinal` are int64 (batch,) class numbers or soft float (batch, num_outputs); of
        `multi` float (batch, num_outputs) in [0, 1]; of `number` float (batch, 1), standardised.

    Raises:
        ConfigError: the loss, the label smoothing or the class weights make no sense for this kind.
    """
    allowed = LOSSES_OF_KIND[kind]
    name = allowed[0] if cfg.loss == "auto" else cfg.loss
    if name not in allowed:
        raise ConfigError(
            f"'train.loss' must be one of auto, {', '.join(allowed)} for labels of kind {kind}. Got {name!r}"
        )
    if cfg.label_smoothing and name not in ("cross_entropy", "bce"):
        raise ConfigError(
            f"'train.label_smoothing' works with cross_entropy and bce and must be 0 with loss {name}. "
            f"Got {cfg.label_smoothing}"
        )
    if kind == "number":
        if class_weights is not None or cfg.class_weights != "none":
            raise ConfigError("'train.class_weights' must be \"none\" where numbers are predicted. Got 'balanced'")
        return _huber if name == "huber" else _squared_error
    if name == "cross_entropy":
        return partial(_cross_entropy, weights=class_weights, smoothing=cfg.label_smoothing)
    if name == "nll":
        return partial(_nll, weights=class_weights)
    if name == "mse":
        return partial(_brier, weights=class_weights)
    if name == "bce":
        return partial(_bce, weights=class_weights, smoothing=cfg.label_smoothing)
    focal = _focal_tags if kind == "multi" else _focal
    return partial(focal, weights=class_weights, gamma=cfg.focal_gamma)


def class_weights(targets: Tensor, num_classes: int) -> Tensor:
    """Weights that make every class count alike, and every tag's presence as much as its absence.

    Classes: n / (k * count), as scikit-learn's "balanced"; k counts the classes that occur, the others get 0. Their sum
    over the images is n. Tags: the images without it / those with it, from 1/100 to 100; 1 for a tag of all images or
    none, where there is nothing to balance.

    Args:
        targets: int64 (num_images,) class numbers, or float (num_images, num_classes) tags.
        num_classes: length of the result.

    Returns:
        float32 (num_classes,) on the device of the targets.
    """
    counted = targets.cpu()  # in float64, which Apple's GPU does not have
    if counted.is_floating_point():
        having = counted.sum(0, dtype=torch.float64)
        lacking = len(counted) - having
        weights = torch.where((having > 0) & (lacking > 0), lacking / having, 1.0).clamp(1 / _MOST, _MOST)
    else:
        counts = torch.bincount(counted, minlength=num_classes)
        occurs = counts > 0
        weights = torch.where(occurs, len(counted) / (occurs.sum() * counts.double()), 0.0)
    return weights.float().to(targets.device)


def _cross_entropy(logits: Tensor, targets: Tensor, *, weights: Tensor | None, smoothing: float) -> Tensor:
    targets = targets.float() if targets.is_floating_point() else targets
    return functional.cross_entropy(logits.float(), targets, weights, reduction="none", label_smoothing=smoothing)


def _nll(logits: Tensor, targets: Tensor, *, weights: Tensor | None) -> Tensor:
    """Negative log likelihood; log-softmax leaves the outputs of a network that ends in one as they are."""
    log_probs = logits.float().log_softmax(1)
    if not targets.is_floating_point():
        return functional.nll_loss(log_probs, targets, weights, reduction="none")
    return -(_weighted(targets, weights) * log_probs).sum(1)


def _brier(logits: Tensor, targets: Tensor, *, weights: Tensor | None) -> Tensor:
    """Squared error of the probabilities, mean over classes (Brier 1950, page 1, over the number of classes)."""
    soft = _soft(logits, targets)
    errors = (logits.float().softmax(1) - soft).square().mean(1)
    return errors if weights is None else errors * (soft * weights).sum(1)


def _bce(logits: Tensor, targets: Tensor, *, weights: Tensor | None, smoothing: float) -> Tensor:
    """Binary cross entropy, mean over tags; smoothing moves the targets towards 0.5.

    A mixed image counts as its part that has the tag, weighted, and its part that has not. Each part is smoothed by
    itself: were the smoothed target weighted, an image without the tag would be taught that it has it, once the weight
    is larger than (2 - smoothing) / smoothing.
    """
    targets, counts = targets.float(), None
    if weights is not None:
        counts = targets * weights + (1 - targets)
        targets = targets * weights / counts
    targets = targets * (1 - smoothing) + 0.5 * smoothing
    return functional.binary_cross_entropy_with_logits(logits.float(), targets, counts, reduction="none").mean(1)


def _focal(logits: Tensor, targets: Tensor, *, weights: Tensor | None, gamma: float) -> Tensor:
    """Focal loss with softmax (Lin et al. 2017, equation 4)."""
    log_probs = logits.float().log_softmax(1)
    focus = (-log_probs.expm1()).clamp_min(_TINY).pow(gamma)
    return -(_weighted(_soft(logits, targets), weights) * focus * log_probs).sum(1)


def _focal_tags(logits: Tensor, targets: Tensor, *, weights: Tensor | None, gamma: float) -> Tensor:
    """Focal loss with a sigmoid per tag, mean over tags (Lin et al. 2017, equation 4)."""
    logits, targets = logits.float(), targets.float()
    entropy = functional.binary_cross_entropy_with_logits(logits, targets, pos_weight=weights, reduction="none")
    probs = logits.sigmoid()
    wrong = probs * (1 - targets) + (1 - probs) * targets
    return (entropy * wrong.clamp_min(_TINY).pow(gamma)).mean(1)


def _squared_error(logits: Tensor, targets: Tensor) -> Tensor:
    return (logits.float() - targets.float()).square().mean(1)


def _huber(logits: Tensor, targets: Tensor) -> Tensor:
    """Squared near the target, linear from one standard deviation on (Huber 1964, page 75)."""
    return functional.huber_loss(logits.float(), targets.float(), reduction="none").mean(1)


def _soft(logits: Tensor, targets: Tensor) -> Tensor:
    """Class numbers as one-hot float32 (batch, num_outputs); soft targets as they are."""
    if targets.is_floating_point():
        return targets.float()
    return functional.one_hot(targets, logits.shape[1]).float()


def _weighted(targets: Tensor, weights: Tensor | None) -> Tensor:
    return targets.float() if weights is None else targets.float() * weights
