"""Hashes of images: of all pixels, of their look; each image's are made once."""

from collections.abc import Callable

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from making import smooth
from pipeline.audit import hashes
from pipeline.audit.hashes import FILE, hash_images, hash_pixels
from pipeline.competition.tables.table import read_train
from pipeline.config import Config
from pipeline.images import fill
from pipeline.images.cache import cache_dir
from pipeline.images.decode import BadImage
from pipeline.images.fill import decode_missing


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_look_is_the_difference_hash(channels: int) -> None:
    """By Pillow's box filter and plain comparisons, on an image whose 8 x 9 averages are whole numbers of pixels."""
    draw = np.random.default_rng(channels)
    averages = draw.permutation(72).reshape(8, 9) * 3 + 10
    image = np.kron(averages, np.ones((4, 4))).astype(np.uint8)
    pixels = np.repeat(image[:, :, None], channels, 2)
    small = np.asarray(Image.fromarray(image).resize((9, 8), Image.Resampling.BOX)).astype(int)
    bits = [int(small[row, column + 1] > small[row, column]) for row in range(8) for column in range(8)]
    assert hash_pixels(pixels)[1] == int("".join(map(str, bits)), 2)


def test_pixels_tell_images_apart_by_a_single_level() -> None:
    image = smooth(32, 32)
    other = image.copy()
    other[31, 31, 2] ^= 1
    assert hash_pixels(image) == hash_pixels(image.copy())
    assert hash_pixels(image)[0] != hash_pixels(other)[0] and hash_pixels(image)[1] == hash_pixels(other)[1]


def test_an_image_of_one_colour_says_nothing() -> None:
    noise = np.random.default_rng(0).integers(0, 9, (64, 64, 3), np.uint8)
    assert hash_pixels(noise)[2] and not hash_pixels(smooth(64, 64))[2]


def test_an_image_is_hashed_once(competition: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there is taken; what is new is added; a broken file is made again."""
    cfg = competition()
    samples, folder = read_train(cfg), cache_dir(cfg, "train")
    seen: list[int] = []
    original = hashes.hash_pixels
    monkeypatch.setattr(hashes, "hash_pixels", lambda pixels: (seen.append(1), original(pixels))[1])
    some = hash_images(decode_missing(cfg, "train", samples.keys[:20]), folder)
    assert len(seen) == 20 == len(some.look)
    images = decode_missing(cfg, "train", samples.keys)
    every = hash_images(images, folder)
    assert len(seen) == 24 and len(pq.read_table(folder / FILE)) == 24
    wanted = [original(pixels) for pixels in images.gather(np.arange(24))]
    assert list(zip(*(values.tolist() for values in every), strict=True)) == wanted
    (folder / FILE).write_bytes(b"broken")
    again = hash_images(images, folder)
    assert len(seen) == 48 and all((a == b).all() for a, b in zip(again, every, strict=True))


def test_what_cannot_be_read_today_is_hashed_when_it_can(
    competition: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newer reader, or more memory, may read the same bytes."""
    cfg = competition()
    keys, folder = read_train(cfg).keys[:1], cache_dir(cfg, "train")

    def refuse(*_: object, **__: object) -> None:
        raise BadImage("no reader knows it")

    with monkeypatch.context() as patch:
        patch.setattr(fill, "read_pixels", refuse)
        images = decode_missing(cfg, "train", keys)
        assert images.bad and hash_images(images, folder).is_plain[0]
    images = decode_missing(cfg, "train", keys)
    hashes = hash_images(images, folder)
    assert hashes.pixels[0] == hash_pixels(images.gather(np.arange(1))[0])[0] and not hashes.is_plain[0]
