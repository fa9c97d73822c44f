"""The training of one model, epoch by epoch, from its images to its checkpoint."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.competition.answers import metrics, scoring
from pipeline.competition.answers.linear import Linear
from pipeline.competition.folds.fold_table import Labelled
from pipeline.competition.tables.csv_table import counted
from pipeline.config import Config
from pipeline.engine.forecast import VALIDATION, Forecast, Rest, Work
from pipeline.engine.gathered import Gathered
from pipeline.engine.limit import fewest_epochs
from pipeline.engine.losses import class_weights, make_loss
from pipeline.engine.machine import SMALLER, memory_named
from pipeline.engine.predict import Predicted, predict
from pipeline.engine.predictor import Predictor, evaluation_batch, for_inference
from pipeline.engine.resume import Store
from pipeline.engine.run_model import run_model
from pipeline.engine.start import make_start
from pipeline.engine.state import Row, TrainState
from pipeline.engine.together import must_multiply_alike
from pipeline.engine.training import Training
from pipeline.files import InputError
from pipeline.freshness import training_settings
from pipeline.images.augment.epoch_changes import EpochChanges
from pipeline.images.batches import Batches, Part, on_device
from pipeline.images.cache import Images
from pipeline.log import log
from pipeline.model.checkpoint import Checkpoint
from pipeline.processes import team
from pipeline.randomness import derived_seed, epoch_order, id_keys
from pipeline.scores.spent import TRAINING
from pipeline.signals import stops_after_step
from pipeline.stopwatch import Stopwatch

Array = np.ndarray[Any, Any]


class Diverged(InputError):
    """The loss or the weights are not finite."""


@dataclass(frozen=True)
class Epoch:
    """What an epoch gave, or what was left of it: what it is called, its row of the history, the images that it trained
    on, and the seconds of its parts.
    """

    name: str
    row: Row
    num_images: int
    seconds: Mapping[str, float]

    @property
    def images_per_second(self) -> float:
        """How fast it was trained; its validation does not count."""
        return self.num_images / max(sum(self.seconds.get(part, 0.0) for part in TRAINING), 1e-9)


def fit(trainer: "Trainer") -> Iterator[Epoch]:
    """Train the epochs that are left, one after the other; each is saved before it is given.

    No epoch is chosen on the images that score it: the model is what is there after the last.

    Raises:
        InputError: the loss is not finite.
        TooLittleMemory: the network or a batch of training does not fit; what to change.
    """
    with memory_named("to train", SMALLER):
        while not trainer.is_done:
            try:
                epoch = trainer.train_epoch()
            except Diverged as error:
                trainer.back(error)
                continue
            yield epoch


class Trainer:
    """One model under training: its images, its losses, its state, what it says of the fold that it has not seen.

    The processes of a team train it together: each makes a trainer, and all do the same.

    Args:
        cfg: the settings.
        fold: the fold that validates it, or `full` for a model of all images.
        labelled: the labelled images with their folds.
        images: their pixels, in the same order.
        store: where the training is kept while it is under way, to go on from; None: nowhere.
        rest: of the run from here on, for a forecast of the time; None: nobody asks for one.
        head: the classifier that the training starts from; None: a random one.

    Raises:
        InputError: no image is left to train on, or a training under way cannot go on here.
        TooLittleMemory: the network does not fit; what to change.
    """

    def __init__(
        self,
        cfg: Config,
        fold: int | str,
        labelled: Labelled,
        images: Images,
        store: Store | None = None,
        rest: Rest | None = None,
        head: Linear | None = None,
    ) -> None:
        self.cfg, self.fold, self.labelled, self.images = cfg, fold, labelled, images
        self.head, self.members = head, team()
        train, self.held_out = labelled.split(fold)
        self.train_indices = train[images.readable[train]]
        self.valid_indices = self.held_out[images.readable[self.held_out]]
        if not len(self.train_indices):
            raise InputError(f"fold {fold} leaves no image to train on. Lower folds.num_folds")
        self.prior = labelled.prior(self.train_indices)
        with memory_named("to train", SMALLER):
            self._make(store, rest)

    def _make(self, store: Store | None, rest: Rest | None) -> None:
        """Make the network and what trains it, and go on from where the training was left."""
        cfg, task, settings = self.cfg, self.labelled.task, self.cfg.train
        seed = derived_seed("weights", settings.seed, self.fold)
        self.start = make_start(cfg, self.images, self.train_indices, task.num_outputs, seed, self.head)
        machine = self.machine = self.start.machine
        must_multiply_alike(machine.precision, self.members)
        self.targets = self._targets().to(machine.device)
        weights = None
        if settings.class_weights == "balanced":
            seen = self.targets[torch.from_numpy(self.train_indices).to(machine.device)]
            weights = class_weights(seen, task.num_outputs)
        self.loss = make_loss(settings, task.kind, weights)
        # A pipeline of the user's own changes the pixels on the CPU.
        self.resident = None if cfg.augment.albumentations else on_device(self.images, machine.device)
        num_classes = task.num_outputs if task.activation == "softmax" else 0
        self.stopwatch = Stopwatch()
        mix_seed = derived_seed("mix", settings.seed, self.fold)
        keys = id_keys(self.labelled.samples.ids)
        self.changes = EpochChanges(cfg.augment, self.start.sizes, settings.seed, mix_seed, keys, num_classes)

        top, num_images = metrics.get(task.metric).top, len(self.train_indices)
        gathered = Gathered(task, num_images, machine.device, top=top, with_true=True, members=self.members)
        sizes = [stop - start for start, stop in self.batches(0).bounds()]
        state = TrainState(settings, self.fold, self.start.model, machine, sizes, gathered, self.members)
        self.training = Training(state, store, self._forecast(rest), self.stopwatch)
        self.valid_batch = evaluation_batch(cfg.infer, settings.batch_size)
        self.predicted: Predicted | None = None

        counts = f"{num_images:,} images, {len(self.valid_indices):,} validate"
        log.info("train %s: %s on %s, %s", self.fold, cfg.model.name, counts, machine.describe())
        self._go_on()

    def _go_on(self) -> None:
        """Go on from the state that was saved last; where there is none, save this one if it may be gone `back` to."""
        state, store = self.training.state, self.training.store
        if store is None:
            return
        saved = store.load(self.machine)
        if self._may_go_back and not store.has_epoch_end:
            store.save(state, epoch_end=True)
        if saved is not None:
            state.load_state_dict(saved)
            log.info("train %s: goes on in epoch %s after %s steps", self.fold, state.epoch + 1, state.step)

    def _targets(self) -> Tensor:
        """The targets of all images; numbers standardised, as networks learn them."""
        task, targets = self.labelled.task, self.labelled.targets
        standard = (targets - task.mean) / task.std if task.kind == "number" else targets
        return torch.from_numpy(standard.astype(targets.dtype))

    def _forecast(self, rest: Rest | None) -> Forecast | None:
        """Who says how long this and the models behind it will take."""
        if rest is None:
            return None
        each = VALIDATION * len(self.cfg.infer.views)
        work = Work(
            parts=[(size / self.cfg.image.size) ** 2 for size in self.changes.sizes],
            num_train=len(self.train_indices),
            predicted=each * len(self.valid_indices),
            inferred=each * rest.num_test,
            num_models=rest.num_models,
        )
        fewest = 0 if self.cfg.train.time_limit else fewest_epochs(self.cfg)
        return Forecast(work, fewest, self.cfg.train.freeze_epochs)

    @property
    def _may_go_back(self) -> bool:
        return self.cfg.train.on_nan == "rollback"

    @property
    def history(self) -> list[Row]:
        """A row for each epoch that is trained."""
        return self.training.state.history

    @property
    def begins(self) -> bool:
        """Whether no step is made yet."""
        return self.training.state.at == (0, 0)

    @property
    def is_done(self) -> bool:
        """Whether all epochs are trained."""
        return self.training.state.epoch == self.cfg.train.num_epochs

    def _name_of(self, epoch: int) -> str:
        """What is said of an epoch, counted from 0 on."""
        return f"{self.fold} epoch {epoch + 1}/{self.cfg.train.num_epochs}"

    def train_epoch(self) -> Epoch:
        """Train the epoch under way, or what is left of it, score it, and have it saved.

        Raises:
            Diverged: the loss or the weights are not finite.
        """
        state, task = self.training.state, self.labelled.task
        batches, name = self.batches(state.epoch), self._name_of(state.epoch)
        num_left = batches.num_images - sum(state.batch_sizes[: state.step])
        began = time.perf_counter()
        self.stopwatch.take()  # of an epoch that diverged
        with stops_after_step():
            run_model(state.network(), batches, "train", self.machine, state.gathered, self.loss, self.training)
        is_sound = self.training.is_sound()  # waits for the device
        waited = sum(self.stopwatch.seconds.values())
        self.stopwatch.add("step", time.perf_counter() - began - waited)
        if not is_sound:
            bad_step = state.gathered.bad_step
            raise self._diverged(f"epoch {state.epoch + 1}", batches, bad_step if bad_step >= 0 else state.step - 1)
        state.gathered.join()
        state.have_all_alike()
        targets = self.labelled.targets[batches.indices]
        score = self.members.first(lambda: scoring.score(task, targets, state.gathered.probs()))
        row: Row = {"epoch": state.epoch + 1, "lr": state.epoch_lr}
        row |= {"train_loss": state.gathered.loss, "train_score": score}
        state.forget_gathered()  # the device needs the room for the validation
        with self.stopwatch.of("validate"):
            row |= self.validate(f"train {name} valid")
        with self.stopwatch.of("save"):
            self._end_epoch(row)
        parts = self.stopwatch.take()
        if self.training.forecast is not None:
            self.training.forecast.end_epoch(row["epoch"] - 1, num_left, sum(parts.values()))
        return Epoch(name, row, num_left, parts)

    def _end_epoch(self, row: Row) -> None:
        """Go on to the next epoch, and have the state saved where that saves a validation, or it may be gone `back` to.

        That after the last step is there anyway. None after the last epoch: what was said of the fold then is no part
        of a state, and is said again.
        """
        self.training.state.end_epoch(row)
        worth = len(self.valid_indices) > 0 or self._may_go_back
        if self.training.store is not None and worth and not self.is_done:
            self.training.store.save(self.training.state, epoch_end=True)

    def batches(self, epoch: int) -> Batches:
        """The batches of an epoch of training."""
        settings, device = self.cfg.train, self.machine.device
        return Batches(
            self.images,
            epoch_order(self.train_indices, settings.seed, self.fold, epoch),
            settings.batch_size,
            self.changes.sizes[epoch],
            self.start.normalisation,
            device,
            self.machine.dtype,
            targets=self.targets,
            changes=self.changes.of(epoch),
            resident=self.resident,
            name=self._name_of(epoch),
            part=Part(self.members.rank, self.members.size, by_image=True),
            stopwatch=self.stopwatch,
        )

    def validate(self, name: str) -> Row:
        """Score the weights after an epoch on the fold's images; nothing where it has none.

        Raises:
            Diverged: the loss is not finite.
        """
        if not len(self.valid_indices):
            return {}
        task, predictor = self.labelled.task, self.predictor()
        batches = predictor.batches(self.images, self.held_out, self.cfg.infer, name, self.targets, self.resident)
        batches = replace(batches, batch_size=self.valid_batch)
        (self.predicted,) = predict([predictor], batches, self.cfg.infer, self.loss)
        self.valid_batch = self.predicted.batch_size
        if self.predicted.bad_step >= 0:
            where = f"the validation of epoch {self.training.state.epoch + 1}"
            readable = replace(batches, indices=self.valid_indices, batch_size=self.valid_batch)
            raise self._diverged(where, readable, self.predicted.bad_step)
        predicted, targets = self.predicted, self.labelled.targets[self.valid_indices]
        is_readable = self.images.readable[self.held_out]
        score = self.members.first(lambda: scoring.score(task, targets, predicted.probs[is_readable]))
        return {"valid_loss": predicted.loss, "valid_score": score}

    def predictor(self) -> Predictor:
        """The network with its weights after the last step, as it predicts."""
        image, final = self.cfg.image, self.training.state.whole()
        final.train()  # some networks of timm keep tables of their weights until then
        return Predictor(
            model=for_inference(final, image.size, image.channels),
            task=self.labelled.task,
            normalisation=self.start.normalisation,
            prior=np.array(self.prior, np.float32),
            size=image.size,
            train_batch=self.cfg.train.batch_size,
            machine=self.start.predicts,
        )

    def back(self, error: Diverged) -> None:
        """Go back to the last epoch's end and on at half the rate, once and where the settings say so.

        Raises:
            Diverged: they do not, or it was done before.
        """
        state, store = self.training.state, self.training.store
        if not self._may_go_back or store is None or state.lr_scale < 1:
            raise error
        state.load_state_dict(store.load_epoch_end(self.machine))
        state.halve_lr()
        where = f"the end of epoch {state.epoch}" if state.epoch else "its beginning"
        log.info("train %s: %s. It goes back to %s and on at half the rate", self.fold, error, where)
        store.save(state, epoch_end=True)

    def checkpoint(self) -> Checkpoint:
        """The model: the weights after the last epoch, averaged ones where `train.ema` asks for them. All
        processes of a team ask for it together.
        """
        return Checkpoint(
            weights=self.training.state.whole().state_dict(),
            config=training_settings(self.cfg),
            task=self.labelled.task,
            normalisation=self.start.normalisation,
            fold=str(self.fold),
            prior=self.prior,
            network=self.start.name,
            smallest_size=min(self.start.sizes),
        )

    def _diverged(self, where: str, batches: Batches, step: int) -> Diverged:
        """What is said of a loss that is not finite: where, by which images, and what to try."""
        start, stop = batches.bounds()[step]
        images = counted("images", self.labelled.ids(batches.indices[start:stop]))
        back = "" if self._may_go_back else ", train.on_nan = 'rollback'"
        return Diverged(
            f"the loss of fold {self.fold} must be finite. It is not in {where}, step {step + 1}, of {images}; lower "
            f"train.lr, set train.clip_grad = 1.0 or train.precision = 'float32'{back}, and look at these images and "
            "labels"
        )
