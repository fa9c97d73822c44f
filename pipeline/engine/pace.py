"""How fast this machine trains and predicts: a network that is thrown away does a little of both."""

import tempfile
import time
from dataclasses import replace
from pathlib import Path

from pipeline.competition.folds.fold_table import Labelled
from pipeline.config import Config
from pipeline.engine.fit import Trainer
from pipeline.engine.limit import Pace
from pipeline.engine.machine import SMALLER, memory_named
from pipeline.engine.predict import predict
from pipeline.engine.resume import Store
from pipeline.engine.run_model import run_model
from pipeline.images.cache import Images
from pipeline.log import errors_alone
from pipeline.paths import all_folds, run_dir


def measure(cfg: Config, labelled: Labelled, images: Images, enough: float) -> Pace:
    """Measure the pace of a run, by its first model.

    Args:
        cfg: the settings.
        labelled: the labelled images with their folds.
        images: their pixels, in the same order.
        enough: seconds after which a part is measured.

    Raises:
        ConfigError, InputError: what training would raise.
        TooLittleMemory: the network or a batch does not fit; what to change.
    """
    # While the classifier alone learns, steps take less time than later.
    all_learn = cfg.model_copy(update={"train": cfg.train.model_copy(update={"freeze_epochs": 0})})
    fold = all_folds(cfg)[0]
    with errors_alone(), memory_named("to train", SMALLER):
        # The first one imports libraries and compiles kernels, which no later one does.
        _warm_up(Trainer(all_learn, fold, labelled, images))
        began = time.perf_counter()
        trainer = Trainer(all_learn, fold, labelled, images)
        start = time.perf_counter() - began
        first_image = _trained(trainer, 0, enough)
        grows = trainer.start.sizes[0] < cfg.image.size
        full_image = _trained(trainer, cfg.train.num_epochs - 1, enough) if grows else first_image
        validation, predicted_image = _predicted(trainer, enough)
        return Pace(start, first_image, full_image, predicted_image, validation, _saved(cfg, trainer))


def _warm_up(trainer: Trainer) -> None:
    _run(trainer, 0, trainer.batches(0).num_together)
    _predicted(trainer, 0.0)


def _run(trainer: Trainer, epoch: int, num_steps: int) -> int:
    """Train some steps of images as an epoch has them, up to its last; returns their images. Waits for the device."""
    state, batches = trainer.training.state, trainer.batches(epoch)
    if state.step == state.num_steps:
        state.end_epoch({})
    bounds, first = batches.bounds(), state.step
    stop = min(first + num_steps, len(bounds))
    some = replace(batches, indices=batches.indices[: bounds[stop - 1][1]], name="plan")
    run_model(state.model, some, "train", trainer.machine, state.gathered, trainer.loss, trainer.training)
    trainer.training.is_sound()
    return bounds[stop - 1][1] - bounds[first][0]


def _trained(trainer: Trainer, epoch: int, enough: float) -> float:
    """Seconds for an image that is trained on, in an epoch."""
    num_steps, num_images, seconds = trainer.batches(epoch).num_together, 0, 0.0
    while not num_images or seconds < enough:
        began = time.perf_counter()
        num_images += _run(trainer, epoch, num_steps)
        seconds += time.perf_counter() - began
        num_steps *= 2
    return seconds / num_images


def _predicted(trainer: Trainer, enough: float) -> tuple[float, float]:
    """Seconds to make the network ready to predict, and for an image that it predicts."""
    began = time.perf_counter()
    predictor = trainer.predictor()
    ready = time.perf_counter() - began
    indices, infer = trainer.train_indices, trainer.cfg.infer
    batches = predictor.batches(trainer.images, indices, infer, "plan", resident=trainer.resident)
    num_asked, num_images, seconds = batches.batch_size, 0, 0.0
    while not num_images or seconds < enough:
        some = replace(batches, indices=batches.indices[:num_asked])
        began = time.perf_counter()
        predict([predictor], some, infer)
        seconds += time.perf_counter() - began
        num_images += len(some.indices)
        num_asked *= 2
    return ready, seconds / num_images


def _saved(cfg: Config, trainer: Trainer) -> float:
    """Seconds to save a state, on the disk on which it will be."""
    with tempfile.TemporaryDirectory(dir=run_dir(cfg), prefix=".plan.", suffix=".tmp") as folder:
        store = Store(Path(folder), {}, cfg.train.checkpoint_minutes)
        began = time.perf_counter()
        try:
            store.save(trainer.training.state, wait=True)
        finally:
            store.close()
        return time.perf_counter() - began
