"""The forecast of the time: said once, from the first steps."""

import logging

import pytest

from pipeline.engine import forecast
from pipeline.engine.forecast import Forecast, in_words


def test_it_is_said_once_and_leaves_the_warm_up_out(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    now = [0.0]
    monkeypatch.setattr(forecast.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(logging.getLogger("pipeline"), "info", lambda text, *values: said.append(text % values))
    told = Forecast(48_000, "5 models of 20 epochs")
    for seconds in (60.0, 60.0, *[1.0] * 20):  # the first steps compile, fill caches
        now[0] += seconds
        told.step(32)
    assert said == ["train: about 25 minutes for 5 models of 20 epochs, at 32 images/s"]


@pytest.mark.parametrize(("seconds", "words"), [(89, "89 seconds"), (600, "10 minutes"), (9000, "2.5 hours")])
def test_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
