"""A training under way: its state, where that is kept, and how long the rest will take."""

from pipeline.engine.forecast import Forecast
from pipeline.engine.resume import Store
from pipeline.engine.state import Row, TrainState
from pipeline.log import log
from pipeline.signals import stop_now, stop_requested


class Training:
    """What a pass in mode `train` works on.

    Args:
        state: of the training; only this class and `run_model` have it changed.
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

    def tell(self, num_images: int) -> None:
        """Take note of a step's images, for the forecast."""
        if self.forecast is not None:
            self.forecast.step(num_images)

    @property
    def _is_last_epoch(self) -> bool:
        return self.state.epoch + 1 == self.state.cfg.num_epochs

    def checkpoint_is_due(self) -> bool:
        """Whether the state is to be saved after this step: when it is time to, where the process is asked to stop, and
        after an epoch's last step, but where `end_epoch` saves right behind it.
        """
        if self.store is None or not self.state.is_between_updates:
            return False
        is_last_step = self.state.step == self.state.num_steps
        return stop_requested() or self.store.is_due or (is_last_step and (self.validates or self._is_last_epoch))

    def is_sound(self) -> bool:
        """Whether all losses and weights so far are finite; what is not is never saved."""
        return self.state.gathered.bad_step < 0 and self.state.is_finite()

    def save_checkpoint(self) -> bool:
        """Have the state saved, and stop the process where it is asked to; nothing is saved that is not sound.

        Returns:
            Whether it was.
        """
        assert self.store is not None
        if not self.is_sound():
            return False
        stop = stop_requested()
        self.store.save(self.state, wait=stop)
        if stop:
            stop_now()
        return True

    def begin(self, *, may_go_back: bool) -> None:
        """Go on from the state that was saved last; where there is none, save this one if it may be gone `back` to."""
        if self.store is None:
            return
        saved = self.store.load(self.state.machine.describe())
        if may_go_back and not self.store.has_epoch_end:
            self.store.save(self.state, epoch_end=True)
        if saved is not None:
            self.state.load_state_dict(saved)

    def end_epoch(self, row: Row) -> None:
        """Go on to the next epoch, and have the state saved as one to go `back` to.

        None after the last epoch: what was said of the fold then is no part of a state, and is said again.
        """
        is_last = self._is_last_epoch
        self.state.end_epoch(row)
        if self.store is not None and not is_last:
            self.store.save(self.state, epoch_end=True)

    def back(self, error: Exception) -> None:
        """Go back to the last epoch's end, and on at half the rate.

        Raises:
            InputError: its file is gone.
        """
        assert self.store is not None
        self.state.load_state_dict(self.store.load_epoch_end())
        self.state.halve_lr()
        where = f"the end of epoch {self.state.epoch}" if self.state.epoch else "its beginning"
        log.info("train %s: %s. It goes back to %s and on at half the rate", self.state.fold, error, where)
        self.store.save(self.state, epoch_end=True)
