"""The headers of some images: their sizes and modes."""

import statistics
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import UnidentifiedImageError

from pipeline.detection.image_files import evenly_spaced
from pipeline.files import InputError
from pipeline.image_kinds import BROKEN, open_image

NUM_SAMPLED = 200


@dataclass(frozen=True)
class Survey:
    """Summary of some image files' headers: median longer side in pixels, whether all are grey, how many were looked
    at, and those of them that cannot be read.
    """

    side: float
    grey: bool
    text: str
    num_looked_at: int
    unreadable: tuple[str, ...] = ()


def survey_headers(root: Path, paths: Sequence[str]) -> Survey:
    """Read the headers of about 200 images, evenly spread.

    Raises:
        InputError: none of them can be read; the reader's reason for the first.
    """
    headers, unreadable = read_headers(root, paths)
    if not headers:
        raise InputError(
            f"{len(unreadable):,} image files under {root} were looked at and none can be read. {paths[0]}: "
            f"{unreadable[paths[0]]}"
        )
    sizes, modes = [size for size, _ in headers], {mode for _, mode in headers}
    least, most = (pick(sizes, key=lambda size: (size[0] * size[1], size)) for pick in (min, max))
    size = f"{most[0]} x {most[1]}" if least == most else f"{least[0]} x {least[1]} to {most[0]} x {most[1]}"
    text = f"{len(sizes):,} images looked at: {size} px, mode {', '.join(sorted(modes))}"
    if unreadable:
        text += f"; {len(unreadable):,} more cannot be read"
    grey = all(mode in ("1", "L") or mode.startswith("I") for mode in modes)
    looked_at = len(sizes) + len(unreadable)
    return Survey(float(statistics.median(map(max, sizes))), grey, text, looked_at, tuple(unreadable))


def read_headers(root: Path, paths: Sequence[str]) -> tuple[list[tuple[tuple[int, int], str]], dict[str, str]]:
    """Read width, height and mode of about 200 images, evenly spread; returns why the others of them cannot be read
    too.
    """
    headers, unreadable = [], {}
    for index in evenly_spaced(len(paths), NUM_SAMPLED):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of large images and odd metadata: only the header is read
                headers.append(_header(root / paths[index]))
        except BROKEN as error:
            unreadable[paths[index]] = _why(paths[index], error)
    return headers, unreadable


def _why(path: str, error: Exception) -> str:
    """Say why a header cannot be read, and what to do: that the kind of file is the cause is no fault of a download."""
    if isinstance(error, UnidentifiedImageError):
        return str(error)
    if path.lower().endswith(".npy"):
        return f"{error}; save each image as an array of its own, or as PNG"
    return f"{error}; download it again".removeprefix("; ")


def _header(path: Path) -> tuple[tuple[int, int], str]:
    """Read width, height and mode of an image file, in Pillow's names; of an array saved by numpy as well."""
    if path.suffix.lower() == ".npy":
        values = np.load(path, mmap_mode="r", allow_pickle=False)
        if values.ndim not in (2, 3):
            raise ValueError(f"an array must be (height, width), or have channels last. Got {values.shape}")
        grey = values.ndim == 2 or values.shape[-1] == 1
        return (int(values.shape[1]), int(values.shape[0])), "L" if grey else "RGB"
    with open_image(path) as image:
        return image.size, image.mode
