"""How long training will take, from the pace of its first steps. It is only said: nothing is decided by it."""

import time

from pipeline.log import log

_WARM_UP_STEPS = 2
_SECONDS = 3.0
# An image that is only predicted costs about a third of one that is trained on (Kaplan et al. 2020, section 2.1).
VALIDATION = 1 / 3


class Forecast:
    """Says once how long it will take.

    Args:
        num_images: that all the training to come will see, those that validate counted by a third.
        what: the training, in words.
    """

    def __init__(self, num_images: float, what: str) -> None:
        self.num_images = num_images
        self.what = what
        self.num_steps = self.num_seen = 0
        self.start = 0.0
        self.said = False

    def step(self, num_images: int) -> None:
        """Count a step; called after each."""
        if self.said:
            return
        self.num_steps += 1
        if self.num_steps <= _WARM_UP_STEPS:
            self.start = time.perf_counter()
            return
        self.num_seen += num_images
        seconds = time.perf_counter() - self.start
        if seconds >= _SECONDS:
            self.said = True
            pace = self.num_seen / seconds
            log.info("train: about %s for %s, at %.0f images/s", in_words(self.num_images / pace), self.what, pace)


def in_words(seconds: float) -> str:
    """A time span as one says it."""
    if seconds < 90:
        return f"{max(1, round(seconds))} seconds"
    return f"{round(seconds / 60)} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
