"""Images as a page holds them: small, in data URIs."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

Array = np.ndarray[Any, Any]

_SIDE = 112
# Below this side pixels are shown as they are, each a block.
_COARSE = 56


def data_uri(pixels: Array, side: int = _SIDE) -> str:
    """An image as a data URI: PNG where it is coarse, else JPEG.

    Args:
        pixels: uint8 (height, width, channels) of 1 or 3 channels; of others the first is shown.
        side: of the square that it is to fit in, in pixels.
    """
    shown = pixels if pixels.shape[2] == 3 else pixels[:, :, 0]
    image = Image.fromarray(np.ascontiguousarray(shown))
    coarse = max(image.size) <= _COARSE
    factor = side / max(image.size)
    if coarse:
        factor = max(1, int(factor))
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    image = image.resize(size, Image.Resampling.NEAREST if coarse else Image.Resampling.BILINEAR)
    stream = io.BytesIO()
    image.save(stream, "PNG" if coarse else "JPEG", **({} if coarse else {"quality": 80}))
    return f"data:image/{'png' if coarse else 'jpeg'};base64,{base64.b64encode(stream.getvalue()).decode()}"


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
