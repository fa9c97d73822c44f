"""Which values 16-bit images use: X-rays and cameras often fill twelve of the sixteen bits, or fewer.

Divided by the range that 16 bits have, such images would keep sixteen of their levels. `prepare` looks at train images
once and keeps their range; test images are scaled by it too, wherever they are predicted.
"""

import io
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from pipeline.config import Config
from pipeline.freshness import train_stamp
from pipeline.paths import all_folds, prepare_stamp
from pipeline.stamps import made_from, note

Array = np.ndarray[Any, Any]

_NUM_LOOKED_AT = 200
_HIGHEST = 65535


@dataclass(frozen=True)
class GreyRange:
    """The lowest and the highest value of 16-bit images, which become 0 and 255."""

    low: int = 0
    high: int = _HIGHEST

    @property
    def is_full(self) -> bool:
        """Whether it is all that 16 bits have."""
        return (self.low, self.high) == (0, _HIGHEST)

    @property
    def notes(self) -> dict[str, dict[str, int]]:
        """The range as a note of a stamp; nothing where it is full."""
        return {} if self.is_full else {"grey": asdict(self)}

    def eight_bits(self, values: Array) -> Array:
        """Scale values of 0 to 65535 to uint8; those outside the range to its ends."""
        span = self.high - self.low
        above = values.astype(np.int64).clip(self.low, self.high) - self.low
        return ((above * 255 + span // 2) // span).astype(np.uint8)


FULL = GreyRange()


def is_deep_colour(image: Image.Image) -> bool:
    """Whether an opened image has 16 bits for each of its colours, of which Pillow reads the upper 8 alone."""
    return image.mode in ("RGB", "RGBA") and any(";16" in str(tile) for tile in getattr(image, "tile", ()))


def read_deep_colour(data: bytes) -> Array | None:
    """Read a file with 16 bits for each colour: uint16 (height, width, 3 or 4), RGB(A); None where OpenCV cannot."""
    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16 or values.ndim != 3 or values.shape[2] not in (3, 4):
        return None
    return cv2.cvtColor(values, cv2.COLOR_BGR2RGB if values.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)


def known_range(cfg: Config) -> GreyRange:
    """The range that `prepare` found for a run's images."""
    return _noted(prepare_stamp(cfg)) or FULL


def choose_range(cfg: Config, root: Path, train_paths: Sequence[str]) -> GreyRange:
    """The range that images are to be scaled by: what was chosen before, for this run or its models, is kept.

    Args:
        cfg: the settings.
        root: where the files are.
        train_paths: of the train images; none where these are not here.
    """
    stamp = prepare_stamp(cfg)
    same = made_from(stamp).get("data", {}).get("root") == cfg.data.root
    stamps = [*([stamp] if same else []), *(train_stamp(cfg, fold) for fold in all_folds(cfg))]
    return next(filter(None, map(_noted, stamps)), None) or find_range(root, train_paths)


def find_range(root: Path, paths: Sequence[str]) -> GreyRange:
    """Find the range of the 16-bit images among about 200, evenly spread; full where they use half of it or more."""
    distinct = list(dict.fromkeys(paths))
    looked_at = distinct[:: max(1, len(distinct) // _NUM_LOOKED_AT)]
    ranges = [found for path in looked_at if (found := _values_of(root / path)) is not None]
    if not ranges:
        return FULL
    low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
    is_narrow = 0 <= low < high <= _HIGHEST and 2 * (high - low) < _HIGHEST
    return GreyRange(low, high) if is_narrow else FULL


def _values_of(path: Path) -> tuple[int, int] | None:
    """The lowest and the highest value of a 16-bit image; None of others, and of files that cannot be read."""
    try:
        data = path.read_bytes()
        if path.suffix.lower() == ".npy":
            values = np.load(io.BytesIO(data), allow_pickle=False)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of large images and odd metadata, which are judged when all are read
                with Image.open(io.BytesIO(data)) as image:
                    values = _deep(image, data)
    except (OSError, ValueError, SyntaxError, EOFError, UnidentifiedImageError, Image.DecompressionBombError):
        return None  # it is said, with its reason, when all are decoded
    if values is None or values.dtype.kind not in "ui" or values.dtype == np.uint8 or not values.size:
        return None
    return int(values.min()), int(values.max())


def _deep(image: Image.Image, data: bytes) -> Array | None:
    """The values of an opened image with 16 bits, without alpha; None of any other."""
    if image.mode.startswith("I"):
        return np.asarray(image)
    values = read_deep_colour(data) if is_deep_colour(image) else None
    return values[:, :, :3] if values is not None else None


def _noted(stamp: Path) -> GreyRange | None:
    found = note(stamp, "grey")
    return GreyRange(**found) if found else None
