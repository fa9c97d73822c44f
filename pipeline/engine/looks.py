"""Where a trained network looks, and what its first layer answers to."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.config import Config
from pipeline.engine.predictor import Predictor
from pipeline.images.augment.epoch_changes import EpochChanges
from pipeline.images.batches import Batches, Changes, Statistics
from pipeline.images.cache import Images
from pipeline.randomness import id_keys

Array = np.ndarray[Any, Any]

# A layer whose map is smaller says nothing of where.
_LEAST = 2


def where_it_looks(predictor: Predictor, images: Images, indices: Array, classes: Array) -> Array | None:
    """What speaks for a class in each image: Grad-CAM of the last convolution (Selvaraju et al. 2017, "Grad-CAM:
    Visual Explanations from Deep Networks via Gradient-based Localization").

    Args:
        predictor: the network, as it predicts.
        images: the mapped images.
        indices: int64, a few of them.
        classes: int64, the output that is explained, of each.

    Returns:
        float32 (len(indices), rows, columns) in [0, 1]; None where no convolution has a map.
    """
    # On the CPU, in float32: it is of a few images, and there is no gradient to scale.
    network = predictor.model.to("cpu").float().eval()
    seen = _batch(images, indices, predictor.size, predictor.normalisation)
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    # Of one alone, it is that which cuts the image into patches.
    if len(convolutions) < _LEAST:
        return None
    maps: list[Tensor] = []
    watch = convolutions[-1].register_forward_hook(lambda layer, given, answer: maps.append(answer))
    try:
        logits = network(seen)
    finally:
        watch.remove()
    if not maps or min(maps[-1].shape[2:]) < _LEAST:
        return None
    chosen = logits.gather(1, torch.from_numpy(classes)[:, None]).sum()
    (gradient,) = torch.autograd.grad(chosen, maps[-1])
    heat = (gradient.mean((2, 3), keepdim=True) * maps[-1]).sum(1).relu()
    heat = heat / heat.amax((1, 2), keepdim=True).clamp_min(1e-12)
    return np.asarray(heat.detach().numpy())


def first_filters(predictor: Predictor, most: int = 32) -> Array | None:
    """The filters of the first convolution that sees the image: uint8 (num_filters, height, width, channels), each
    stretched to all values; None where they are too small to be looked at, or there is none.
    """
    first = next((module for module in predictor.model.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None or min(first.kernel_size) < 3 or first.in_channels not in (1, 3):
        return None
    weights = first.weight.detach().cpu().float()[:most]
    low, high = (getattr(weights, name)((1, 2, 3), keepdim=True) for name in ("amin", "amax"))
    stretched = 255 * (weights - low) / (high - low).clamp_min(1e-12)
    return np.asarray(stretched.permute(0, 2, 3, 1).to(torch.uint8).numpy())


def augmented(cfg: Config, images: Images, indices: Array, ids: Sequence[str], num_epochs: int) -> Array:
    """What training sees of some images in its first epochs, but for mixing: uint8 (num_epochs, len(indices), height,
    width, channels).

    Args:
        cfg: the settings.
        images: the mapped images.
        indices: int64, a few of them.
        ids: of all images.
        num_epochs: how often each is shown.
    """
    alone = cfg.augment.model_copy(update={"mixup": 0.0, "cutmix": 0.0, "first_size": 1.0, "strong_until": 1.0})
    size, channels = cfg.image.size, cfg.image.channels
    changes = EpochChanges(alone, [size] * num_epochs, cfg.train.seed, 0, id_keys(ids), 0)
    plain = ((0.0,) * channels, (1.0,) * channels)
    shown = [_batch(images, indices, size, plain, changes.of(epoch)) for epoch in range(num_epochs)]
    return np.asarray((255 * torch.stack(shown)).round().clamp(0, 255).to(torch.uint8).permute(0, 1, 3, 4, 2).numpy())


def _batch(images: Images, indices: Array, size: int, known: Statistics, changes: Changes | None = None) -> Tensor:
    """Some images as one batch on the CPU: float32 (len(indices), channels, size, size)."""
    batches = Batches(
        images, indices, len(indices), size, known, torch.device("cpu"), torch.float32, changes=changes or Changes()
    )
    return next(iter(batches)).images
