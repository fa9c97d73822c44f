"""Batches: every image once, right pixels, any order that the seed says, and no thread left behind."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from making import picture
from pipeline.competition.tables.table import read_train
from pipeline.config import AugmentConfig, Config
from pipeline.images import batches as module
from pipeline.images import cache, fill
from pipeline.images.augment.augment import Augment
from pipeline.images.augment.mix import Mixture
from pipeline.images.batches import Batches, Changes, load_pixels, on_device, prefetch, statistics
from pipeline.randomness import derived_seed, epoch_order, id_keys


@pytest.fixture
def images(competition: Callable[..., Config]) -> cache.Images:
    cfg = competition()
    return fill.decode_missing(cfg, "train", read_train(cfg).paths)


def batches(images: cache.Images, numbers: np.ndarray, size: int, **more: object) -> Batches:
    norm = ((0.5, 0.4, 0.3), (0.2, 0.25, 0.5))
    return Batches(images, numbers, size, 12, norm, torch.device("cpu"), torch.float32, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("batch_size", [1, 2, 5, 24, 100])
def test_every_image_comes_once_with_its_target(images: cache.Images, batch_size: int) -> None:
    numbers = np.random.default_rng(0).permutation(24)
    seen, targets = [], []
    for batch in batches(images, numbers, batch_size, targets=torch.arange(24)):
        assert batch.share is not None and batch.share.start == len(seen)
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        assert batch.targets is not None
        seen += list(batch.images)
        targets += batch.targets.tolist()
    assert targets == numbers.tolist()
    mean, std = np.array([0.5, 0.4, 0.3]), np.array([0.2, 0.25, 0.5])
    for number, image in zip(numbers, seen, strict=True):
        expected = (picture(number % 3, number) / 255 - mean) / std
        assert np.allclose(image.permute(1, 2, 0).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("batch_size", "num_images", "expected"),
    [(1, 3, [1, 1, 1]), (1, 1, [1]), (2, 5, [2, 3]), (4, 6, [4, 2]), (4, 1, [1]), (8, 17, [8, 9])],
)
def test_no_batch_is_of_one_image_unless_all_are(
    images: cache.Images, batch_size: int, num_images: int, expected: list[int]
) -> None:
    bounds = batches(images, np.arange(num_images), batch_size).bounds()
    assert [stop - start for start, stop in bounds] == expected


@pytest.mark.parametrize("batch_size", [1, 3, 7, 24])
def test_batches_that_are_augmented_together_are_those_of_each_alone(
    images: cache.Images, batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    augment = Augment(AugmentConfig(policy="autoaugment-cifar10", hflip=0.5, pad_crop=2, erasing=0.3), 12, 0)
    keys = id_keys([str(number) for number in range(24)])
    sizes = []

    def change(pixels: torch.Tensor, numbers: np.ndarray) -> torch.Tensor:
        sizes.append(len(pixels))
        return augment(pixels, keys[torch.from_numpy(numbers)], 0)

    order = np.random.default_rng(1).permutation(24)[:22]
    made = []
    for at_once in (1, 12 * 12 * 10, 1 << 19):
        monkeypatch.setattr(module, "PIXELS_AT_ONCE", at_once)
        made.append(list(batches(images, order, batch_size, targets=torch.arange(24), changes=Changes(augment=change))))
    assert max(sizes) == 22
    for one, two, three in zip(*made, strict=True):
        assert one.step == two.step == three.step
        for other in (two, three):
            assert torch.equal(one.images, other.images) and torch.equal(one.targets, other.targets)
            assert other.images.is_contiguous(memory_format=torch.channels_last)


def test_resident_pixels_make_the_same_batches(images: cache.Images) -> None:
    numbers = np.random.default_rng(0).permutation(24)[:21]
    resident = load_pixels(images, torch.device("cpu"))
    both = [list(batches(images, numbers, 5, targets=torch.arange(24), resident=pixels)) for pixels in (None, resident)]
    for one, other in zip(*both, strict=True):
        assert one.step == other.step
        assert torch.equal(one.images, other.images) and torch.equal(one.targets, other.targets)
    assert on_device(images, torch.device("cpu")) is None


def test_no_batch_of_one_is_left_over(images: cache.Images) -> None:
    sizes = [len(batch) for batch in batches(images, np.arange(21), 5)]
    assert sizes == [5, 5, 5, 6]
    assert [len(batch) for batch in batches(images, np.arange(1), 5)] == [1]


def test_change_sees_bytes_and_the_images_numbers(images: cache.Images) -> None:
    seen = []

    def change(pixels: torch.Tensor, numbers: np.ndarray) -> torch.Tensor:
        assert pixels.dtype == torch.uint8 and pixels.shape[1:] == (3, 12, 12)
        seen.extend(numbers.tolist())
        return 255 - pixels

    first = next(iter(batches(images, np.array([7, 3]), 2, changes=Changes(augment=change))))
    assert seen == [7, 3]
    inverted = (255 - images.gather(np.array([7, 3]))) / 255
    expected = torch.from_numpy((inverted - [0.5, 0.4, 0.3]) / [0.2, 0.25, 0.5]).permute(0, 3, 1, 2)
    assert torch.allclose(first.images.double(), expected, atol=1e-5)


def test_statistics_are_those_of_the_pixels(images: cache.Images) -> None:
    numbers = np.arange(3, 20)
    pixels = images.gather(numbers) / 255
    mean, std = statistics(images, numbers)
    assert np.allclose(mean, pixels.mean((0, 1, 2)))
    assert np.allclose(std, pixels.std((0, 1, 2)))


def test_the_order_is_the_seeds() -> None:
    numbers = np.arange(10, 40)
    orders = [
        epoch_order(numbers, *key) for key in [(0, 0, 0), (0, 0, 0), (1, 0, 0), (0, 1, 0), (0, "full", 0), (0, 0, 1)]
    ]
    assert all(sorted(order) == sorted(numbers) for order in orders)
    assert np.array_equal(orders[0], orders[1])
    assert len({tuple(order) for order in orders}) == 5


def test_keys_and_seeds_are_stable() -> None:
    assert id_keys(["a", "b"]).tolist() == id_keys(["b", "a"]).flip(0).tolist()
    assert derived_seed("order", 0, 1) == derived_seed("order", 0, 1) != derived_seed("order", 0, 11)
    assert derived_seed("a", 1, 11) != derived_seed("a", 11, 1)


def test_an_error_in_the_thread_is_raised_and_no_thread_stays() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        list(prefetch(items()))
    stopped = prefetch(iter(range(1000)))
    assert next(stopped) == 0
    stopped.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


def test_the_wait_for_images_and_for_their_changes_is_counted_apart_from_what_is_done_with_them(
    images: cache.Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("pipeline.stopwatch.time.perf_counter", lambda: now[0])

    def augment(pixels: torch.Tensor, indices: np.ndarray) -> torch.Tensor:
        now[0] += 2
        return pixels

    def mixture(indices: np.ndarray, step: int) -> Mixture:
        return Mixture(np.arange(len(indices)), 1.0, None)

    def mix(pixels: torch.Tensor, targets: torch.Tensor, *_: object) -> tuple[torch.Tensor, torch.Tensor]:
        now[0] += 1
        return pixels, targets

    monkeypatch.setattr(module, "mix", mix)
    monkeypatch.setattr(module, "PIXELS_AT_ONCE", 8 * 12 * 12)  # each batch is augmented by itself
    monkeypatch.setattr(module, "prefetch", lambda items: slowly(items, now))
    changes = Changes(augment=augment, mix=mixture)
    device, targets = torch.device("cpu"), torch.zeros(24, dtype=torch.int64)
    some = Batches(images, np.arange(24), 8, 12, None, device, torch.float32, targets, changes)
    for _ in some:
        now[0] += 100
    assert some.stopwatch.take() == {"gather": 3 * 5.0, "augment": 3 * (2.0 + 1.0)}


def slowly(items: Iterator[Any], now: list[float]) -> Iterator[Any]:
    for item in items:
        now[0] += 5
        yield item
