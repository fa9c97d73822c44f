"""The cache: every image decoded once, a changed one anew, a touched or copied one not at all."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from making import picture
from pipeline.competition.tables.table import read_train
from pipeline.config import Config
from pipeline.files import InputError
from pipeline.images import cache, fill
from pipeline.images.cache import cache_dir
from pipeline.images.decode import decode
from pipeline.images.grey import FULL, GreyRange


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that are decoded while a test runs."""
    paths: list[str] = []
    original = fill.read_pixels

    def spy(data: bytes, *arguments: Any, **named: Any) -> Any:
        root = Path("input/tiny")
        paths.extend(str(path.relative_to(root)) for path in root.rglob("*.png") if path.read_bytes() == data)
        return original(data, *arguments, **named)

    monkeypatch.setattr(fill, "read_pixels", spy)
    return paths


def test_every_image_is_decoded_once(competition: Callable[..., Config], decoded: list[str]) -> None:
    cfg = competition()
    paths = read_train(cfg).paths
    images = fill.decode_missing(cfg, "train", paths)
    assert sorted(decoded) == sorted(paths)
    again = fill.decode_missing(cfg, "train", paths)
    assert len(decoded) == len(paths)
    numbers = np.array([5, 0, 23, 5])
    for source in (images, again, cache.open_images(cfg, "train", paths)):
        assert np.array_equal(source.gather(numbers), np.stack([picture(n % 3, n) for n in numbers]))


def test_shards_are_filled_one_after_the_other(
    competition: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fill, "SHARD_IMAGES", 5)
    cfg = competition()
    images = fill.decode_missing(cfg, "train", read_train(cfg).paths)
    assert len(images.shards) == 5
    numbers = np.random.default_rng(0).permutation(24)
    assert np.array_equal(images.gather(numbers), np.stack([picture(n % 3, n) for n in numbers]))


def test_shards_are_files_that_numpy_maps(competition: Callable[..., Config]) -> None:
    cfg = competition()
    fill.decode_missing(cfg, "train", read_train(cfg).paths)
    mapped = np.load(cache_dir(cfg, "train") / "00000.npy", mmap_mode="r")
    assert mapped.shape == (24, 12, 12, 3) and mapped.dtype == np.uint8


def test_only_a_changed_image_is_decoded_anew(competition: Callable[..., Config], decoded: list[str]) -> None:
    cfg = competition()
    paths = read_train(cfg).paths
    before = fill.decode_missing(cfg, "train", paths)
    old = before.gather(np.arange(24))
    names = read_train(cfg).ids
    shutil.copy(cfg.root / paths[1], cfg.root / paths[0])
    os.utime(cfg.root / paths[2])
    decoded.clear()
    after = fill.decode_missing(cfg, "train", paths)
    assert decoded == []  # the first has the second's bytes, the third was touched only
    assert np.array_equal(after.gather(np.array([0])), old[[1]])
    from PIL import Image

    Image.fromarray(picture(3, 99)).save(cfg.root / paths[5])
    third = fill.decode_missing(cfg, "train", paths)
    assert decoded == [paths[5]]
    assert np.array_equal(third.gather(np.array([5]))[0], picture(3, 99))
    assert np.array_equal(before.gather(np.arange(24)), old), "rows that others have mapped are not overwritten"
    assert len({images.identity(range(24), names) for images in (before, after, third)}) == 3


def test_identity_ignores_order_and_time(competition: Callable[..., Config]) -> None:
    cfg = competition()
    samples = read_train(cfg)
    images = fill.decode_missing(cfg, "train", samples.paths)
    assert images.identity([1, 2], samples.ids) == images.identity([2, 1], samples.ids)
    assert images.identity([1, 2], samples.ids) != images.identity([1, 3], samples.ids)


def test_a_killed_decoding_goes_on(
    competition: Callable[..., Config], decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fill, "SHARD_IMAGES", 5)
    cfg = competition()
    paths = read_train(cfg).paths
    original = fill.write_index
    calls = []

    def dies(*arguments: object) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(fill, "write_index", dies)
    with pytest.raises(KeyboardInterrupt):
        fill.decode_missing(cfg, "train", paths)
    monkeypatch.setattr(fill, "write_index", original)
    decoded.clear()
    images = fill.decode_missing(cfg, "train", paths)
    assert len(decoded) == 14
    assert np.array_equal(images.gather(np.arange(24)), np.stack([picture(n % 3, n) for n in range(24)]))


def test_a_bad_image_is_listed_and_never_replaced(competition: Callable[..., Config]) -> None:
    cfg = competition()
    paths = read_train(cfg).paths
    (cfg.root / paths[3]).write_bytes(b"no image")
    images = fill.decode_missing(cfg, "train", paths)
    assert list(images.bad) == [3]
    assert not images.gather(np.array([3])).any()


def limited(competition: Callable[..., Config], num_images: int) -> Config:
    """A competition of whose 24 train images of 12 px so many may be kept."""
    return competition(f"image.cache_limit={(num_images + 0.5) * 12 * 12 * 3 / 1e9:.9f}")


