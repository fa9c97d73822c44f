"""Mixing a batch with itself: mixup or cutmix.

Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization", section 2. Yun et al. 2019, "CutMix: Regularization
Strategy to Train Strong Classifiers with Localizable Features", section 3.1 and equation 2.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn import functional

from pipeline.config import AugmentConfig

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Mixture:
    """How the images of a batch are mixed.

    partners: int64 (batch,), for each image the place of its partner in the batch.
    weight: of each image, in [0, 1]; its partner has the rest. In cutmix the share of the area that it would keep if
        the rectangle were not clipped at the border.
    centre: of cutmix's rectangle, x and y in [0, 1]; None for mixup.
    num_classes: how many there are where targets are class indices; 0 where they are one-hot, tags or numbers.
    """

    partners: Array
    weight: float
    centre: tuple[float, float] | None
    num_classes: int = 0


def draw_mixture(keys: Array, epoch: int, step: int, cfg: AugmentConfig, seed: int, num_classes: int = 0) -> Mixture:
    """Draw how a batch is mixed: one weight, one rectangle and one permutation of partners, by (seed, epoch, step).

    The partners are permuted in the order of the keys, so the mixture of each image does not depend on the order of the
    batch. With both alphas above 0 each batch is given to one of the two, by equal chances.

    Args:
        keys: int64 (batch,), a hash of each image's id.
        epoch, step: of the training.
        cfg: mixup and cutmix, of which one is above 0 at least.
        seed: of the draws.
        num_classes: see `Mixture`.
    """
    generator = np.random.default_rng([seed, epoch, step])
    # All draws are made whatever is chosen, so that the setting of one does not change the other's.
    choice, x, y = generator.random(3)
    order = np.argsort(keys, kind="stable")
    partners = np.empty_like(order)
    partners[order] = order[generator.permutation(len(keys))]
    by_cutmix = cfg.cutmix > 0.0 and (cfg.mixup == 0.0 or choice < 0.5)
    alpha = cfg.cutmix if by_cutmix else cfg.mixup
    return Mixture(partners, float(generator.beta(alpha, alpha)), (x, y) if by_cutmix else None, num_classes)


def mix(images: Tensor, targets: Tensor, mixture: Mixture, own: slice, partners: Tensor) -> tuple[Tensor, Tensor]:
    """Mix images with their partners.

    In cutmix the targets' weight is the area that is really left after the rectangle is clipped at the border.

    Args:
        images: float (num_images, channel, height, width), normalised: the images and their partners.
        targets: of them: class indices (num_images,), or float (num_images, num_outputs).
        mixture: of the batch.
        own: which of them are to be mixed.
        partners: int64 (num_own,), which of them are their partners, on the images' device.

    Returns:
        New tensors of the images' dtype and strides, and float targets.
    """
    soft = functional.one_hot(targets, mixture.num_classes).float() if mixture.num_classes else targets
    weight, mine = mixture.weight, images[own]
    if mixture.centre is not None:
        height, width = images.shape[2:]
        x, y = mixture.centre
        top, bottom = _side(height, weight, y)
        left, right = _side(width, weight, x)
        mixed = mine.clone()
        mixed[:, :, top:bottom, left:right] = images[partners, :, top:bottom, left:right]
        weight = 1.0 - (bottom - top) * (right - left) / (height * width)
    else:
        mixed = mine * weight + images[partners] * (1.0 - weight)
    of_partners = soft[partners.to(soft.device)]
    return mixed, soft[own] * weight + of_partners * (1.0 - weight)


def _side(length: int, weight: float, centre: float) -> tuple[int, int]:
    """Give first and last plus one pixel of the rectangle along one side, clipped at the border."""
    cut, middle = int(length * (1.0 - weight) ** 0.5), int(centre * length)
    return max(middle - cut // 2, 0), min(middle - cut // 2 + cut, length)
