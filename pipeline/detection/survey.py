"""The headers of some images: their sizes and modes."""

import statistics
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.detection.image_files import UNREADABLE, evenly_spaced
from pipeline.files import InputError

NUM_SAMPLED = 200


@dataclass(frozen=True)
class Survey:
    """Summary of some image files' headers: median longer side in pixels, and whether all are grey."""

    side: float
    grey: bool
    text: str


def survey_headers(root: Path, paths: Sequence[str]) -> Survey:
    """Read the headers of about 200 images, evenly spread.

    Raises:
        InputError: none of them can be read.
    """
    sides, sizes, modes, num_unreadable = [], [], set(), 0
    for index in evenly_spaced(len(paths), NUM_SAMPLED):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of large images and odd metadata: only the header is read
                width_and_height, mode = _header(root / paths[index])
                sizes.append(width_and_height)
                modes.add(mode)
        except UNREADABLE:
            num_unreadable += 1
            continue
        sides.append(max(sizes[-1]))
    if not sides:
        raise InputError(
            f"{num_unreadable:,} image files under {root} were looked at and none can be read, the first is "
            f"{paths[0]}; download them again"
        )
    least, most = (pick(sizes, key=lambda size: (size[0] * size[1], size)) for pick in (min, max))
    size = f"{most[0]} x {most[1]}" if least == most else f"{least[0]} x {least[1]} to {most[0]} x {most[1]}"
    text = f"{len(sides):,} images looked at: {size} px, mode {', '.join(sorted(modes))}"
    if num_unreadable:
        text += f"; {num_unreadable:,} more cannot be read"
    grey = all(mode in ("1", "L") or mode.startswith("I") for mode in modes)
    return Survey(float(statistics.median(sides)), grey, text)


def _header(path: Path) -> tuple[tuple[int, int], str]:
    """Read width, height and mode of an image file, in Pillow's names; of an array saved by numpy as well."""
    if path.suffix.lower() == ".npy":
        values = np.load(path, mmap_mode="r", allow_pickle=False)
        grey = values.ndim == 2 or values.shape[-1] == 1
        return (int(values.shape[1]), int(values.shape[0])), "L" if grey else "RGB"
    with Image.open(path) as image:
        return image.size, image.mode
