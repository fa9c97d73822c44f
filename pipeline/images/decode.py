"""One reader for every image format, with one rule for orientation, colour, depth and alpha.

The EXIF orientation is applied; of several frames the first is read; 16-bit values are scaled by the range that
the train images use; alpha is
composited on white (kept where 4 channels are asked for); CMYK, palettes and other modes are converted to RGB.
"""

import io
import logging
import math
import warnings
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from pipeline.config import ImageConfig
from pipeline.image_kinds import BROKEN, open_image
from pipeline.images.grey import FULL, GreyRange, is_deep_colour, read_deep_colour
from pipeline.images.headers import plain_header

Array = np.ndarray[Any, Any]

# Counts the changes of this module that give other pixels: what an older one decoded is not mixed with new.
VERSION = 2
# Above this a file is refused before its pixels are read: 2**27 pixels are 400 MB as RGB.
MAX_PIXELS = 2**27
# Decoding is spread over images by the cache's threads; OpenCV's own threads would only get in their way.
cv2.setNumThreads(1)
# It prints why it refuses a file, which is said with the file's name here.
logging.getLogger("PIL.TiffImagePlugin").setLevel(logging.CRITICAL)

# How many times larger than asked an image must be for libjpeg to scale it by a factor while decoding: what is left to
# average then keeps the result within 2 levels (mean absolute difference over photos) of full decoding. By the factor
# alone, 2 would be up to 2.1 levels off, 4 and 8 up to 3.6 (1,200 photos of 400 x 533).
_SCALED = ((8, 16.0), (4, 9.0), (2, 3.1))
# How a file that numpy saved begins.
_NPY = b"\x93NUMPY"


class BadImage(ValueError):
    """A file that cannot be read as an image; the message says why."""


@dataclass(frozen=True)
class ImageInfo:
    """An image file's format and mode in Pillow's names, width and height in pixels before orientation."""

    format: str = ""
    mode: str = ""
    width: int = 0
    height: int = 0


def decode(data: bytes, cfg: ImageConfig, box: str = "", grey: GreyRange = FULL) -> tuple[Array, ImageInfo]:
    """Decode a file's bytes to the size that the cache keeps.

    Args:
        data: the file.
        cfg: size, channels and fit.
        box: `left top right bottom` in pixels of the upright image, which is cropped to the part of it that lies
            inside; "" for the whole image.
        grey: the range of 16-bit values.

    Returns:
        uint8 (stored, stored, channels) and what the file is.

    Raises:
        BadImage: it cannot be read whole.
    """
    pixels, info = read_pixels(data, cfg, whole=bool(box), grey=grey)
    return crop_and_resize(pixels, box, cfg), info


