"""What a pass in mode `train` works on: a state, where that is kept, and a forecast of how long the rest will take."""

from pipeline.durations import span_of
from pipeline.engine.forecast import Forecast
from pipeline.engine.resume import Store
from pipeline.engine.state import TrainState
from pipeline.processes import Requests
from pipeline.signals import stop_now, stop_requested
from pipeline.stopwatch import Stopwatch


class Training:
    """A training under way.

    Args:
        state: of the training.
        store: where the state is kept, to go on from; None: nowhere.
        forecast: says how long it will take; None: nobody does.
        stopwatch: counts what saving takes (`save`).
    """

    def __init__(
        self,
        state: TrainState,
        store: Store | None = None,
        forecast: Forecast | None = None,
        stopwatch: Stopwatch | None = None,
    ) -> None:
        self.state = state
        self.store = store
        self.forecast = forecast
        self.requests = Requests(state.members)
        self.must_stop, self.is_time = False, False
        self.stopwatch = stopwatch or Stopwatch()

    def count_images(self, num_images: int) -> None:
        """Take note of a step's images, for the forecast."""
        if self.forecast is not None:
            self.forecast.step(self.state.epoch, num_images)

    def in_short(self, loss: float) -> str:
        """Say for the progress bar how long the run still takes, the epoch's loss, and the score of the one before."""
        state, said = self.state, [f"loss {loss:.3f}"]
        left = self.forecast.left(state.epoch, sum(state.batch_sizes[: state.step])) if self.forecast else None
        if left is not None:
            said.insert(0, f"run {span_of(left)} left")
        row = state.history[-1] if state.history else {}
        score = row.get("valid_score", row.get("train_score"))
        if score is not None:
            said.append(f"{state.gathered.task.metric} {score:.3f}")
        return ", ".join(said)

    def checkpoint_is_due(self) -> bool:
        """Whether the state is to be saved after this step: when it is time to, after an epoch's last, and where a
        process is asked to stop. All processes of a team give the same answer, one step after they are asked.
        """
        if self.store is None:
            return False
        stops, is_time = self.requests.exchange((stop_requested(), self.store.is_due))
        self.must_stop, self.is_time = self.must_stop or stops, self.is_time or is_time
        if not self.state.is_between_updates:
            return False
        return self.is_time or self.must_stop or self.state.step == self.state.num_steps

    def is_sound(self) -> bool:
        """Whether all losses and weights so far are finite, in every process, with a wait for the device."""
        is_sound = self.state.gathered.bad_step < 0 and self.state.is_finite()
        return self.state.members.largest([int(not is_sound)]) == [0]

    def save_checkpoint(self) -> None:
        """Have the state saved, and stop the process where one is asked to, once it is on the disk."""
        assert self.store is not None
        self.is_time = False
        self.requests.forget()  # who asked for this too; who is to stop says so again
        with self.stopwatch.of("save"):
            self.store.save(self.state, wait=self.must_stop)
        if self.must_stop:
            self.state.members.meet()  # none is to be ended before the first has written
            stop_now()
