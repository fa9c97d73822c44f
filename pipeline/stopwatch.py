"""How long what a loop waits for takes, part by part, by the clock of the processor: no device is waited for."""

import contextlib
import time
from collections.abc import Iterator
from typing import TypeVar

T = TypeVar("T")


class Stopwatch:
    """The seconds of some parts of a loop, by their names, since they were last taken."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def add(self, part: str, seconds: float) -> None:
        """Count seconds to a part."""
        self.seconds[part] = self.seconds.get(part, 0.0) + seconds

    @contextlib.contextmanager
    def of(self, part: str) -> Iterator[None]:
        """Count what is done in the context to a part."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.add(part, time.perf_counter() - began)

    def waiting(self, part: str, items: Iterator[T]) -> Iterator[T]:
        """Give the items, none of which is None, and count the wait for each to a part."""
        while True:
            with self.of(part):
                item = next(items, None)
            if item is None:
                return
            yield item

    def take(self) -> dict[str, float]:
        """Give the seconds of all parts, and begin anew."""
        taken, self.seconds = self.seconds, {}
        return taken
