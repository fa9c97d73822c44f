"""The images of a fold -> batches: one gather each from the mapped array, prefetched, no per-image Python."""

import contextlib
import math
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from pipeline.images.augment.augment import resize_to
from pipeline.images.cache import Images
from pipeline.stopwatch import Stopwatch

Array = np.ndarray[Any, Any]
Statistics = tuple[tuple[float, ...], tuple[float, ...]]
# Step, start and stop of each of some batches.
Group = list[tuple[int, int, int]]
T = TypeVar("T")

# Of batches that are augmented together, about: 512 images of 32 px, eight times as many on CUDA. There a batch of any
# size costs 8 ms, the time to start hundreds of kernels (32 px, AutoAugment; see the benchmarks' README).
PIXELS_AT_ONCE, PIXELS_AT_ONCE_ON_CUDA = 1 << 19, 1 << 22


@dataclass(frozen=True)
class Batch:
    """Images (batch, channel, height, width), channels_last, and targets, on the device; the images are float and
    normalised, or uint8 where the network normalises them.

    `position` is the place of the first image in the epoch's order.
    """

    images: Tensor
    targets: Tensor | None
    position: int

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Changes:
    """Changes to the images of a pass before the network sees them; None: nothing happens.

    per_image: first, to uint8 images (batch, cache side, cache side, channel) in memory, given their indices.
    augment: to uint8 images (batch, channel, cache side, cache side) on their device, given their indices; gives images
        of the network's size. None: they are resized where the cache is larger.
    mix: to normalised images and their targets, given the indices and the step.
    """

    per_image: Callable[[Array, Array], Array] | None = None
    augment: Callable[[Tensor, Array], Tensor] | None = None
    mix: Callable[[Tensor, Tensor, Array, int], tuple[Tensor, Tensor]] | None = None


