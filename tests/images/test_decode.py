"""One reader, one rule: orientation, colour, depth, alpha; and what is no image is refused with a reason."""

import io
import struct
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from making import saved, smooth
from pipeline.config import ImageConfig
from pipeline.images.decode import BadImage, decode
from pipeline.images.grey import FULL, GreyRange, find_range

SIDE = 24


def config(channels: int = 3, fit: str = "squash", side: int = SIDE) -> ImageConfig:
    return ImageConfig(size=side, channels=channels, fit=fit)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP"])
def test_lossless_formats_are_exact(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    pixels, info = decode(saved(Image.fromarray(smooth()), kind, **options), config())
    assert np.array_equal(pixels, smooth())
    assert (info.format, info.mode, info.width, info.height) == (kind, "RGB", SIDE, SIDE)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("kind", "size"), [("JPEG", (SIDE, SIDE)), ("JPEG", (8 * SIDE, 4 * SIDE)), ("PNG", (SIDE, SIDE))]
)
def test_exif_orientation_is_applied(orientation: int, kind: str, size: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(Image.fromarray(smooth(*size)), kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {}))
    with Image.open(io.BytesIO(data)) as image:
        turned = ImageOps.exif_transpose(image).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)
    pixels, _ = decode(data, config())
    assert np.abs(pixels.astype(int) - np.asarray(turned).astype(int)).mean() < 2


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 8, 11])
@pytest.mark.parametrize("channels", [1, 3])
def test_scaled_decoding_agrees_with_full_decoding(factor: int, channels: int) -> None:
    data = saved(Image.fromarray(smooth(factor * SIDE, factor * SIDE + 5)), "JPEG", quality=90)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(image.convert("RGB" if channels == 3 else "L").resize((SIDE, SIDE), Image.Resampling.BOX))
    pixels, _ = decode(data, config(channels))
    assert np.abs(pixels.reshape(expected.shape).astype(int) - expected.astype(int)).mean() < 2


def test_colour_modes() -> None:
    rgb = Image.fromarray(smooth())
    grey = np.asarray(rgb.convert("L"))
    for image in (rgb.convert("L"), rgb.convert("P", palette=Image.Palette.ADAPTIVE), rgb.convert("1")):
        pixels, _ = decode(saved(image, "PNG"), config())
        assert np.array_equal(pixels, np.asarray(image.convert("RGB")))
    assert np.array_equal(decode(saved(rgb.convert("L"), "PNG"), config(1))[0][:, :, 0], grey)
    cmyk, _ = decode(saved(rgb.convert("CMYK"), "JPEG", quality=100, subsampling=0), config())
    assert np.abs(cmyk.astype(int) - smooth().astype(int)).mean() < 2


def test_sixteen_bits_are_scaled_by_their_range() -> None:
    deep = Image.fromarray((np.arange(SIDE * SIDE).reshape(SIDE, SIDE) * 113).astype(np.uint16))
    pixels, _ = decode(saved(deep, "PNG"), config(1))
    assert np.array_equal(pixels[:, :, 0], np.round(np.asarray(deep) / 257).astype(np.uint8))


def test_alpha_is_composited_on_white_or_kept() -> None:
    rgba = np.dstack([np.zeros((SIDE, SIDE, 3), np.uint8), np.full((SIDE, SIDE), 51, np.uint8)])
    data = saved(Image.fromarray(rgba), "PNG")
    assert np.array_equal(decode(data, config())[0], np.full((SIDE, SIDE, 3), 204, np.uint8))
    assert np.array_equal(decode(data, config(4))[0], rgba)
    opaque, _ = decode(saved(Image.fromarray(smooth()), "JPEG"), config(4))
    assert (opaque[:, :, 3] == 255).all()


