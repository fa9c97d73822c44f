"""Images as a page holds them: small, in data URIs."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from pipeline.page.blocks import Picture

Array = np.ndarray[Any, Any]

# Of the square that a picture is to fit in, in pixels of the page.
_SIDE = 128


def shown(pixels: Array, alt: str, lines: Sequence[str] = (), side: int = _SIDE) -> Picture:
    """An image as it is shown: a small one as it is, each of its pixels a block of as many as fit, as PNG; a large one
    in the size of the square, as JPEG. What is between the two is shown in its own size.

    Args:
        pixels: uint8 (height, width, channels) of 1 or 3 channels; of others the first is shown.
        alt: what it is.
        lines: what stands below it.
        side: of the square that it is to fit in, in pixels.
    """
    image = Image.fromarray(np.ascontiguousarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0]))
    longest = max(image.size)
    if factor := (side // longest if longest <= side // 2 else 0):
        return Picture(_data_uri(image, "PNG"), alt, lines, factor * image.width, is_coarse=True)
    if longest > side:
        size = (max(1, round(image.width * side / longest)), max(1, round(image.height * side / longest)))
        image = image.resize(size, Image.Resampling.LANCZOS)
    return Picture(_data_uri(image, "JPEG", quality=85), alt, lines, image.width)


def _data_uri(image: Image.Image, kind: str, **options: Any) -> str:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(stream.getvalue()).decode()}"


def heated(pixels: Array, heat: Array) -> Array:
    """An image under a map of where a network looks: uint8 (height, width, 3).

    Args:
        pixels: uint8 (height, width, channels).
        heat: float (rows, columns) in [0, 1], stretched over the image.
    """
    height, width = pixels.shape[:2]
    grey = pixels.astype(np.float32).mean(2, keepdims=True)
    stretched = Image.fromarray((255 * heat).astype(np.uint8)).resize((width, height), Image.Resampling.BILINEAR)
    share = np.asarray(stretched, np.float32)[:, :, None] / 255
    colour = np.array([255, 96, 0], np.float32)
    return (grey * (1 - 0.6 * share) + colour * 0.6 * share).clip(0, 255).astype(np.uint8)


def tiled(pictures: Sequence[Array], columns: int) -> Array:
    """Images of one size side by side, row below row, one pixel apart: uint8 (height, width, channels)."""
    height, width, channels = pictures[0].shape
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1, channels), 128, np.uint8)
    for index, picture in enumerate(pictures):
        top, left = divmod(index, columns)
        sheet[top * (height + 1) : top * (height + 1) + height, left * (width + 1) : left * (width + 1) + width] = (
            picture
        )
    return sheet
