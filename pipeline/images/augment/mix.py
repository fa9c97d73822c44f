"""Mixing a batch with itself: mixup or cutmix.

Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization", section 2. Yun et al. 2019, "CutMix: Regularization
Strategy to Train Strong Classifiers with Localizable Features", section 3.1 and equation 2.
"""

import numpy as np
import torch
from torch import Tensor

from pipeline.config import AugmentConfig


def mix(
    images: Tensor, targets: Tensor, keys: Tensor, epoch: int, step: int, cfg: AugmentConfig, seed: int
) -> tuple[Tensor, Tensor]:
    """Mix every sample with a partner of the same batch; with both alphas 0 the input is returned untouched.

    One weight, one rectangle and one permutation of partners per batch, drawn from a generator seeded by (seed, epoch,
    step). The partners are permuted in the order of the keys, so the mixture of each image does not depend on the order
    of the batch. With both alphas above 0 each batch is given to one of the two, by equal chances. In cutmix the
    targets' weight is the area that is really left after the rectangle is clipped at the border.

    Shapes: images float (batch, channel, height, width), normalised; targets float (batch, num_outputs), one-hot, tags
    or numbers; keys int64 (batch,) on the CPU. Returns new tensors of the same shapes, dtypes and strides.
    """
    if cfg.mixup == 0.0 and cfg.cutmix == 0.0:
        return images, targets
    generator = np.random.default_rng([seed, epoch, step])
    # All draws are made whatever is chosen, so that the setting of one does not change the other's.
    choice, x, y = generator.random(3)
    order = torch.argsort(keys, stable=True)
    partners = torch.empty_like(order)
    partners[order] = order[torch.from_numpy(generator.permutation(len(keys)))]
    by_cutmix = cfg.cutmix > 0.0 and (cfg.mixup == 0.0 or choice < 0.5)
    alpha = cfg.cutmix if by_cutmix else cfg.mixup
    weight = float(generator.beta(alpha, alpha))

    partners = partners.to(images.device, non_blocking=images.is_cuda)
    if by_cutmix:
        height, width = images.shape[2:]
        top, bottom = _side(height, weight, y)
        left, right = _side(width, weight, x)
        mixed = images.clone()
        mixed[:, :, top:bottom, left:right] = images[partners, :, top:bottom, left:right]
        weight = 1.0 - (bottom - top) * (right - left) / (height * width)
    else:
        mixed = images * weight + images[partners] * (1.0 - weight)
    targets_partners = targets[partners.to(targets.device)]
    return mixed, targets * weight + targets_partners * (1.0 - weight)


def _side(length: int, weight: float, centre: float) -> tuple[int, int]:
    """Give first and last plus one pixel of the rectangle along one side, clipped at the border."""
    cut, middle = int(length * (1.0 - weight) ** 0.5), int(centre * length)
    return max(middle - cut // 2, 0), min(middle - cut // 2 + cut, length)
