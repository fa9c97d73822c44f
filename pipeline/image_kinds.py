"""Opening image files of the kinds that Pillow reads, and of HEIC; of others, why they are not read and what to do.

HEIC, as phones save photos, is read by pillow-heif, an extra of pyproject.toml, where it is installed; AVIF too, where
Pillow is too old for it.
"""

import importlib.util
import io
import struct
from pathlib import Path

from PIL import Image, TiffImagePlugin, UnidentifiedImageError, features

HEIC_SUFFIXES = (".heic", ".heif", ".hif")
INSTALL_HEIC = "pip install pillow-heif"
# ISO/IEC 23008-12, annexes B and G: brands of files whose images are HEVC, those of any coding, and those of AV1.
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_AVIF = {b"avif", b"avis"}
# How a TIFF begins, in either order of bytes.
_TIFF = (b"II*\0", b"MM\0*")
# DICOM PS3.10, 7.1: where its four letters stand, and they.
_DICOM = (128, b"DICM")
# What Pillow and numpy raise on files that are broken or not images.
BROKEN = (
    UnidentifiedImageError,
    Image.DecompressionBombError,
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    struct.error,
)
# So many first bytes say what a file is, and so many of them are quoted.
_HEAD, _QUOTED = 256, 12


def reads_heic() -> bool:
    """Whether HEIC is read here: pillow-heif is installed."""
    return importlib.util.find_spec("pillow_heif") is not None


def open_image(source: Path | bytes) -> Image.Image:
    """Open a file, or its bytes, as Pillow does.

    Raises:
        UnidentifiedImageError: no reader that is here knows it; why and what to do, in words.
        OSError, SyntaxError, ValueError: it is broken, or too large.
    """
    try:
        return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
    except UnidentifiedImageError:
        kind = _brands(_head(source)) & (_HEIC | _AVIF)
        if not kind or not reads_heic():
            raise UnidentifiedImageError(_why_unknown(source)) from None
    import pillow_heif

    # Images are decoded side by side: threads for each would only be in their way.
    pillow_heif.options.DECODE_THREADS = 1
    # Not by Pillow's list of readers, in which other threads look things up meanwhile.
    return pillow_heif.HeifImageFile(io.BytesIO(source) if isinstance(source, bytes) else source)


def _why_unknown(source: Path | bytes) -> str:
    """Say why no reader that is here knows a file, and what to do."""
    head = _head(source)
    brands = _brands(head)
    if brands & _AVIF and features.check("avif"):
        return "the AVIF data are broken; download it again"
    if brands & _AVIF:
        return f"AVIF is read by Pillow 11.3 or newer, or by pillow-heif, which must be installed: {INSTALL_HEIC}"
    if brands & _HEIC:
        return f"HEIC is read by pillow-heif, which must be installed: {INSTALL_HEIC}"
    if head[_DICOM[0] :].startswith(_DICOM[1]):
        return "DICOM is not read; convert it to PNG"
    if head.startswith(_TIFF):
        return _why_no_tiff(source)
    return f"no image that is read here begins with {head[:_QUOTED]!r}; download it again, or convert it to PNG"


def _why_no_tiff(source: Path | bytes) -> str:
    """The reason of Pillow's reader of TIFF, which opening any image keeps to itself."""
    try:
        TiffImagePlugin.TiffImageFile(io.BytesIO(source if isinstance(source, bytes) else source.read_bytes()))
    except BROKEN as error:
        return f"the reader of TIFF says: {error}; convert its bands to grey or RGB of 8 or 16 bits"
    return "the reader of TIFF knows the file, and nothing that opens images does"


def _head(source: Path | bytes) -> bytes:
    if isinstance(source, bytes):
        return source[:_HEAD]
    with source.open("rb") as stream:
        return stream.read(_HEAD)


def _brands(head: bytes) -> set[bytes]:
    """The brands of an ISO base media file, the major one and the compatible ones; none of another file."""
    if head[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(head[:4]), len(head))
    return {head[place : place + 4] for place in range(8, end, 4)}
