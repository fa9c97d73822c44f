"""What fits into a time limit: by paces and work that are given, against sums done by hand."""

import pytest

from pipeline.config import Config
from pipeline.config_file import check
from pipeline.engine.limit import (
    Pace,
    Work,
    epochs_within,
    fewest_epochs,
    most_epochs,
    seconds,
    smaller_sizes,
    with_epochs,
    with_size,
)

PACE = Pace(start=2.0, first_image=0.01, full_image=0.01, predicted_image=0.002, validation=0.25, saving=0.125)
WORK = Work(num_models=5, num_train=4000, num_valid=1000, num_test=500)


def settings(**sections: dict) -> Config:
    return check(sections)


def test_all_that_a_run_does_takes_its_time() -> None:
    # An epoch of all folds: 40 s of training, 2 s of validation, and 5 x (0.25 + 2 x 0.125) s around it. A model:
    # 2 x 2 s to build it, in training and for inference, 0.125 s to write it, 1 s for the test images. Then 3 s.
    assert seconds(settings(), WORK, PACE, 1) == pytest.approx(44.5 + 5 * 5.125 + 3)
    assert seconds(settings(), WORK, PACE, 7) == pytest.approx(7 * 44.5 + 5 * 5.125 + 3)


def test_the_probe_takes_its_time_once_and_smaller_images_another_classifier() -> None:
    """250 images of 0.002 s, the network built in 2 s, and 4 s of fitting, where images are smaller than asked for."""
    cfg = settings(image={"size": 64})
    work = Work(5, 4000, 1000, 500, probe=30.0, num_fitted=250, fitting=4.0)
    without = seconds(cfg, WORK, PACE, 1)
    assert seconds(cfg, work, PACE, 1) == pytest.approx(without + 30)
    assert seconds(with_size(cfg, 32), work, PACE, 1) == pytest.approx(without + 30 + 2 + 0.5 + 4)
    assert seconds(with_size(cfg, 32), Work(5, 4000, 1000, 500, 30.0), PACE, 1) == pytest.approx(without + 30)


def test_growing_images_cost_what_their_pixels_do() -> None:
    """From half the side to the whole in the first half of the epochs: 32, 48, 64 and 64 px."""
    cfg = settings(image={"size": 64}, augment={"first_size": 0.5, "full_size_from": 0.5})
    pace = Pace(start=0.0, first_image=0.01, full_image=0.04, predicted_image=0.0, validation=0.0, saving=0.0)
    pixels = [32**2, 48**2, 64**2, 64**2]
    assert seconds(cfg, Work(1, 100, 0, 0), pace, 4) == pytest.approx(
        sum(100 * 0.04 * each / 64**2 for each in pixels) + 3
    )


@pytest.mark.parametrize(
    ("allowed", "num_epochs"),
    [(-5.0, 0), (73.0, 0), (73.2, 1), (117.6, 1), (117.7, 2), (7 * 44.5 + 28.7, 7), (1e9, 40)],
)
def test_as_many_epochs_as_fit(allowed: float, num_epochs: int) -> None:
    assert epochs_within(settings(train={"num_epochs": 10}), WORK, PACE, allowed) == num_epochs


@pytest.mark.parametrize(
    ("asked", "pretrained", "fewest", "most"),
    [(10, False, 4, 40), (10, True, 3, 12), (2, True, 2, 12), (1, False, 1, 40), (60, True, 3, 60)],
)
def test_epochs_stay_within_what_the_recipes_call_of_use(asked: int, pretrained: bool, fewest: int, most: int) -> None:
    cfg = settings(train={"num_epochs": asked}, model={"pretrained": pretrained})
    assert (fewest_epochs(cfg), most_epochs(cfg)) == (fewest, most)
    by_file = settings(train={"num_epochs": asked}, model={"weights": "mine.pth" if pretrained else ""})
    assert (fewest_epochs(by_file), most_epochs(by_file)) == (fewest, most)


@pytest.mark.parametrize(
    ("size", "margin", "sizes"),
    [
        (224, 1.0, [192, 160, 128]),
        (128, 1.15, [96, 64]),
        (96, 1.0, [64]),
        (64, 1.0, [32]),
        (32, 1.0, [28, 24, 20, 16]),
        (128, 3.0, [96]),  # 384 px are kept: no less than a quarter of it
        (5, 1.0, [4]),
        (1, 1.0, []),
    ],
)
def test_smaller_images_come_from_the_same_cache(size: int, margin: float, sizes: list[int]) -> None:
    cfg = settings(image={"size": size, "margin": margin})
    assert smaller_sizes(cfg.image) == sizes
    for smaller in sizes:
        changed = with_size(cfg, smaller)
        assert changed.image.stored == cfg.image.stored and changed.image.size == smaller
        assert check(changed.model_dump(mode="json")) == check({"image": changed.image.model_dump()})


def test_every_cache_keeps_its_size() -> None:
    for stored in range(1, 1200, 29):
        cfg = settings(image={"size": stored})
        assert all(with_size(cfg, size).image.stored == stored for size in range(-(-stored // 4), stored + 1))


@pytest.mark.parametrize(("num_epochs", "freeze", "step"), [(20, 2, 6), (5, 0, 2), (10, 1, 3), (40, 4, 12), (1, 0, 1)])
def test_what_is_counted_in_epochs_follows(num_epochs: int, freeze: int, step: int) -> None:
    cfg = settings(train={"num_epochs": 10, "freeze_epochs": 1, "step_epochs": 3, "schedule": "step"})
    train = with_epochs(cfg, num_epochs).train
    assert (train.num_epochs, train.freeze_epochs, train.step_epochs) == (num_epochs, freeze, step)


@pytest.mark.parametrize("num_epochs", [1, 2, 3])
def test_some_epoch_is_left_for_all_to_learn(num_epochs: int) -> None:
    cfg = with_epochs(settings(train={"num_epochs": 10, "freeze_epochs": 9}), num_epochs)
    assert check(cfg.model_dump(mode="json")).train.freeze_epochs == num_epochs - 1