def test_the_first_frame_is_read() -> None:
    frames = [Image.fromarray(np.full((SIDE, SIDE), value, np.uint8)) for value in (10, 200)]
    for kind in ("GIF", "TIFF", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        data = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert np.abs(decode(data, config(1))[0].astype(int) - 10).max() <= 1, kind


@pytest.mark.parametrize(
    ("fit", "black", "span"), [("squash", 0, 255), ("crop", 0, 130), ("pad", SIDE * SIDE // 2, 255)]
)
def test_how_a_rectangle_becomes_a_square(fit: str, black: int, span: int) -> None:
    wide = np.zeros((40, 80, 3), np.uint8)
    wide[:, :, 0] = np.linspace(0, 255, 80)
    wide[:, :, 1] = 255
    pixels, _ = decode(saved(Image.fromarray(wide), "PNG"), config(fit=fit))
    assert pixels.shape == (SIDE, SIDE, 3)
    assert int((pixels[:, :, 1] < 128).sum()) == black
    red = pixels[SIDE // 2, :, 0].astype(int)
    assert abs((red.max() - red.min()) - span) < 14


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (3, 1000)])
@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
def test_extreme_shapes(size: tuple[int, int], fit: str) -> None:
    data = saved(Image.fromarray(np.full((*size, 3), 77, np.uint8)), "PNG")
    pixels, _ = decode(data, config(fit=fit))
    assert pixels.shape == (SIDE, SIDE, 3)
    assert set(np.unique(pixels)) <= {0, 77} and 77 in pixels


@pytest.mark.shared
def test_scaled_decoding_is_within_two_levels_of_full_decoding_and_averaging(shared: Path) -> None:
    with zipfile.ZipFile(shared / "competitions" / "clothing" / "public.zip") as archive:
        names = [name for name in archive.namelist() if name.startswith("train/") and name.endswith(".jpg")][::25]
        photos = [archive.read(name) for name in names]
    full = [cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), 1), cv2.COLOR_BGR2RGB) for data in photos]
    for side in (24, 32, 48, 64, 96, 128, 133, 160, 224):
        expected = [cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA) for pixels in full]
        actual = [decode(data, config(side=side))[0] for data in photos]
        differences = [np.abs(a.astype(int) - e).mean() for a, e in zip(actual, expected, strict=True)]
        assert np.mean(differences) < 2.0, side


