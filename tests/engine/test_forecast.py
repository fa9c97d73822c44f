"""The forecast of the time: said once, from the first steps."""

import logging

import pytest

from pipeline.engine import forecast
from pipeline.engine.forecast import Forecast


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
    told = Forecast(48_000, 5, num_epochs, fewest)
    for seconds in (60.0, 60.0, *[1.0] * 20):  # the first steps compile, fill caches
        now[0] += seconds
        told.step(32)
    epochs = "1 epoch" if num_epochs == 1 else f"{num_epochs} epochs"
    assert said == [
        f"train: about 5.0 minutes for a model of {epochs}, 25 minutes for the 5 that are left, at 32 images/s{half}"
    ]
