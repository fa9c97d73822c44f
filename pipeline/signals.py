"""SIGTERM and Ctrl-C: a stage stops where it is, or after the step under way, so that nothing half-written is left."""

import contextlib
import math
import signal
import time
from collections.abc import Iterator
from typing import NoReturn

# Signals that follow each other so closely are one request.
_ONE_REQUEST_S = 1.0


class Stopped(BaseException):
    """The process was asked to stop by a signal."""

    def __init__(self, number: int) -> None:
        self.status = 128 + number


class _Signals:
    """Whether signals wait for the end of a step, the one that does, and when the last came (`time.monotonic`)."""

    wait = False
    waiting = 0
    last = -math.inf


@contextlib.contextmanager
def signals_stop() -> Iterator[None]:
    """Let SIGTERM and Ctrl-C raise `Stopped` here, at once or at the end of the step under way."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    _Signals.wait, _Signals.waiting, _Signals.last = False, 0, -math.inf
    before = [signal.signal(number, _stop) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _stop(number: int, frame: object) -> None:
    now = time.monotonic()
    if now - _Signals.last < _ONE_REQUEST_S:
        return  # Ctrl-C comes twice: from the terminal and through run.sh
    _Signals.last = now
    # Who asks again does not wait.
    if not _Signals.wait or _Signals.waiting:
        raise Stopped(number)
    _Signals.waiting = number


@contextlib.contextmanager
def stops_after_step() -> Iterator[None]:
    """Let a signal wait until `stop_now`: weights in the midst of a step could not be saved."""
    _Signals.wait = True
    try:
        yield
    finally:
        _Signals.wait = False
    if _Signals.waiting:
        stop_now()


def stop_requested() -> bool:
    """Whether a signal waits."""
    return bool(_Signals.waiting)


def stop_now() -> NoReturn:
    """Stop for the signal that waits; where none does, another process was asked to stop, and this one goes along."""
    number, _Signals.waiting = _Signals.waiting or signal.SIGTERM, 0
    raise Stopped(number)
