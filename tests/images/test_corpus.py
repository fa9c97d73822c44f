"""Image files of every kind, made by code and collected: right pixels by an independent reading, or a reason."""

import io
import os
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from making import saved, smooth
from pipeline.config import ImageConfig
from pipeline.images.decode import MAX_PIXELS, BadImage, decode

SIDE = 24
ROOT = Path(__file__).parent.parent.parent


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(Image.fromarray(smooth(32, 48)), "JPEG", exif=exif, quality=95)


def corpus() -> dict[str, bytes]:
    """Files by name; those whose name begins with `bad` are to be refused."""
    rgb = Image.fromarray(smooth())
    alpha = np.dstack([smooth(), np.linspace(0, 255, SIDE * SIDE).reshape(SIDE, SIDE).astype(np.uint8)])
    rgba, black = Image.fromarray(alpha), Image.new("RGB", (SIDE, SIDE))
    deep = Image.fromarray((np.arange(SIDE * SIDE).reshape(SIDE, SIDE) * 113).astype(np.uint16))
    palette = rgb.convert("P", palette=Image.Palette.ADAPTIVE)
    clear = palette.copy()
    clear.info["transparency"] = 3
    jpeg, png = saved(rgb, "JPEG", quality=95), saved(rgb, "PNG")
    files = {
        **{f"orientation {number}.jpg": turned(number) for number in range(1, 9)},
        "cmyk.jpg": saved(rgb.convert("CMYK"), "JPEG", quality=100, subsampling=0),
        "cmyk.tif": saved(rgb.convert("CMYK"), "TIFF"),
        "grey.jpg": saved(rgb.convert("L"), "JPEG", quality=95),
        "grey.png": saved(rgb.convert("L"), "PNG"),
        "progressive.jpg": saved(rgb, "JPEG", quality=95, progressive=True),
        "subsampled.jpg": saved(rgb, "JPEG", quality=95, subsampling=2),
        "16 bit.png": saved(deep, "PNG"),
        "16 bit.tif": saved(deep, "TIFF"),
        "palette.png": saved(palette, "PNG"),
        "palette.gif": saved(palette, "GIF"),
        "palette with a clear colour.png": saved(palette, "PNG", transparency=3),
        "alpha.png": saved(rgba, "PNG"),
        "alpha.webp": saved(rgba, "WEBP", lossless=True, exact=True),
        "grey and alpha.png": saved(rgba.convert("LA"), "PNG"),
        "1 bit.png": saved(rgb.convert("1"), "PNG"),
        "1 bit.tif": saved(rgb.convert("1"), "TIFF", compression="group4"),
        "animated.gif": saved(palette, "GIF", save_all=True, append_images=[black], duration=10),
        "animated.webp": saved(rgb, "WEBP", lossless=True, save_all=True, append_images=[black]),
        "animated.png": saved(rgb, "PNG", save_all=True, append_images=[black]),
        "plain.bmp": saved(rgb, "BMP"),
        "palette.bmp": saved(palette, "BMP"),
        "several pages.tif": saved(rgb, "TIFF", save_all=True, append_images=[black]),
        "lzw.tif": saved(rgb, "TIFF", compression="tiff_lzw"),
        "png named.jpg": png,
        "jpeg named.png": jpeg,
        "1x1.png": saved(Image.new("RGB", (1, 1), (9, 8, 7)), "PNG"),
        "1x20000.png": saved(Image.new("RGB", (1, 20_000), (9, 8, 7)), "PNG"),
        "20000x1.jpg": saved(Image.new("RGB", (20_000, 1), (9, 8, 7)), "JPEG", quality=95),
        "bytes after the end.jpg": jpeg + b"more",
        "bad empty.jpg": b"",
        "bad text.jpg": b"id,label\n1,2\n",
        "bad html.png": b"<html><body>404</body></html>",
        "bad beginning.jpg": b"\xff\xd8\xff\xe0",
        "bad bomb.png": saved(Image.new("1", (30_000, 30_000)), "PNG"),
    }
    for kind, options in (
        ("PNG", {}),
        ("JPEG", {"quality": 95}),
        ("BMP", {}),
        ("GIF", {}),
        ("WEBP", {"lossless": True}),
    ):
        whole = saved(Image.fromarray(smooth(64, 64)), kind, **options)
        files |= {f"bad {tenth} tenths.{kind.lower()}": whole[: len(whole) * tenth // 10] for tenth in range(1, 10)}
    return files


CORPUS = corpus()


def read_apart(data: bytes) -> np.ndarray | None:
    """An independent reading by the rule, uint8 (height, width, 3); None for modes that Pillow gives no RGB of."""
    warnings.simplefilter("ignore")  # of broken metadata; pytest puts the filters back
    with Image.open(io.BytesIO(data)) as image:
        image.seek(0)
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I;16"):
            return np.repeat(np.round(np.asarray(upright).astype(float) / 257)[:, :, None], 3, 2).astype(np.uint8)
        if upright.mode in ("I", "F", "La", "RGBa", "LAB", "HSV"):
            return None
        if upright.mode in ("LA", "PA", "RGBA") or "transparency" in upright.info:
            whole = upright.convert("RGBA")
            return np.asarray(Image.alpha_composite(Image.new("RGBA", whole.size, "white"), whole).convert("RGB"))
        return np.asarray(upright.convert("RGB"))


def difference(data: bytes, side: int, cells: int) -> float | None:
    """Mean absolute difference in levels from the independent reading, over cells x cells means (of dithered pictures
    every way to shrink gives other pixels); None where that cannot say.
    """
    pixels, _ = decode(data, ImageConfig(size=side))
    assert pixels.shape == (side, side, 3) and pixels.dtype == np.uint8
    expected = read_apart(data)
    if expected is None or min(expected.shape[:2]) < side:
        return None
    shrunk = cv2.resize(expected, (side, side), interpolation=cv2.INTER_AREA)
    means = (cv2.resize(each, (cells, cells), interpolation=cv2.INTER_AREA).astype(int) for each in (pixels, shrunk))
    return float(np.abs(next(means) - next(means)).mean())


@pytest.mark.parametrize("name", CORPUS)
def test_a_file_is_read_to_the_right_pixels_or_refused(name: str) -> None:
    data = CORPUS[name]
    if name.startswith("bad"):
        with pytest.raises(BadImage) as refused:
            decode(data, ImageConfig(size=SIDE))
        assert str(refused.value) and "\n" not in str(refused.value)
        return
    if name.startswith(("1x", "20000x")):
        pixels, _ = decode(data, ImageConfig(size=SIDE))
        assert np.abs(pixels.astype(int) - (9, 8, 7)).max() <= 2
        return
    found = difference(data, SIDE, SIDE)
    assert found is not None and found < (2.0 if b"JFIF" in data[:20] or "cmyk" in name else 0.51), found


@pytest.mark.shared
def test_files_that_were_collected_are_read_to_the_right_pixels_or_refused(
    shared: Path, record_property: Callable[[str, object], None]
) -> None:
    wrong, compared, refused, silent = {}, 0, 0, 0
    with zipfile.ZipFile(shared / "odd_images" / "odd_images.zip") as archive:
        names = [name for name in archive.namelist() if not name.endswith(("/", ".md", ".txt", "LICENSE", ".markdown"))]
        for name in names:
            try:
                found = difference(archive.read(name), SIDE, SIDE // 4)
            except BadImage as error:
                assert str(error), name
                refused += 1
                continue
            compared += found is not None
            silent += found is None
            if found is not None and found >= 2.0:
                wrong[name] = found
    record_property("tried", len(names))
    print(f"{len(names)} files: {compared} compared, {silent} read and not compared, {refused} refused")
    assert compared > 120 and not wrong


MEMORY = """
import resource, sys
from making import black_png
from pipeline.config import ImageConfig
from pipeline.images.decode import BadImage, decode
sides = [int(side) for side in sys.argv[1:]]
images = [black_png(side) for side in sides]
decode(black_png(100), ImageConfig(size=24))
for image in images:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        read = decode(image, ImageConfig(size=24))[0].shape
    except BadImage as error:
        read = str(error)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024, read)
"""


def test_reading_takes_no_more_memory_than_it_says() -> None:
    """A bomb costs nothing; the largest image that is read, 2**27 pixels, its pixels a few times."""
    command = [sys.executable, "-c", MEMORY, "30000", str(int(MAX_PIXELS**0.5))]
    paths = (str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", ""))
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(command, capture_output=True, text=True, env=environ)
    assert done.returncode == 0, done.stderr
    bomb, largest = done.stdout.splitlines()
    assert "DecompressionBombError" in bomb and int(bomb.split()[0]) < 20e6, bomb
    assert largest.endswith("(24, 24, 3)") and int(largest.split()[0]) < 4 * 3 * MAX_PIXELS, largest
