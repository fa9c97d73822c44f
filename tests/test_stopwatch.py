"""The stopwatch: what passes in a part counts to it, and nothing else does."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from pipeline import stopwatch
from pipeline.stopwatch import Stopwatch


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that is set by hand."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(stopwatch, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    return clock


def test_parts_add_up_and_are_taken_once(clock: SimpleNamespace) -> None:
    watch = Stopwatch()
    for seconds in (1.0, 2.0):
        with watch.of("save"):
            clock.now += seconds
        clock.now += 10
    with pytest.raises(ValueError), watch.of("step"):
        clock.now += 4
        raise ValueError
    assert watch.take() == {"save": 3.0, "step": 4.0}
    assert watch.take() == {}


def test_the_wait_for_items_counts_and_what_is_done_with_them_does_not(clock: SimpleNamespace) -> None:
    def items() -> Iterator[int]:
        for seconds in (1.0, 2.0):
            clock.now += seconds
            yield int(seconds)
        clock.now += 4  # the last one is waited for too, to see that there is none

    watch, given = Stopwatch(), []
    for item in watch.waiting("gather", items()):
        given.append(item)
        clock.now += 100
    assert given == [1, 2] and watch.take() == {"gather": 7.0}
