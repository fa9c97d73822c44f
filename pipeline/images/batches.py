"""The images of a fold -> batches: one gather each from the mapped array, prefetched, no per-image Python."""

import contextlib
import math
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from pipeline.images.augment.augment import resize_to
from pipeline.images.augment.mix import Mixture, mix
from pipeline.images.cache import Images
from pipeline.stopwatch import Stopwatch

Array = np.ndarray[Any, Any]
Statistics = tuple[tuple[float, ...], tuple[float, ...]]
T = TypeVar("T")

# Of batches that are augmented together, about: 512 images of 32 px, eight times as many on CUDA. There a batch of any
# size costs 8 ms, the time to start hundreds of kernels (32 px, AutoAugment; see the benchmarks' README).
PIXELS_AT_ONCE, PIXELS_AT_ONCE_ON_CUDA = 1 << 19, 1 << 22


@dataclass(frozen=True)
class Part:
    """What one of several processes has of a pass: of each batch some images, or of the batches every so many.

    rank, size: of the process, and how many there are.
    by_image: whether each batch is divided, as in training, where all take a step together; else whole batches are
        dealt out, so that each is what one process alone would have.
    """

    rank: int = 0
    size: int = 1
    by_image: bool = False

    def of_batch(self, step: int, length: int) -> slice:
        """The places of a batch that are this process's; an empty slice where it has none."""
        if self.by_image:
            return slice(length * self.rank // self.size, length * (self.rank + 1) // self.size)
        return slice(0, length if step % self.size == self.rank else 0)


@dataclass(frozen=True)
class Changes:
    """Changes to the images of a pass before the network sees them; None: nothing happens.

    per_image: first, to uint8 images (batch, cache side, cache side, channel) in memory, given their indices.
    augment: to uint8 images (batch, channel, cache side, cache side) on their device, given their indices; gives images
        of the network's size. None: they are resized where the cache is larger.
    mix: what to do with each normalised image of a batch, given the batch's indices and the step.
    """

    per_image: Callable[[Array, Array], Array] | None = None
    augment: Callable[[Tensor, Array], Tensor] | None = None
    mix: Callable[[Array, int], Mixture] | None = None


@dataclass(frozen=True)
class Share:
    """What a process prepares of a batch.

    step: of the pass.
    start: position of the batch's first image.
    length: images of the whole batch.
    own: places in the batch whose images this process has.
    places: int64, places in the batch of all images that it prepares: its own ones, behind them their partners.
    mixture: of the batch; None where nothing is mixed.
    counts: whether its images count; else the process has none of the batch, and goes along with one.
    """

    step: int
    start: int
    length: int
    own: slice
    places: Array
    mixture: Mixture | None
    counts: bool


@dataclass(frozen=True)
class Batch:
    """Images (batch, channel, height, width), channels_last, and targets, on the device; the images are float and
    normalised, or uint8 where the network normalises them.

    step: of the pass, from 0 on.
    share: what part of the whole batch they are; None: all of it.
    """

    images: Tensor
    targets: Tensor | None
    step: int
    share: Share | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def num_images(self) -> int:
        """Images of the whole batch."""
        return self.share.length if self.share else len(self)

    @property
    def counts(self) -> bool:
        """Whether the images count; else this process has none of the batch, and goes along with one."""
        return self.share is None or self.share.counts


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
    part: what this process has of it.
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
    part: Part = Part()
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

    def positions(self, rank: int, num_steps: int | None = None) -> Array:
        """List the positions of the images that a process has, in its order: int64.

        Args:
            rank: of the process.
            num_steps: of the pass, from its first on; None for all.
        """
        part = replace(self.part, rank=rank)
        own = [np.zeros(0, np.int64)]
        for step, (start, stop) in enumerate(self.bounds()[:num_steps]):
            places = part.of_batch(step, stop - start)
            own.append(np.arange(start + places.start, start + places.stop))
        return np.concatenate(own)

    def __iter__(self) -> Iterator[Batch]:
        return self.starting_at(0)

    def starting_at(self, first_step: int) -> Iterator[Batch]:
        """Give the batches from a step on, the same as in a pass over all."""
        constants = scale_and_shift(self.normalisation, self.device) if self.normalisation else None
        if self.resident is not None and not self.changes.per_image:
            pieces: Iterator[tuple[Tensor, list[Share]]] = (
                (self._resident(shares), shares) for shares in self._groups(first_step)
            )
        else:
            # The thread gathers (and pins), the device augments: a thread for both is 10 % slower on two cores.
            pieces = self.stopwatch.waiting("gather", prefetch(self._gathered(first_step)))
        for pixels, shares in pieces:
            with self._augmenting():
                images = self._prepared(pixels, shares, constants)
            stop = 0
            for share in shares:
                start, stop = stop, stop + len(share.places)
                if share.step >= first_step:
                    with self._augmenting():
                        batch = self._batch(images[start:stop], share)
                    yield batch

    def _augmenting(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if self.device.type == "cuda" else self.stopwatch.of("augment")

    def _groups(self, first_step: int) -> Iterator[list[Share]]:
        """Group batches that are gathered and augmented together, as small ones cost less so, from the group of a step
        on: what this process prepares of each.
        """
        bounds, together = self.bounds(), self.num_together
        for first in range(first_step - first_step % together, len(bounds), together):
            steps = range(first, min(first + together, len(bounds)))
            shares = [share for step in steps if (share := self._share(step, *bounds[step])) is not None]
            if shares:
                yield shares

    def _share(self, step: int, start: int, stop: int) -> Share | None:
        """What this process prepares of a batch; None where it goes past it."""
        length = stop - start
        own = self.part.of_batch(step, length)
        counts = own.stop > own.start
        if not counts:
            if not self.part.by_image:
                return None
            own = slice(length - 1, length)
        mixture = self.changes.mix(self.indices[start:stop], step) if self.changes.mix else None
        places = np.arange(own.start, own.stop)
        if mixture is not None:
            partners = mixture.partners[own]
            places = np.concatenate([places, np.setdiff1d(partners, places)])
        return Share(step, start, length, own, places, mixture, counts)

    @property
    def num_together(self) -> int:
        """Batches that are gathered and augmented together."""
        pixels = PIXELS_AT_ONCE_ON_CUDA if self.device.type == "cuda" else PIXELS_AT_ONCE
        return max(1, pixels // (self.batch_size * self.size**2))

    def _indices(self, shares: list[Share]) -> Array:
        """Which images some shares are of: int64."""
        return np.concatenate([self.indices[share.start + share.places] for share in shares])

    def _gathered(self, first_step: int) -> Iterator[tuple[Tensor, list[Share]]]:
        for shares in self._groups(first_step):
            indices = self._indices(shares)
            pixels = self.images.gather(indices)
            if self.changes.per_image:
                pixels = self.changes.per_image(pixels, indices)
            images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
            yield images.pin_memory() if self.device.type == "cuda" else images, shares

    def _resident(self, shares: list[Share]) -> Tensor:
        assert self.resident is not None
        indices = torch.from_numpy(self._indices(shares))
        return self.resident.index_select(0, self._send(indices)).permute(0, 3, 1, 2)

    def _send(self, values: Tensor) -> Tensor:
        """Send values to the device; to CUDA without waiting for it."""
        if self.device.type != "cuda" or values.is_cuda:
            return values.to(self.device)
        return (values if values.is_pinned() else values.pin_memory()).to(self.device, non_blocking=True)

    def _prepared(self, pixels: Tensor, shares: list[Share], constants: tuple[Tensor, Tensor] | None) -> Tensor:
        """Put images on the device, changed and normalised."""
        # Copies are asynchronous on CUDA alone: on Apple's GPU they may read memory that is already freed (PyTorch
        # issue 139550). There the CPU augments, for want of float64 on that GPU.
        if self.device.type != "mps":
            pixels = self._send(pixels)
        changed = self.changes.augment(pixels, self._indices(shares)) if self.changes.augment else None
        images = (resize_to(pixels, self.size) if changed is None else changed).to(self.device)
        return normalise(images, *constants, self.dtype) if constants else images

    def _batch(self, images: Tensor, share: Share) -> Batch:
        """Take one batch's share out of what was prepared, with the targets, mixed."""
        own, targets = slice(0, share.own.stop - share.own.start), None
        if self.targets is not None:
            chosen = torch.from_numpy(self.indices[share.start + share.places])
            if self.targets.device == self.device:
                targets = self.targets.index_select(0, self._send(chosen))
            else:
                targets = self._send(self.targets[chosen])
            if share.mixture is not None:
                # Where in what was prepared each partner is.
                where = np.empty(share.length, np.int64)
                where[share.places] = np.arange(len(share.places))
                partners = torch.from_numpy(where[share.mixture.partners[share.own]])
                images, targets = mix(images, targets, share.mixture, own, self._send(partners))
        return Batch(images, targets, share.step, share)


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
