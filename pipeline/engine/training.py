"""What a pass in mode `train` works on: a state, where that is kept, and a forecast of how long the rest will take."""

from pipeline.engine.forecast import Forecast
from pipeline.engine.resume import Store
from pipeline.engine.state import TrainState
from pipeline.signals import stop_now, stop_requested


class Training:
    """A training under way.

    Args:
        state: of the training.
        validates: whether a validation follows each epoch.
        store: where the state is kept, to go on from; None: nowhere.
        forecast: says how long it will take; None: nobody does.
    """

    def __init__(
        self, state: TrainState, validates: bool, store: Store | None = None, forecast: Forecast | None = None
    ) -> None:
        self.state = state
        self.validates = validates
        self.store = store
        self.forecast = forecast

    @property
    def is_last_epoch(self) -> bool:
        """Whether no epoch follows the one under way."""
        return self.state.epoch + 1 == self.state.cfg.num_epochs

    def count_images(self, num_images: int) -> None:
        """Take note of a step's images, for the forecast."""
        if self.forecast is not None:
            self.forecast.step(num_images)

    def checkpoint_is_due(self) -> bool:
        """Whether the state is to be saved after this step: when it is time to, where the process is asked to stop, and
        after an epoch's last step, but where the epoch's end is saved right behind it.
        """
        if self.store is None or not self.state.is_between_updates:
            return False
        is_last_step = self.state.step == self.state.num_steps
        return stop_requested() or self.store.is_due or (is_last_step and (self.validates or self.is_last_epoch))

    def is_sound(self) -> bool:
        """Whether all losses and weights so far are finite, with a wait for the device."""
        return self.state.gathered.bad_step < 0 and self.state.is_finite()

    def save_checkpoint(self) -> None:
        """Have the state saved, and stop the process where it is asked to, once it is on the disk."""
        assert self.store is not None
        stop = stop_requested()
        self.store.save(self.state, wait=stop)
        if stop:
            stop_now()
