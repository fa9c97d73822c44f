"""What happens to the training images of each epoch: the user's pipeline, augmentation, mixing, and when these stop."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.config import AugmentConfig
from pipeline.images.augment.albumentations_file import AlbumentationsFile
from pipeline.images.augment.augment import Augment
from pipeline.images.augment.mix import Mixture, draw_mixture
from pipeline.images.batches import Changes

Array = np.ndarray[Any, Any]


def epoch_sizes(cfg: AugmentConfig, size: int, num_epochs: int) -> list[int]:
    """Compute height and width of the training images in each epoch, in pixels, as `first_size` asks for them.

    Args:
        cfg: first_size, full_size_from.
        size: that the network sees in the end.
        num_epochs: of the whole training.
    """
    growing = cfg.full_size_from * num_epochs
    fractions = [min(1.0, epoch / growing) if growing else 1.0 for epoch in range(num_epochs)]
    return [round(size * (cfg.first_size + (1 - cfg.first_size) * fraction)) for fraction in fractions]


class EpochChanges:
    """The changes that `[augment]` asks for.

    Args:
        cfg: the settings.
        sizes: height and width that the network sees in each epoch of the whole training, in pixels.
        seed: of the augmentation; with an image's key and the epoch it decides all that is drawn for the image.
        mix_seed: of the partners in mixup and cutmix, drawn by batch.
        keys: int64 (num_images,), a hash of each image's id.
        num_classes: how many there are where targets are class indices, which mixing turns into probabilities; else 0.
    """

    def __init__(
        self, cfg: AugmentConfig, sizes: Sequence[int], seed: int, mix_seed: int, keys: Tensor, num_classes: int
    ) -> None:
        self.strong = cfg
        self.sizes = sizes
        self.seed = seed
        # The last epochs, by `strong_until`.
        self.gentle = cfg.model_copy(update={"policy": "none", "erasing": 0.0, "mixup": 0.0, "cutmix": 0.0})
        self.user_pipeline = AlbumentationsFile(Path(cfg.albumentations), seed) if cfg.albumentations else None
        self.mix_seed = mix_seed
        self.keys = keys
        self.num_classes = num_classes

    def of(self, epoch: int) -> Changes:
        """Give the changes of one epoch; None where there is nothing to do."""
        cfg = self.strong if epoch < self.strong.strong_until * len(self.sizes) else self.gentle
        augment, user_pipeline = Augment(cfg, self.sizes[epoch], self.seed), self.user_pipeline

        def per_image(pixels: Array, indices: Array) -> Array:
            assert user_pipeline is not None
            return user_pipeline(pixels, self._keys(indices).numpy(), epoch)

        def augmented(pixels: Tensor, indices: Array) -> Tensor:
            return augment(pixels, self._keys(indices), epoch)

        def mixed(indices: Array, step: int) -> Mixture:
            return draw_mixture(self._keys(indices).numpy(), epoch, step, cfg, self.mix_seed, self.num_classes)

        mixes = cfg.mixup > 0 or cfg.cutmix > 0
        return Changes(
            per_image=per_image if user_pipeline else None,
            augment=None if augment.is_idle else augmented,
            mix=mixed if mixes else None,
        )

    def _keys(self, indices: Array) -> Tensor:
        return self.keys[torch.from_numpy(indices)]
