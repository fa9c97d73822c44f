"""HEIC is read where pillow-heif is installed; what is read nowhere is said with the reason, and with a way on."""

import io
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageOps, UnidentifiedImageError

from making import saved, smooth
from pipeline.config import Config, ImageConfig
from pipeline.freshness import prepared_from
from pipeline.image_kinds import INSTALL_HEIC, open_image
from pipeline.images.decode import BadImage, decode

# The first bytes of a photo of a phone: a box of brands, the major one and those that it is compatible with.
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200)
ANY_CODING = b"\0\0\0\x18ftypmif1\0\0\0\0miafheic" + bytes(200)
AVIF = b"\0\0\0\x18ftypavif\0\0\0\0mif1avif" + bytes(200)


def as_heic(pixels: np.ndarray, orientation: int = 1) -> bytes:
    """Pixels as a HEIC file without loss."""
    pillow_heif = pytest.importorskip("pillow_heif")
    image = pillow_heif.from_bytes("RGB", pixels.shape[1::-1], pixels.tobytes())
    exif, stream = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    image[0].info["exif"] = exif.tobytes()
    image.save(stream, quality=-1)
    return stream.getvalue()


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_heic_is_read_upright(orientation: int) -> None:
    pixels = smooth(16, 24)
    exif = Image.Exif()
    exif[0x0112] = orientation
    with Image.open(io.BytesIO(saved(Image.fromarray(pixels), "PNG", exif=exif))) as image:
        upright = ImageOps.exif_transpose(image).resize((24, 24), Image.Resampling.BILINEAR)
    decoded, info = decode(as_heic(pixels, orientation), ImageConfig(size=24, channels=3))
    assert info.format == "HEIF" and {info.width, info.height} == {16, 24}
    # Its colours are kept as brightness and two differences, rounded.
    assert np.abs(decoded.astype(int) - np.asarray(upright).astype(int)).mean() < 4


def test_heic_is_opened_by_its_path_too_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(as_heic(smooth(16, 24)))
    with open_image(path) as image:
        assert (image.format, image.mode, image.size) == ("HEIF", "RGB", (24, 16))


def test_heic_is_looked_at_again_once_its_reader_is_there(
    competition: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg, made_from = competition(), []
    for module in (None, SimpleNamespace(__spec__=object())):
        monkeypatch.setitem(sys.modules, "pillow_heif", module)
        made_from += [prepared_from(cfg, ["train/000.png", *more]) for more in ((), ("train/x.HEIC",))]
    assert made_from[0] == made_from[2] and made_from[1] != made_from[3]


def test_broken_heic_is_refused() -> None:
    data = as_heic(smooth())
    for part in (data[: len(data) // 2], HEIC):
        with pytest.raises(BadImage, match=r"Invalid input: "):
            decode(part, ImageConfig(size=24))


@pytest.mark.parametrize("data", [HEIC, ANY_CODING])
def test_without_the_package_heic_is_named_and_the_package_too(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as Python has it where an import is to fail
    with pytest.raises(
        BadImage, match=r"^HEIC is read by pillow-heif, which must be installed: pip install pillow-heif$"
    ):
        decode(data, ImageConfig(size=24))


@pytest.mark.parametrize(
    ("reads_avif", "reason"), [(True, "the AVIF data are broken"), (False, "Pillow 11.3 or newer")]
)
def test_avif_that_is_not_read(monkeypatch: pytest.MonkeyPatch, reads_avif: bool, reason: str) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setattr("PIL.features.check", lambda name: reads_avif)
    with pytest.raises(UnidentifiedImageError, match=reason) as error:
        open_image(AVIF)
    assert (INSTALL_HEIC in str(error.value)) != reads_avif


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (bytes(128) + b"DICM" + bytes(99), "^DICOM is not read; convert it to PNG$"),
        (b"<!DOCTYPE html><html>Not found</html>", r"begins with b'<!DOCTYPE ht'; download it again"),
    ],
)
def test_what_is_no_image_is_said_by_how_it_begins(data: bytes, reason: str) -> None:
    with pytest.raises(BadImage, match=reason):
        decode(data, ImageConfig(size=24))