def read_pixels(data: bytes, cfg: ImageConfig, *, whole: bool, grey: GreyRange = FULL) -> tuple[Array, ImageInfo]:
    """Read a file's pixels, upright.

    Args:
        data: the file.
        cfg: size, channels and fit.
        whole: each pixel is wanted, as boxes name them; else a large JPEG may come scaled down to what is needed.
        grey: the range of 16-bit values.

    Returns:
        uint8 (height, width, channels) and what the file is.

    Raises:
        BadImage: it cannot be read whole.
    """
    if not data:
        raise BadImage("the file is empty")
    try:
        header = plain_header(data)
        # What is grey in a colour PNG is Pillow's to say, as for every other format.
        if header and not (header.format == "PNG" and header.mode == "RGB" and cfg.channels == 1):
            info = ImageInfo(*header)
            _refuse_huge(info)
            return _read_fast(data, info, cfg, whole=whole), info
        if data.startswith(_NPY):
            pixels = _read_npy(data, cfg.channels, grey)
            return pixels, ImageInfo("NPY", "", pixels.shape[1], pixels.shape[0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of broken metadata and of large images; both are handled
            with open_image(data) as image:
                info = ImageInfo(str(image.format), image.mode, *image.size)
                _refuse_huge(info)
                return _read_any(_with_depth(image, data, grey), cfg.channels, grey), info
    except BadImage:
        raise
    except UnidentifiedImageError as error:
        raise BadImage(str(error)) from None
    except (*BROKEN, cv2.error) as error:
        raise BadImage(f"{type(error).__name__}: {error}".strip(": \n")) from None


def crop_and_resize(pixels: Array, box: str, cfg: ImageConfig) -> Array:
    """Crop pixels to a box, "" for none, and bring them to the size that the cache keeps.

    Raises:
        BadImage: the box lies outside.
    """
    return resize(_cropped(pixels, box), cfg)


def _cropped(pixels: Array, box: str) -> Array:
    """Crop an image to a box."""
    if not box:
        return pixels
    left, top, right, bottom = (max(0, int(side)) for side in box.split())
    crop = pixels[top:bottom, left:right]
    if not crop.size:
        raise BadImage(f"the box {box} lies outside its {pixels.shape[1]} x {pixels.shape[0]} pixels")
    return np.ascontiguousarray(crop)


def _read_npy(data: bytes, channels: int, grey: GreyRange) -> Array:
    """Read an array saved by numpy: uint8 or uint16, (height, width) or with a last axis of 1, 3 or 4 channels."""
    values = np.load(io.BytesIO(data), allow_pickle=False)
    if values.ndim == 2:
        values = values[:, :, None]
    if values.dtype not in (np.uint8, np.uint16) or values.ndim != 3 or values.shape[2] not in (1, 3, 4):
        raise BadImage(
            f"an array must be uint8 or uint16, (height, width) or (height, width, 1, 3 or 4). Got {values.dtype} "
            f"{values.shape}"
        )
    _refuse_huge(ImageInfo("NPY", "", values.shape[1], values.shape[0]))
    pixels = values if values.dtype == np.uint8 else _eight_bits(values, grey)
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    return _read_any(image, channels, grey)


def _refuse_huge(info: ImageInfo) -> None:
    if info.width * info.height > MAX_PIXELS:
        raise BadImage(f"{info.width} x {info.height} pixels are more than {MAX_PIXELS:,}")


def _read_fast(data: bytes, info: ImageInfo, cfg: ImageConfig, *, whole: bool) -> Array:
    """Read a plain file through OpenCV; a JPEG that is much larger than asked is scaled by libjpeg while decoding,
    unless its pixels are wanted whole.
    """
    ratios = info.width / cfg.stored, info.height / cfg.stored
    num_times = max(ratios) if cfg.fit == "pad" else min(ratios)
    grey = cfg.channels == 1
    flags = cv2.IMREAD_IGNORE_ORIENTATION | (cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR_RGB)
    if info.format == "JPEG" and not whole:
        for factor, least in _SCALED:
            if num_times >= least:
                kind = "GRAYSCALE" if grey else "COLOR"
                flags = cv2.IMREAD_IGNORE_ORIENTATION | getattr(cv2, f"IMREAD_REDUCED_{kind}_{factor}")
                break
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if pixels is None:
        raise BadImage(f"the {info.format} data are broken")
    if grey:
        pixels = pixels[:, :, None]
    elif not flags & cv2.IMREAD_COLOR_RGB:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    return _with_alpha(pixels) if cfg.channels == 4 else pixels


def _with_depth(image: Image.Image, data: bytes, grey: GreyRange) -> Image.Image:
    """An opened image as it is; one with 16 bits for each colour by the part of them that the train images use."""
    values = None if grey.is_full or not is_deep_colour(image) else read_deep_colour(data)
    if values is None:
        return image
    pixels = [grey.eight_bits(values[:, :, :3]), FULL.eight_bits(values[:, :, 3:])]
    deep = Image.fromarray(np.concatenate(pixels, 2))
    deep.info.update(image.info)
    return deep


def _read_any(image: Image.Image, channels: int, grey: GreyRange) -> Array:
    """Read any file through Pillow: uint8 (height, width, channels)."""
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        image = Image.fromarray(_eight_bits(np.asarray(image), grey))
    elif image.mode == "F":
        raise BadImage("floating-point pixels have no fixed range; convert them to 8 or 16 bits")
    has_alpha = image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info
    if has_alpha and channels != 4:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    pixels = np.asarray(image.convert({1: "L", 3: "RGB", 4: "RGBA"}[channels]))
    return pixels[:, :, None] if channels == 1 else pixels


def _eight_bits(values: Array, grey: GreyRange) -> Array:
    """Scale 16-bit values to uint8 by the range that train images use; by the full one 65535 becomes 255."""
    if values.min() < 0 or values.max() > 65535:
        raise BadImage("grey values outside 0..65535 have no fixed range; convert them to 8 or 16 bits")
    return grey.eight_bits(values)


def _with_alpha(pixels: Array) -> Array:
    return np.concatenate([pixels, np.full_like(pixels[:, :, :1], 255)], 2)


def resize(pixels: Array, cfg: ImageConfig) -> Array:
    """Bring pixels uint8 (height, width, channels) to (stored, stored, channels) as `image.fit` says."""
    side = cfg.stored
    height, width = pixels.shape[:2]
    if (height, width) == (side, side):
        return pixels
    if cfg.fit == "squash":
        return _scale(pixels, side, side)
    scale = side / (min(height, width) if cfg.fit == "crop" else max(height, width))
    new_height, new_width = max(1, round(height * scale)), max(1, round(width * scale))
    if cfg.fit == "crop":
        # Crop first: what is cut off need not be scaled.
        crop_height, crop_width = min(height, round(side / scale)), min(width, round(side / scale))
        top, left = (height - crop_height) // 2, (width - crop_width) // 2
        return _scale(np.ascontiguousarray(pixels[top : top + crop_height, left : left + crop_width]), side, side)
    padded = np.zeros((side, side, pixels.shape[2]), np.uint8)
    top, left = (side - new_height) // 2, (side - new_width) // 2
    padded[top : top + new_height, left : left + new_width] = _scale(pixels, new_height, new_width)
    return padded


def _scale(pixels: Array, height: int, width: int) -> Array:
    """Average areas along a side that shrinks, interpolate linearly along one that grows."""
    if (height < pixels.shape[0]) != (width < pixels.shape[1]):
        pixels = _scale_alike(pixels, height, pixels.shape[1])
    return _scale_alike(pixels, height, width)


def _scale_alike(pixels: Array, height: int, width: int) -> Array:
    """Average areas to a whole fraction of a size nearby, which OpenCV does two to three times as fast as to any size:
    within half a level of it, and both sides averaged over at most 1.42 pixels by the bilinear step.
    """
    if pixels.shape[:2] == (height, width):
        return pixels
    if height > pixels.shape[0] or width > pixels.shape[1]:
        return _resized(pixels, height, width, cv2.INTER_LINEAR)
    down, across = (2 ** round(math.log2(old / new)) for old, new in zip(pixels.shape, (height, width), strict=False))
    if (down, across) == (1, 1):
        return _resized(pixels, height, width, cv2.INTER_AREA)
    near = _resized(pixels, down * height, across * width, cv2.INTER_LINEAR)
    return _resized(near, height, width, cv2.INTER_AREA)


def _resized(pixels: Array, height: int, width: int, interpolation: int) -> Array:
    if pixels.shape[:2] == (height, width):
        return pixels
    scaled = cv2.resize(pixels, (width, height), interpolation=interpolation)
    return np.asarray(scaled if scaled.ndim == 3 else scaled[:, :, None])
