"""What a file says of an image at a glance: its size, its bytes, its colours."""

from typing import Any

import numpy as np

from pipeline.audit.shift import FEWEST, MOST, Shift, find_shift
from pipeline.images.cache import Images

Array = np.ndarray[Any, Any]

NAMES = ("width", "height", "width / height", "bytes", "bytes a pixel", "red", "green", "blue", "contrast")
# Every so many pixels are looked at, each way, and so many images at once.
_STEP = 4
_AT_ONCE = 1024


def plain_features(images: Images, indices: Array) -> Array:
    """Describe images by what tells them apart without looking at what they show.

    Args:
        images: the mapped images, with all that is known of each file.
        indices: int64, which of them; they can be read.

    Returns:
        float32 (len(indices), len(NAMES)), in the order of `NAMES`.
    """
    columns = images.table.select(["width", "height", "size"]).take(indices)
    width, height, size = (columns[name].to_numpy().astype(np.float64) for name in ("width", "height", "size"))
    colours = [_colours(images.gather(indices[start : start + _AT_ONCE])) for start in range(0, len(indices), _AT_ONCE)]
    files = np.stack([width, height, width / height, size, size / (width * height)], axis=1)
    return np.concatenate([files, np.concatenate(colours)], axis=1).astype(np.float32)


def _colours(pixels: Array) -> Array:
    """Mean of each colour and the spread of all, of uint8 (num_images, height, width, channels); grey is all three."""
    some = pixels[:, ::_STEP, ::_STEP].astype(np.float32)
    channels = some.shape[3]
    means = some.mean((1, 2))
    return np.stack([means[:, min(channel, channels - 1)] for channel in range(3)] + [some.std((1, 2, 3))], axis=1)


def find_plain_shift(train: Images, test: Images, seed: int) -> Shift | None:
    """How well train and test images are told apart without looking at what they show; see `find_shift`."""
    readable = [np.flatnonzero(images.readable) for images in (train, test)]
    if min(map(len, readable)) < FEWEST:
        return None
    parts = []
    for images, usable in zip((train, test), readable, strict=True):
        # As `find_shift` would choose, before anything is read.
        chosen = np.random.default_rng(seed).permutation(len(usable))[:MOST]
        parts.append(plain_features(images, usable[np.sort(chosen)]))
    return find_shift(parts[0], parts[1], seed, NAMES)
