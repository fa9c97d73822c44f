"""How long training will take, from the pace of its first steps. It is only said: nothing is decided by it."""

import time

from pipeline.durations import in_words, span_of
from pipeline.engine.limit import SHARE
from pipeline.log import log

_WARM_UP_STEPS = 2
_SECONDS = 3.0
# An image that is only predicted costs about a third of one that is trained on (Kaplan et al. 2020, section 2.1).
VALIDATION = 1 / 3


class Forecast:
    """Says once how long it will take, and what half of that time would do where nothing limits it yet.

    Args:
        num_images: that all of them will see, those that validate counted by a third.
        num_models: of the run that are left to train, this one too.
        num_epochs: of each.
        fewest: epochs below which a plan would rather make images smaller; 0 where there is a limit already.
    """

    def __init__(self, num_images: float, num_models: int, num_epochs: int, fewest: int = 0) -> None:
        self.num_images = num_images
        self.num_models = num_models
        self.num_epochs = num_epochs
        self.fewest = fewest
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
            self._say(self.num_seen / seconds)

    def _say(self, pace: float) -> None:
        seconds = self.num_images / pace
        what = f"a model of {epochs(self.num_epochs)}"
        if self.num_models > 1:
            what += f", {in_words(seconds)} for the {self.num_models} that are left"
        one = in_words(seconds / self.num_models)
        log.info("train: about %s for %s, at %.0f images/s%s", one, what, pace, self._half(seconds))

    def _half(self, seconds: float) -> str:
        """What a limit of half the time would do, about: all else than training counts little."""
        if not self.fewest:
            return ""
        num_epochs = int(SHARE * self.num_epochs / 2)
        smaller = " of smaller images" if num_epochs < self.fewest else ""
        shorter = f"{epochs(max(num_epochs, self.fewest))}{smaller}"
        return f"; train.time_limit = '{span_of(seconds / 2)}' would train about {shorter}"


def epochs(number: int) -> str:
    """Some epochs, in words."""
    return "1 epoch" if number == 1 else f"{number} epochs"
