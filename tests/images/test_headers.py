"""Headers: plain files are seen as what they are, special and damaged ones are left to Pillow."""

import contextlib
import io

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.config import ImageConfig
from pipeline.images import decode as module
from pipeline.images.decode import BadImage, decode
from pipeline.images.headers import Header, plain_header


def picture(height: int, width: int, mode: str, seed: int = 0) -> Image.Image:
    shape = (height, width) if mode in ("L", "P") else (height, width, len(mode))
    noise = np.random.default_rng(seed).integers(0, 256, (height // 4 + 1, width // 4 + 1, *shape[2:]), np.uint8)
    smooth = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC).reshape(shape)
    return Image.fromarray(smooth, None if mode != "P" else "L").convert(mode)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("JPEG", {"comment": b"by hand"}),
        ("PNG", {}),
        ("PNG", {"dpi": (72, 72)}),
    ],
)
def test_plain_files_are_read_alike_by_both(mode: str, kind: str, options: dict[str, object]) -> None:
    image = picture(21, 34, mode)
    data = saved(image, kind, **options)
    assert plain_header(data) == Header(kind, mode, 34, 21)
    settings = ImageConfig(size=34, fit="pad")
    fast, info = decode(data, settings)
    assert (info.format, info.mode, info.width, info.height) == (kind, mode, 34, 21)
    slow = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    difference = np.abs(fast[6:27].astype(int) - slow)
    assert difference.max() <= (0 if kind == "PNG" else 1)


@pytest.mark.parametrize(
    ("mode", "kind", "options"),
    [
        ("RGBA", "PNG", {}),
        ("P", "PNG", {}),
        ("L", "PNG", {"transparency": 3}),
        ("RGB", "PNG", {"exif": Image.Exif()}),
        ("RGB", "JPEG", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"}),
        ("CMYK", "JPEG", {}),
        ("RGB", "BMP", {}),
        ("RGB", "GIF", {}),
        ("RGB", "TIFF", {}),
        ("RGB", "WEBP", {}),
    ],
)
def test_special_files_are_left_to_pillow(mode: str, kind: str, options: dict[str, object]) -> None:
    if options.get("exif").__class__ is Image.Exif:
        options["exif"][0x0112] = 6  # type: ignore[index]
    assert plain_header(saved(picture(8, 9, mode), kind, **options)) is None


@given(seed=st.integers(0, 10**6), place=st.floats(0, 1), flip=st.integers(1, 255), cut=st.booleans())
@settings(max_examples=150)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_damaged_png_is_never_read_as_another_picture(
    mode: str, seed: int, place: float, flip: int, cut: bool
) -> None:
    data = bytearray(saved(picture(12, 10, mode, seed), "PNG"))
    whole, _ = decode(bytes(data), ImageConfig(size=10))
    at = int(place * (len(data) - 1))
    if cut:
        data = data[:at]
    else:
        data[at] ^= flip
    try:
        pixels, _ = decode(bytes(data), ImageConfig(size=10))
    except BadImage:
        return
    assert np.array_equal(pixels, whole)


@given(st.binary(max_size=80))
@pytest.mark.parametrize("start", [b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xda\xff\xd9", b""])
def test_any_bytes_are_refused_without_a_failure(start: bytes, rest: bytes) -> None:
    with contextlib.suppress(ValueError):
        plain_header(start + rest)
    with pytest.raises(BadImage):
        decode(start + rest, ImageConfig(size=8))


def test_plain_files_need_no_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.Image, "open", None)
    for kind in ("JPEG", "PNG"):
        pixels, info = decode(saved(picture(9, 9, "RGB"), kind), ImageConfig(size=9))
        assert pixels.shape == (9, 9, 3) and info.format == kind
