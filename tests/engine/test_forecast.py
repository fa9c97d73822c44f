"""The forecast of the time: said once, from the first steps; what is left, from what was measured so far."""

import logging
from collections.abc import Callable

import pytest
from torch import nn

from pipeline import folds, prepare, train
from pipeline.config import Config, TrainConfig
from pipeline.engine import forecast
from pipeline.engine.forecast import Forecast, Work
from pipeline.engine.training import Training
from running import CONFIG
from states import state_of


@pytest.mark.parametrize(
    ("num_epochs", "fewest", "half"),
    [
        (20, 0, ""),  # a limit is there already
        (20, 4, "; train.time_limit = '13m' would train about 8 epochs"),
        (6, 4, "; train.time_limit = '13m' would train about 4 epochs of smaller images"),
        (1, 1, "; train.time_limit = '13m' would train about 1 epoch of smaller images"),
    ],
)
def test_it_is_said_once_and_leaves_the_warm_up_out(
    num_epochs: int, fewest: int, half: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    now = [0.0]
    monkeypatch.setattr(forecast.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(logging.getLogger("pipeline"), "info", lambda text, *values: said.append(text % values))
    told = Forecast(Work([1.0] * num_epochs, 9_600 // num_epochs, 0.0, 0.0, 5), fewest)
    for seconds in (60.0, 60.0, *[1.0] * 20):  # the first steps compile, fill caches
        now[0] += seconds
        told.step(0, 32)
    epochs = "1 epoch" if num_epochs == 1 else f"{num_epochs} epochs"
    assert said == [
        f"train: about 5.0 minutes for a model of {epochs}, 25 minutes for the 5 that are left, at 32 images/s{half}"
    ]


def test_what_is_left_is_of_all_models_and_their_inference() -> None:
    # A model: 4 epochs of 100 images and 20 for the validation, then 60 for the test images: 540.
    told = Forecast(Work([1.0] * 4, 100, 20.0, 60.0, 3))
    assert told.left(0, 50) is None, "there is nothing to go on"
    told.end_epoch(0, 100, 12.0)  # ten a second
    assert told.left(1, 0) == pytest.approx((3 * 540 - 120) / 10)
    assert told.left(1, 50) == pytest.approx((3 * 540 - 170) / 10)
    told.end_epoch(1, 100, 36.0)  # somebody else works on the machine: five a second, over both
    assert told.left(2, 0) == pytest.approx((3 * 540 - 240) / 5)


def test_of_a_training_that_goes_on_only_what_was_measured_here_counts() -> None:
    told = Forecast(Work([1.0] * 4, 100, 20.0, 60.0, 1))
    told.end_epoch(2, 30, 5.0)  # it went on after 70 images of the third epoch: 50 in five seconds
    assert told.left(3, 0) == pytest.approx((540 - 360) / 10)
    assert told.left(3, 100) == pytest.approx((20 + 60) / 10), "its last validation, and inference"


def test_growing_images_count_by_their_pixels_and_frozen_epochs_tell_no_pace() -> None:
    told = Forecast(Work([0.25, 0.25, 1.0], 100, 0.0, 0.0, 1), frozen=1)
    told.end_epoch(0, 100, 0.1)
    assert told.left(1, 0) is None
    told.end_epoch(1, 100, 5.0)
    assert told.left(2, 0) == pytest.approx(20.0)


def test_the_first_steps_tell_the_pace_until_an_epoch_does(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(forecast.time, "perf_counter", lambda: now[0])
    told = Forecast(Work([1.0] * 2, 1_000, 0.0, 0.0, 1))
    for _ in range(4):
        now[0] += 1.0
        told.step(0, 10)
        assert told.left(0, 40) is None
    now[0] += 1.0
    told.step(0, 10)  # three steps in as many seconds, after two of warming up
    assert told.left(0, 50) == pytest.approx(1_950 / 10)
    told.end_epoch(0, 1_000, 50.0)
    assert told.left(1, 0) == pytest.approx(1_000 / 20)


def test_the_bar_says_what_is_left_the_loss_and_the_last_score() -> None:
    state = state_of(TrainConfig(num_epochs=4, batch_size=8), nn.Linear(2, 3), [8] * 3)
    training = Training(state, forecast=Forecast(Work([1.0] * 4, 24, 0.0, 0.0, 10)))
    assert training.in_short(0.5) == "loss 0.500"
    assert training.forecast is not None
    training.forecast.end_epoch(0, 24, 24.0)
    state.end_epoch({"epoch": 1, "train_score": 0.25, "valid_score": 0.75})
    state.step = 2
    # 960 images are to be seen by all models, 40 were, one a second.
    assert training.in_short(0.25) == "run 16m left, loss 0.250, accuracy 0.750"


def test_a_fold_alone_is_told_of_alone(competition: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    competition()
    counts: list[int] = []
    monkeypatch.setattr(train, "train", lambda cfg, fold, inputs, count: counts.append(count))
    assert prepare.main(CONFIG) == folds.main(CONFIG) == 0
    for asked, expected in (([], [2, 2]), (["--fold", "1"], [1]), (["--fold", "1", "--in-turn"], [2])):
        counts.clear()
        assert train.main([*CONFIG, *asked]) == 0
        assert counts == expected