@pytest.mark.parametrize("height", [24, 40, 61, 100, 333])
@pytest.mark.parametrize("width", [24, 50, 97, 200])
def test_shrinking_averages_areas(height: int, width: int) -> None:
    noise = np.random.default_rng(0).normal(0, 20, (height, width, 3))
    pixels = (smooth(height, width) * 0.7 + 30 + noise).clip(0, 255).astype(np.uint8)
    expected = cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    actual = decode(saved(Image.fromarray(pixels), "PNG"), config())[0]
    assert np.abs(actual.astype(int) - expected).mean() < 4.0, "of noise, the worst there is"
    still = smooth(height, width)
    expected = cv2.resize(still, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    assert np.abs(decode(saved(Image.fromarray(still), "PNG"), config())[0].astype(int) - expected).mean() < 1.0


def test_a_box_is_cropped_and_clipped() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    cfg = ImageConfig(size=10)
    assert np.array_equal(decode(stream.getvalue(), cfg, "20 5 30 15")[0], pixels[5:15, 20:30])
    assert np.array_equal(decode(stream.getvalue(), cfg, "50 30 99 99")[0], pixels[30:, 50:])
    with pytest.raises(BadImage, match="lies outside its 60 x 40 pixels"):
        decode(stream.getvalue(), cfg, "60 0 70 10")


@pytest.mark.parametrize("shape", [(10, 10), (10, 10, 1), (10, 10, 3)])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_arrays_saved_by_numpy(shape: tuple[int, ...], kind: type) -> None:
    values = np.random.default_rng(0).integers(0, 256, shape).astype(kind) * (257 if kind is np.uint16 else 1)
    stream = io.BytesIO()
    np.save(stream, values)
    pixels, info = decode(stream.getvalue(), ImageConfig(size=10))
    expected = (values // (257 if kind is np.uint16 else 1)).reshape(10, 10, -1)
    assert np.array_equal(pixels, np.broadcast_to(expected, (10, 10, 3))) and info.format == "NPY"


@pytest.mark.parametrize("values", [np.zeros((10, 10)), np.zeros((3, 10, 10), np.uint8), np.array([{}])])
def test_arrays_that_are_no_images(values: np.ndarray) -> None:
    stream = io.BytesIO()
    np.save(stream, values, allow_pickle=True)
    with pytest.raises(BadImage):
        decode(stream.getvalue(), ImageConfig(size=10))


def deep(values: np.ndarray) -> bytes:
    return saved(Image.fromarray(values.astype(np.uint16)), "PNG")


def test_sixteen_bits_are_scaled_by_the_range_that_is_used(tmp_path: Path) -> None:
    """Twelve bits of sixteen keep 256 levels, by numpy's own arithmetic; half of the range or more is the full one."""
    ramp = np.linspace(500, 3800, SIDE * SIDE).reshape(SIDE, SIDE).round()
    files = {"a.png": deep(ramp), "b.png": deep(ramp[::-1] + 200), "c.png": saved(Image.fromarray(smooth()), "PNG")}
    for name, data in {**files, "broken.png": deep(ramp)[:60]}.items():
        (tmp_path / name).write_bytes(data)
    names = [*files, "broken.png", "missing.png"]
    assert find_range(tmp_path, names) == GreyRange(500, 4000)
    assert find_range(tmp_path, names[2:]) == FULL
    pixels = decode(files["a.png"], config(1), grey=GreyRange(500, 4000))[0][:, :, 0]
    assert np.array_equal(pixels, np.floor((ramp - 500) * 255 / 3500 + 0.5))
    assert decode(files["a.png"], config(1), grey=GreyRange(1000, 2000))[0].max() == 255
    assert np.array_equal(decode(files["a.png"], config(1))[0][:, :, 0], np.floor((ramp + 128) / 257))
    (tmp_path / "wide.png").write_bytes(deep(ramp * 10))
    assert find_range(tmp_path, ["a.png", "wide.png"]) == FULL
    np.save(tmp_path / "x.npy", ramp.astype(np.uint16))
    np.save(tmp_path / "y.npy", ramp.astype(np.float32))
    assert find_range(tmp_path, ["x.npy"]) == GreyRange(500, 3800) and find_range(tmp_path, ["y.npy"]) == FULL


@pytest.mark.parametrize(("kind", "num_channels"), [(".png", 3), (".png", 4), (".tiff", 3)])
def test_sixteen_bits_for_each_colour_too(tmp_path: Path, kind: str, num_channels: int) -> None:
    """Written by OpenCV, read by the range by numpy's arithmetic; by the full range as Pillow reads them."""
    colours = np.random.default_rng(0).integers(200, 3000, (SIDE, SIDE, 3)).astype(np.uint16)
    opaque = np.full((SIDE, SIDE, num_channels - 3), 65535, np.uint16)
    written, data = cv2.imencode(kind, np.concatenate([colours[:, :, ::-1], opaque], 2))
    (tmp_path / "a").write_bytes(data.tobytes())
    assert written and find_range(tmp_path, ["a"]) == GreyRange(int(colours.min()), int(colours.max()))
    pixels = decode(data.tobytes(), config(), grey=GreyRange(200, 3000))[0]
    assert np.array_equal(pixels, np.floor((colours.astype(float) - 200) * 255 / 2800 + 0.5))
    assert np.array_equal(decode(data.tobytes(), config())[0], colours >> 8)


def test_a_tiff_of_many_bands_is_refused_with_the_readers_reason(capfd: pytest.CaptureFixture[str]) -> None:
    bands, side, rows = 12, 4, []
    pixels = bytes(2 * bands * side * side)
    bits = struct.pack(f"<{bands}H", *[16] * bands)
    start = 8 + 2 + 10 * 12 + 4
    tags = [(256, side), (257, side), (258, start), (259, 1), (262, 1), (273, start + len(bits)), (277, bands)]
    for tag, value in [*tags, (278, side), (279, len(pixels)), (284, 1)]:
        rows.append(struct.pack("<HHII", tag, 3 if tag == 258 else 4, bands if tag == 258 else 1, value))
    data = b"II*\0" + struct.pack("<IH", 8, len(rows)) + b"".join(rows) + bytes(4) + bits + pixels
    with pytest.raises(
        BadImage, match="the reader of TIFF says: Invalid value for samples per pixel; convert its bands"
    ):
        decode(data, config())
    assert capfd.readouterr().err == ""