@dataclass(frozen=True)
class Batches:
    """One pass over some images in a given order.

    images: the mapped images.
    indices: int64 (num_images,), which images, in order.
    size: height and width of a batch's images, in pixels.
    normalisation: mean and standard deviation per channel, in [0, 1]; None: images stay uint8.
    targets: of all images, by index, on the device or not.
    changes: what happens to the images.
    resident: the pixels of all images on the device, from `on_device`; None: they are gathered batch by batch.
    name: what a progress bar calls the pass.
    stopwatch: counts what the loop waits for: images to be gathered (`gather`), then changed and normalised
        (`augment`). On CUDA the latter belongs to the step: the device does it, and nobody waits for it.
    """

    images: Images
    indices: Array
    batch_size: int
    size: int
    normalisation: Statistics | None
    device: torch.device
    dtype: torch.dtype
    targets: Tensor | None = None
    changes: Changes = Changes()
    resident: Tensor | None = None
    name: str = ""
    stopwatch: Stopwatch = field(default_factory=Stopwatch)

    @property
    def num_images(self) -> int:
        """Images in the pass."""
        return len(self.indices)

    def bounds(self) -> list[tuple[int, int]]:
        """List first and last position of each batch. A last batch of one joins the one before, unless all are of one:
        batch norm needs two.
        """
        starts = list(range(0, self.num_images, self.batch_size))
        if self.batch_size > 1 and len(starts) > 1 and self.num_images - starts[-1] == 1:
            starts.pop()
        return list(zip(starts, [*starts[1:], self.num_images], strict=True))

    def __len__(self) -> int:
        return len(self.bounds())

    def __iter__(self) -> Iterator[Batch]:
        return self.starting_at(0)

    def starting_at(self, first_step: int) -> Iterator[Batch]:
        """Give the batches from a step on, the same as in a pass over all."""
        constants = scale_and_shift(self.normalisation, self.device) if self.normalisation else None
        if self.resident is not None and not self.changes.per_image:
            pieces: Iterator[tuple[Tensor, Group]] = (
                (self._resident(group), group) for group in self._groups(first_step)
            )
        else:
            # The thread gathers (and pins), the device augments: a thread for both is 10 % slower on two cores.
            pieces = self.stopwatch.waiting("gather", prefetch(self._gathered(first_step)))
        for pixels, group in pieces:
            with self._augmenting():
                images = self._prepared(pixels, group, constants)
            first = group[0][1]
            for step, start, stop in (item for item in group if item[0] >= first_step):
                with self._augmenting():
                    batch = self._batch(images[start - first : stop - first], step, start, stop)
                yield batch

    def _augmenting(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if self.device.type == "cuda" else self.stopwatch.of("augment")

    def _groups(self, first_step: int) -> Iterator[Group]:
        """Group batches that are gathered and augmented together, as small ones cost less so, from the group of a step
        on: step, start and stop of each.
        """
        steps = [(step, start, stop) for step, (start, stop) in enumerate(self.bounds())]
        together = self.num_together
        for first in range(first_step - first_step % together, len(steps), together):
            yield steps[first : first + together]

    @property
    def num_together(self) -> int:
        """Batches that are gathered and augmented together."""
        pixels = PIXELS_AT_ONCE_ON_CUDA if self.device.type == "cuda" else PIXELS_AT_ONCE
        return max(1, pixels // (self.batch_size * self.size**2))

    def _gathered(self, first_step: int) -> Iterator[tuple[Tensor, Group]]:
        for group in self._groups(first_step):
            indices = self.indices[group[0][1] : group[-1][2]]
            pixels = self.images.gather(indices)
            if self.changes.per_image:
                pixels = self.changes.per_image(pixels, indices)
            images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
            yield images.pin_memory() if self.device.type == "cuda" else images, group

    def _resident(self, group: Group) -> Tensor:
        assert self.resident is not None
        indices = torch.from_numpy(self.indices[group[0][1] : group[-1][2]])
        return self.resident.index_select(0, self._send(indices)).permute(0, 3, 1, 2)

    def _send(self, values: Tensor) -> Tensor:
        """Send values to the device; to CUDA without waiting for it."""
        if self.device.type != "cuda" or values.is_cuda:
            return values.to(self.device)
        return (values if values.is_pinned() else values.pin_memory()).to(self.device, non_blocking=True)

    def _prepared(self, pixels: Tensor, group: Group, constants: tuple[Tensor, Tensor] | None) -> Tensor:
        """Put images on the device, changed and normalised."""
        # Copies are asynchronous on CUDA alone: on Apple's GPU they may read memory that is already freed (PyTorch
        # issue 139550). There the CPU augments, for want of float64 on that GPU.
        if self.device.type != "mps":
            pixels = self._send(pixels)
        indices = self.indices[group[0][1] : group[-1][2]]
        pixels = self.changes.augment(pixels, indices) if self.changes.augment else resize_to(pixels, self.size)
        images = pixels.to(self.device)
        return normalise(images, *constants, self.dtype) if constants else images

    def _batch(self, images: Tensor, step: int, start: int, stop: int) -> Batch:
        if self.targets is None:
            return Batch(images, None, start)
        indices = self.indices[start:stop]
        chosen = torch.from_numpy(indices)
        if self.targets.device == self.device:
            targets = self.targets.index_select(0, self._send(chosen))
        else:
            targets = self._send(self.targets[chosen])
        if self.changes.mix:
            images, targets = self.changes.mix(images, targets, indices, step)
        return Batch(images, targets, start)


def on_device(images: Images, device: torch.device) -> Tensor | None:
    """Load the pixels of all images into a GPU's memory: uint8 (num_images, height, width, channel).

    None where they are not all kept, where they would take more than a third of what is free, and on other devices.
    """
    if device.type != "cuda" or images.num_stored < len(images):
        return None
    # What torch keeps of memory that is not in use, after the fold before, is free too.
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if 3 * len(images) * math.prod(images.shape) > torch.cuda.mem_get_info(device)[0] + kept:
        return None
    return load_pixels(images, device)


def load_pixels(images: Images, device: torch.device) -> Tensor:
    """Load the pixels of all images to a device, some at a time: uint8 (num_images, height, width, channel)."""
    pixels = torch.empty((len(images), *images.shape), dtype=torch.uint8, device=device)
    for start in range(0, len(images), 1024):
        indices = np.arange(start, min(start + 1024, len(images)))
        pixels[start : start + len(indices)].copy_(torch.from_numpy(images.gather(indices)))
    return pixels


def scale_and_shift(normalisation: Statistics, device: torch.device) -> tuple[Tensor, Tensor]:
    """Compute what `normalise` multiplies with and adds: float32 (channel, 1, 1) both."""
    mean, std = (torch.tensor(values, dtype=torch.float32) for values in normalisation)
    scale, shift = (values.view(-1, 1, 1).to(device) for values in (1.0 / (255.0 * std), -mean / std))
    return scale, shift


def normalise(pixels: Tensor, scale: Tensor, shift: Tensor, dtype: torch.dtype) -> Tensor:
    """Normalise uint8 (batch, channel, height, width) to pixels * scale + shift in `dtype`, channels_last.

    With scale 1 / (255 std) and shift -mean / std, float32 (channel, 1, 1), it is (pixels / 255 - mean) / std.
    """
    images = pixels.contiguous(memory_format=torch.channels_last).float()
    return torch.addcmul(shift, images, scale).to(dtype)


def statistics(images: Images, indices: Array, limit: int = 20_000) -> Statistics:
    """Compute mean and standard deviation of the pixels per channel, in [0, 1].

    Args:
        images: the mapped images.
        indices: int64, which of them.
        limit: above this many images, as many that are evenly spaced in `indices`.
    """
    if len(indices) > limit:
        indices = indices[np.linspace(0, len(indices) - 1, limit).astype(np.int64)]
    channels = images.shape[2]
    counts = np.zeros((channels, 256), np.int64)
    for start in range(0, len(indices), 256):
        pixels = images.gather(np.sort(indices[start : start + 256])).reshape(-1, channels)
        for channel in range(channels):
            counts[channel] += np.bincount(pixels[:, channel], minlength=256)
    levels = np.arange(256) / 255.0
    shares = counts / counts.sum(1, keepdims=True)
    mean = shares @ levels
    std = np.sqrt(np.maximum(shares @ levels**2 - mean**2, 0.0))
    # A channel that never varies is left as it is, not divided by nothing.
    std = np.where(std < 1e-4, 1.0, std)
    return tuple(mean.tolist()), tuple(std.tolist())


def prefetch(items: Iterator[T], depth: int = 2) -> Iterator[T]:
    """Run an iterator in a thread, at most `depth` items ahead; its exceptions are raised here."""
    with ThreadPoolExecutor(1, "prefetch") as pool:
        ahead = deque(pool.submit(next, items, None) for _ in range(depth))
        try:
            while (item := ahead.popleft().result()) is not None:
                ahead.append(pool.submit(next, items, None))
                yield item
        finally:
            for future in ahead:
                future.cancel()
