"""How long training will take, and the run with it, from its own pace. It is only said: nothing is decided by it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.durations import in_words, span_of
from pipeline.engine.limit import SHARE
from pipeline.log import log

_WARM_UP_STEPS = 2
_SECONDS = 3.0
# An image that is only predicted costs about a third of one that is trained on (Kaplan et al. 2020, section 2.1).
VALIDATION = 1 / 3


@dataclass(frozen=True)
class Rest:
    """What a run is to make: models that are left to train, the next one too, and test images, for each of them."""

    num_models: int
    num_test: int


@dataclass(frozen=True)
class Work:
    """What is left of a run from the beginning of a model on, counted in images that are trained on in their full size.

    parts: of an epoch each, what an image counts that is trained on: by its pixels, as images grow. Networks take no
        less time for a small one than that, so that the time left is rather said too long.
    num_train: images that an epoch trains on.
    predicted: what the validation of an epoch counts.
    inferred: what inference by the model counts.
    num_models: that are left, this one too.
    """

    parts: Sequence[float]
    num_train: int
    predicted: float
    inferred: float
    num_models: int

    def of_epoch(self, epoch: int) -> float:
        """An epoch of training, with its validation."""
        return self.parts[epoch] * self.num_train + self.predicted

    @property
    def of_model(self) -> float:
        """All of a model."""
        return sum(map(self.of_epoch, range(len(self.parts)))) + self.inferred

    def left(self, epoch: int, num_seen: int) -> float:
        """What is left once an epoch has trained on some images."""
        done = sum(map(self.of_epoch, range(epoch))) + (self.parts[epoch] * num_seen if num_seen else 0.0)
        return self.num_models * self.of_model - done


class Forecast:
    """Says once how long it will take, and what half of that time would do where nothing limits it yet; and for the
    progress bar, how long the run still takes, by the epochs so far, or by their first steps as long as there is none.

    Args:
        work: what is left.
        fewest: epochs below which a plan would rather make images smaller; 0 where there is a limit already.
        frozen: epochs in which the classifier alone learns: they are too fast to tell the pace of others.
    """

    def __init__(self, work: Work, fewest: int = 0, frozen: int = 0) -> None:
        self.work = work
        self.num_models, self.num_epochs = work.num_models, len(work.parts)
        self.fewest = fewest
        self.frozen = frozen
        self.num_steps = 0
        self.seen = self.start = 0.0
        self.said = False
        self.pace = 0.0  # work a second; 0: nothing says it yet
        self.epochs_work = self.epochs_seconds = 0.0

    def step(self, epoch: int, num_images: int) -> None:
        """Count a step of an epoch; called after each."""
        if self.said or epoch < self.frozen:
            return
        self.num_steps += 1
        if self.num_steps <= _WARM_UP_STEPS:
            self.start = time.perf_counter()
            return
        self.seen += self.work.parts[epoch] * num_images
        seconds = time.perf_counter() - self.start
        if seconds >= _SECONDS:
            self.said = True
            if not self.pace:
                self.pace = self.seen / seconds
            self._say(self.seen / seconds)

    def end_epoch(self, epoch: int, num_images: int, seconds: float) -> None:
        """Count an epoch, or what was left of it: the images that it trained on, and its seconds with validation."""
        if epoch < self.frozen:
            return
        self.epochs_work += self.work.parts[epoch] * num_images + self.work.predicted
        self.epochs_seconds += seconds
        self.pace = self.epochs_work / max(self.epochs_seconds, 1e-9)

    def left(self, epoch: int, num_seen: int) -> float | None:
        """The seconds that the run still takes, once an epoch has trained on some images; None: nothing says it yet."""
        return self.work.left(epoch, num_seen) / self.pace if self.pace else None

    def _say(self, pace: float) -> None:
        seconds = self.num_models * self.work.of_model / pace
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
