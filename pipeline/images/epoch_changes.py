"""What happens to the training images of each epoch: the user's pipeline, augmentation, mixing, and when these stop."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.config import AugmentConfig
from pipeline.images.albumentations_file import AlbumentationsFile
from pipeline.images.augment import Augment
from pipeline.images.batches import Changes
from pipeline.images.mix import mix

Array = np.ndarray[Any, Any]


def smallest_size(size: int, cfg: AugmentConfig) -> int:
    """Height and width of the smallest images of a training whose images end at `size`, in pixels."""
    return round(size * cfg.first_size) if cfg.full_size_from else size


class EpochChanges:
    """The changes that `[augment]` asks for.

    Args:
        cfg: the settings.
        size: height and width that the network sees in the end, in pixels.
        num_epochs: of the whole training.
        seed: of the augmentation; with an image's key and the epoch it decides all that is drawn for the image.
        mix_seed: of the partners in mixup and cutmix, drawn by batch.
        keys: int64 (num_images,), a hash of each image's id.
        num_classes: how many there are where targets are class numbers, which mixing turns into probabilities; else 0.
    """

    def __init__(
        self, cfg: AugmentConfig, size: int, num_epochs: int, seed: int, mix_seed: int, keys: Tensor, num_classes: int
    ) -> None:
        self.strong = cfg
        self.full_size = size
        self.num_epochs = num_epochs
        self.seed = seed
        # The last epochs, by `strong_until`.
        self.gentle = cfg.model_copy(update={"policy": "none", "erasing": 0.0, "mixup": 0.0, "cutmix": 0.0})
        self.own = AlbumentationsFile(Path(cfg.albumentations), seed) if cfg.albumentations else None
        self.mix_seed = mix_seed
        self.keys = keys
        self.num_classes = num_classes

    def size(self, epoch: int) -> int:
        """Height and width that the network sees in an epoch, in pixels."""
        growing = self.strong.full_size_from * self.num_epochs
        part = min(1.0, epoch / growing) if growing else 1.0
        return round(self.full_size * (self.strong.first_size + (1 - self.strong.first_size) * part))

    def of(self, epoch: int) -> Changes:
        """The changes of one epoch; None where there is nothing to do."""
        cfg = self.strong if epoch < self.strong.strong_until * self.num_epochs else self.gentle
        augment, own = Augment(cfg, self.size(epoch), self.seed), self.own

        def each(pixels: Array, numbers: Array) -> Array:
            assert own is not None
            return own(pixels, self._keys(numbers).numpy(), epoch)

        def change(pixels: Tensor, numbers: Array) -> Tensor:
            return augment(pixels, self._keys(numbers), epoch)

        def mixed(images: Tensor, targets: Tensor, numbers: Array, step: int) -> tuple[Tensor, Tensor]:
            soft = functional.one_hot(targets, self.num_classes).float() if self.num_classes else targets
            return mix(images, soft, self._keys(numbers), epoch, step, cfg, self.mix_seed)

        mixes = cfg.mixup > 0 or cfg.cutmix > 0
        return Changes(each if own else None, None if augment.is_idle else change, mixed if mixes else None)

    def _keys(self, numbers: Array) -> Tensor:
        return self.keys[torch.from_numpy(numbers)]
