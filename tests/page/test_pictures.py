"""Pictures on a page: small ones as blocks of whole pixels, large ones as their own means, and both as wide as fits."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from making import smooth
from pipeline.page.blocks import Gallery, Picture, Section
from pipeline.page.pictures import shown
from pipeline.page.render import render


def opened(picture: Picture) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(picture.src.partition("base64,")[2])))


@pytest.mark.parametrize(("side", "width"), [(1, 128), (8, 128), (16, 128), (28, 112), (32, 128), (50, 100), (64, 128)])
def test_small_images_are_blocks_of_whole_pixels(side: int, width: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    picture = shown(pixels, "an image")
    assert picture.is_coarse and picture.width == width and width % side == 0
    assert picture.src.startswith("data:image/png")
    np.testing.assert_array_equal(np.asarray(opened(picture)), pixels)


@pytest.mark.parametrize("side", [65, 100, 128])
def test_what_is_between_is_as_large_as_it_is(side: int) -> None:
    picture = shown(smooth(side, side), "an image")
    assert not picture.is_coarse and picture.width == side and opened(picture).size == (side, side)


def test_large_images_are_means_of_their_pixels_not_some_of_them() -> None:
    # One pixel wide stripes: every second pixel of them would be black, or white.
    stripes = np.zeros((512, 512, 1), np.uint8)
    stripes[:, ::2] = 255
    picture = shown(stripes, "stripes")
    image = np.asarray(opened(picture)).astype(float)
    assert image.shape == (128, 128) and not picture.is_coarse and picture.width == 128
    assert np.abs(image[:, 8:-8] - 127.5).max() < 4


def test_the_longer_side_fits_and_a_page_shows_blocks_as_blocks() -> None:
    wide, large = shown(np.zeros((10, 40, 3), np.uint8), "wide"), shown(smooth(100, 400), "large")
    assert wide.width == 120 and large.width == 128 and opened(large).size == (128, 32)
    page = render("run", [], [Section("images", "Images", [Gallery("", [wide, large])])])
    assert 'alt="wide" width="120" class="coarse">' in page and 'alt="large" width="128">' in page
    assert ".gallery .coarse { image-rendering: pixelated; }" in page