@pytest.mark.parametrize("num_kept", [0, 10])
def test_what_has_no_room_is_decoded_when_asked_for_to_the_same_pixels(
    competition: Callable[..., Config], num_kept: int
) -> None:
    cfg = limited(competition, num_kept)
    paths = read_train(cfg).paths
    (cfg.root / paths[20]).write_bytes(b"no image")
    (cfg.root / paths[1]).write_bytes(b"none either")
    some = np.array([5, 0, 23, 1, 12, 5, 20])
    images = fill.decode_missing(cfg, "train", paths)
    assert images.num_stored == num_kept
    assert sorted(images.bad) == [1, 20]
    kept = images.gather(some)
    free = cfg.model_copy(update={"image": cfg.image.model_copy(update={"cache_limit": 0.0})})
    assert cache_dir(free, "train") == cache_dir(cfg, "train")
    more = fill.decode_missing(free, "train", paths)
    assert more.num_stored == 24, "there is room by now"
    assert np.array_equal(kept, more.gather(some))
    assert images.identity(range(24), paths) == more.identity(range(24), paths)


def test_a_full_disk_keeps_nothing(competition: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fill, "DISK_RESERVE", 10**18)
    cfg = competition()
    images = fill.decode_missing(cfg, "train", read_train(cfg).paths)
    assert images.num_stored == 0 and not list(cache_dir(cfg, "train").glob("*.npy"))


def test_a_file_that_is_not_kept_and_has_changed_is_refused(competition: Callable[..., Config]) -> None:
    cfg = limited(competition, 0)
    paths = read_train(cfg).paths
    images = fill.decode_missing(cfg, "train", paths)
    shutil.copy(cfg.root / paths[1], cfg.root / paths[0])
    with pytest.raises(InputError, match=r"has changed\. Run: python -m pipeline.prepare"):
        images.gather(np.array([0]))


def test_images_that_are_not_there_name_the_stage(competition: Callable[..., Config]) -> None:
    cfg = competition()
    with pytest.raises(InputError, match=r"24 of 24 train images are not in .*python -m pipeline.prepare"):
        cache.open_images(cfg, "train", read_train(cfg).paths)


def test_a_shard_that_was_changed_is_refused(competition: Callable[..., Config]) -> None:
    cfg = competition()
    paths = read_train(cfg).paths
    fill.decode_missing(cfg, "train", paths)
    file = cache_dir(cfg, "train") / "00000.npy"
    os.utime(file, (0, 0))
    cache.open_images(cfg, "train", paths)
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    os.utime(file, (2e9, 2e9))  # the clock of a file system may not have gone on since
    with pytest.raises(InputError, match="is not what was written"):
        cache.open_images(cfg, "train", paths)
    file.unlink()
    with pytest.raises(InputError, match="is missing"):
        cache.open_images(cfg, "train", paths)


def test_the_folder_depends_on_what_the_pixels_depend_on(competition: Callable[..., Config]) -> None:
    one = cache_dir(competition(), "train")
    assert one == cache_dir(competition("train.lr=0.5", "image.margin=1.0"), "train")
    others = ["image.size=13", "image.channels=1", "image.fit=pad", "data.root=input"]
    folders = {one, cache_dir(competition(), "test"), *(cache_dir(competition(other), "train") for other in others)}
    assert len(folders) == 6
    assert all(Path("output/cache") in folder.parents for folder in folders)


def test_a_box_is_another_image_of_its_file(competition: Callable[..., Config]) -> None:
    cfg = competition("image.size=6")
    whole = fill.decode_missing(cfg, "train", ["train/000.png"])
    left = fill.decode_missing(cfg, "train", ["train/000.png\x000 0 6 6"])
    right = fill.decode_missing(cfg, "train", ["train/000.png\x006 0 12 6"])
    first = np.zeros(1, np.int64)
    pixels = [images.gather(first) for images in (whole, left, right)]
    with Image.open(cfg.root / "train/000.png") as image:
        assert np.array_equal(pixels[1][0], np.asarray(image)[:6, :6])
        assert np.array_equal(pixels[2][0], np.asarray(image)[:6, 6:12])
    assert not np.array_equal(pixels[0], pixels[1])
    both = cache.open_images(cfg, "train", ["train/000.png\x006 0 12 6", "train/000.png"])
    assert np.array_equal(both.gather(np.arange(2)), np.concatenate([pixels[2], pixels[0]]))


def test_several_boxes_of_an_image_are_one_decoding(competition: Callable[..., Config], decoded: list[str]) -> None:
    cfg = competition()
    paths = read_train(cfg).paths
    boxes = ["0 0 6 6", "6 0 12 6", "0 6 12 12", "20 20 30 30"]
    keys = [f"{path}\0{box}" for box in boxes for path in paths]
    images = fill.decode_missing(cfg, "train", keys)
    assert sorted(decoded) == sorted(paths)
    rows = images.gather(np.arange(len(keys)))
    for number, key in enumerate(keys):
        path, _, box = key.partition("\0")
        if box == boxes[3]:
            assert "lies outside" in images.bad[number]
        else:
            expected, _ = decode((cfg.root / path).read_bytes(), cfg.image, box)
            assert np.array_equal(rows[number], expected)
    assert np.array_equal(cache.open_images(cfg, "train", keys[::-1]).gather(np.arange(len(keys))), rows[::-1])


def test_pixels_of_another_range_of_grey_values_are_other_images(competition: Callable[..., Config]) -> None:
    """They lie in another folder, and models know that they were trained with others."""
    cfg, narrow = competition(), GreyRange(100, 900)
    images = fill.decode_missing(cfg, "train", ["train/000.png"])
    other = fill.decode_missing(cfg, "train", ["train/000.png"], narrow)
    assert cache_dir(cfg, "train") == cache_dir(cfg, "train", FULL) != cache_dir(cfg, "train", narrow)
    assert images.identity([0], ["a"]) != other.identity([0], ["a"]) and other.grey == narrow
    # 8 bits are 8 bits.
    assert np.array_equal(images.gather(np.array([0])), other.gather(np.array([0])))
