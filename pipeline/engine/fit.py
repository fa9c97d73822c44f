"""The training of one model: from its images to its checkpoint."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.competition.answers import metrics
from pipeline.competition.answers.likeliest import Probs
from pipeline.competition.folds.fold_table import Labelled
from pipeline.competition.tables.csv_table import counted
from pipeline.config import Config, InferConfig
from pipeline.engine.forecast import VALIDATION, Forecast
from pipeline.engine.history import line, scores
from pipeline.engine.losses import class_weights, make_loss
from pipeline.engine.machine import SMALLER, Machine, memory_named
from pipeline.engine.predict import activate, keeper, kept, prior_row
from pipeline.engine.resume import Progress, Resume
from pipeline.engine.run_model import AfterStep, Result, evaluate, run_model
from pipeline.engine.start import make_start
from pipeline.engine.trained import copied_to_cpu, evaluation_batch, for_inference
from pipeline.engine.update import Update
from pipeline.files import InputError
from pipeline.freshness import training_settings
from pipeline.images.augment.epoch_changes import EpochChanges
from pipeline.images.batches import Batches, on_device
from pipeline.images.cache import Images
from pipeline.log import log
from pipeline.model.checkpoint import Checkpoint
from pipeline.randomness import derived_seed, epoch_order, id_keys
from pipeline.signals import stop_now, stop_requested, stops_after_step

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Fitted:
    """A trained model, a row per epoch, the machine that it was trained on, and what it says of its fold.

    oof: float32 (num_images of the fold, num_outputs), in the order of `Labelled.split`: what `predict` gives for the
        view `identity` in batches of `batch_size`, to the byte (of many classes the likeliest alone); None for a model
        of all images.
    """

    checkpoint: Checkpoint
    history: list[dict[str, Any]]
    machine: Machine
    oof: Probs | None
    batch_size: int


def fit(
    cfg: Config, fold: int | str, labelled: Labelled, images: Images, num_models: int = 0, resume: Resume | None = None
) -> Fitted:
    """Train one model.

    Args:
        cfg: the settings.
        fold: the fold that validates it, or `full` for a model of all images.
        labelled: the labelled images with their folds.
        images: their pixels, in the same order.
        num_models: how many will be trained from here on, for a forecast of the time; 0 for none.
        resume: where the training is kept while it is under way, to go on from; None: nowhere.

    Returns:
        The weights after the last epoch (averaged ones where `train.ema` asks for them): no epoch is chosen on the
        images that score it.

    Raises:
        InputError: no image is left to train on, or the loss is not finite.
        TooLittleMemory: the network or a batch of training does not fit; what to change.
    """
    with memory_named("to train", SMALLER):
        training = _Training(cfg, fold, labelled, images, num_models, resume)
        progress = training.begin()
        while progress.epoch < cfg.train.num_epochs:
            try:
                trained, row = training.train_epoch(progress)
                row |= training.validate(progress)
            except Diverged as error:
                progress = training.back(error)
                continue
            progress = training.keep(Progress(progress.epoch + 1, 0, [*progress.history, row]))
            name = training.name_of(progress.epoch)
            log.info("train %s, %.0f images/s", line(name, row, cfg.task.metric), trained.images_per_second)
        return training.fitted(progress.history)


class _Training:
    """One model and all that its epochs have in common; the arguments are those of `fit`."""

    def __init__(
        self,
        cfg: Config,
        fold: int | str,
        labelled: Labelled,
        images: Images,
        num_models: int,
        resume: Resume | None,
    ) -> None:
        task, settings = labelled.task, cfg.train
        self.cfg, self.fold, self.labelled, self.resume = cfg, fold, labelled, resume
        self.readable = images.readable
        train, self.held_out = labelled.split(fold)
        self.train_indices, self.valid_indices = (indices[self.readable[indices]] for indices in (train, self.held_out))
        if not len(self.train_indices):
            raise InputError(f"fold {fold} leaves no image to train on. Lower folds.num_folds")

        seed = derived_seed("weights", settings.seed, fold)
        self.start = make_start(cfg, images, self.train_indices, task.num_outputs, seed)
        self.model, self.machine = self.start.model, self.start.machine
        device = self.machine.device
        standard = (labelled.targets - task.mean) / task.std if task.kind == "number" else labelled.targets
        targets = torch.from_numpy(standard.astype(labelled.targets.dtype)).to(device)
        weights = None
        if settings.class_weights == "balanced":
            weights = class_weights(targets[torch.from_numpy(self.train_indices).to(device)], task.num_outputs)
        self.loss = make_loss(settings, task.kind, weights)
        self.make_batches = partial(
            Batches,
            images,
            size=cfg.image.size,
            normalisation=self.start.normalisation,
            device=device,
            dtype=self.machine.dtype,
            targets=targets,
            # A pipeline of the user's own changes the pixels on the CPU.
            resident=None if cfg.augment.albumentations else on_device(images, device),
        )
        num_classes = task.num_outputs if task.activation == "softmax" else 0
        mix_seed = derived_seed("mix", settings.seed, fold)
        keys = id_keys(labelled.samples.ids)
        self.changes = EpochChanges(cfg.augment, self.start.sizes, settings.seed, mix_seed, keys, num_classes)
        bounds = self.make_batches(self.train_indices, settings.batch_size).bounds()
        self.update = Update(settings, self.model, self.machine, [stop - start for start, stop in bounds])
        self.final = copied_to_cpu(self.model) if self.update.ema else self.model
        self.valid_batch = evaluation_batch(cfg.infer, settings.batch_size)
        self.valid_outputs: Tensor | None = None
        seen = settings.num_epochs * (len(self.train_indices) + VALIDATION * len(self.valid_indices))
        models = "1 model" if num_models == 1 else f"{num_models} models"
        self.forecast = Forecast(num_models * seen, f"{models} of {settings.num_epochs} epochs") if num_models else None
        self.may_go_back = settings.on_nan == "rollback"

    def begin(self) -> Progress:
        """Where the training stands: at its start, or where it was left."""
        counts = f"{len(self.train_indices):,} images, {len(self.valid_indices):,} validate"
        log.info("train %s: %s on %s, %s", self.fold, self.cfg.model.name, counts, self.machine.describe())
        if self.resume is None:
            return Progress()
        progress = self.resume.load(self.model, self.update, self.machine, keep_start=self.may_go_back)
        if progress.epoch or progress.step:
            log.info("train %s: goes on in epoch %s after %s steps", self.fold, progress.epoch + 1, progress.step)
        return progress

    def name_of(self, epoch: int) -> str:
        """What is said of an epoch, counted from 1 on."""
        return f"{self.fold} epoch {epoch}/{self.cfg.train.num_epochs}"

    def train_epoch(self, progress: Progress) -> tuple[Result, dict[str, Any]]:
        """Train the epoch under way, or what is left of it; returns what it gave, and its row of the history.

        Raises:
            Diverged: the loss or the weights are not finite.
        """
        settings, task, epoch = self.cfg.train, self.labelled.task, progress.epoch
        order = epoch_order(self.train_indices, settings.seed, self.fold, epoch)
        size, changes = self.changes.sizes[epoch], self.changes.of(epoch)
        batches = self.make_batches(order, settings.batch_size, size=size, changes=changes)
        if progress.lr is None:
            progress.lr = self.update.lr_at(epoch * self.update.steps_per_epoch)
        start = None
        if progress.outputs is not None and progress.total is not None:
            start = (progress.step, progress.outputs, progress.total)
        diverged = partial(self._diverged, f"epoch {epoch + 1}", batches)
        after_step = None
        if self.resume:
            validates = len(self.valid_indices) > 0
            after_step = _saving(self.resume, progress, self.model, self.update, len(batches), diverged, validates)
        with stops_after_step():
            trained = run_model(
                self.model,
                batches,
                "train",
                self.machine,
                loss=self.loss,
                update=self.update,
                seed=(settings.seed, self.fold, epoch),
                label=self.name_of(epoch + 1),
                keep=keeper(task, metrics.get(task.metric).top),
                start=start,
                after_step=after_step,
                forecast=self.forecast,
            )
        if trained.bad_step >= 0:
            raise diverged(trained.bad_step)
        return trained, {"epoch": epoch + 1, "lr": progress.lr, **scores(trained, self.labelled, order)}

    def validate(self, progress: Progress) -> dict[str, float | None]:
        """Score the weights after an epoch on the fold's images; nothing where it has none.

        Raises:
            Diverged: the loss is not finite.
        """
        if self.update.ema:
            self.final.train()  # some networks of timm keep tables of their weights until then
            self.update.ema.copy_to(self.final)
        if not len(self.valid_indices):
            return {}
        task, epoch = self.labelled.task, progress.epoch + 1
        batches = self.make_batches(self.valid_indices, self.valid_batch)
        network = self.machine.place(for_inference(self.final, self.cfg.image.size, self.cfg.image.channels))
        keep, label = keeper(task, InferConfig().keep_top), f"train {self.name_of(epoch)} valid"
        valid = evaluate(network, batches, "valid", self.machine, loss=self.loss, label=label, keep=keep)
        if valid.bad_step >= 0:
            raise self._diverged(f"the validation of epoch {epoch}", valid.batches, valid.bad_step)
        self.valid_batch, self.valid_outputs = valid.batches.batch_size, valid.outputs
        return scores(valid, self.labelled, self.valid_indices)

    def keep(self, progress: Progress) -> Progress:
        """Have the state after an epoch saved that its validation has shown to be good, to go on from and `back` to.

        None after the last epoch: what was said of the fold then is no part of a state, and is said again.
        """
        if self.resume and len(self.valid_indices) and progress.epoch < self.cfg.train.num_epochs:
            self.resume.save(progress, self.model, self.update, epoch_end=True)
        return progress

    def back(self, error: "Diverged") -> Progress:
        """Go back to the last epoch's end and on at half the rate, once and where the settings say so.

        Raises:
            Diverged: they do not, or it was done before.
        """
        if self.resume is None or not self.may_go_back or self.update.lr_scale < 1:
            raise error
        progress = self.resume.back(self.model, self.update, self.machine)
        num_epochs = progress.epoch + (progress.step > 0)
        where = f"the end of epoch {num_epochs}" if num_epochs else "its beginning"
        log.info("train %s: %s. It goes back to %s and on at half the rate", self.fold, error, where)
        return progress

    def fitted(self, history: list[dict[str, Any]]) -> Fitted:
        """The model after the last epoch, and what it says of its fold."""
        task = self.labelled.task
        prior = _prior(self.labelled, self.train_indices)
        oof = None
        if self.fold != "full":
            width = 2 * (InferConfig().keep_top + 1) if task.is_many else task.num_outputs
            rows = np.tile(prior_row(np.array(prior, np.float32), width, task), (len(self.held_out), 1))
            if (outputs := self.valid_outputs) is not None:
                rows[self.readable[self.held_out]] = outputs if task.is_many else activate(outputs, task)
            oof = kept(rows, task)
        extra = {
            "task": asdict(task),
            "part": str(self.fold),
            "prior": prior,
            "network": self.start.name,
            "smallest_size": min(self.start.sizes),
        }
        settings, state = training_settings(self.cfg), self.final.state_dict()
        checkpoint = Checkpoint(state, settings, task.classes, self.start.normalisation, extra)
        return Fitted(checkpoint, history, self.machine, oof, self.valid_batch)

    def _diverged(self, where: str, batches: Batches, step: int) -> "Diverged":
        """What is said of a loss that is not finite: where, by which images, and what to try."""
        start, stop = batches.bounds()[step]
        images = counted("images", self.labelled.ids(batches.indices[start:stop]))
        back = "" if self.may_go_back else ", train.on_nan = 'rollback'"
        return Diverged(
            f"the loss of fold {self.fold} must be finite. It is not in {where}, step {step + 1}, of {images}; lower "
            f"train.lr, set train.clip_grad = 1.0 or train.precision = 'float32'{back}, and look at these images and "
            "labels"
        )


class Diverged(InputError):
    """The loss or the weights are not finite."""


def _saving(
    resume: Resume,
    progress: Progress,
    model: nn.Module,
    update: Update,
    num_steps: int,
    diverged: Callable[[int], InputError],
    validates: bool,
) -> AfterStep:
    """What is done after each step of an epoch: the training is saved where it is time, after the last step, and where
    the process is asked to stop. Nothing is saved after a loss that is not finite, or a step that broke the weights.

    The last step's state is one to go back to where no validation follows that may say otherwise; see `_Training.keep`.
    """

    def after_step(step: int, outputs: torch.Tensor, total: torch.Tensor, bad_step: torch.Tensor) -> None:
        stop, is_last = stop_requested(), step == num_steps
        if update.is_between_steps and (is_last or resume.is_due or stop):
            if (bad := int(bad_step)) >= 0 or not _is_finite(model):
                raise diverged(bad if bad >= 0 else step - 1)
            now = Progress(progress.epoch, step, progress.history, outputs, total, progress.lr)
            resume.save(now, model, update, epoch_end=is_last and not validates, wait=stop)
            if stop:
                stop_now()

    return after_step


def _is_finite(model: nn.Module) -> bool:
    """Whether all weights and statistics are, with one wait for the device."""
    tensors = [tensor for tensor in model.state_dict().values() if tensor.is_floating_point()]
    return bool(torch.stack([tensor.isfinite().all() for tensor in tensors]).all())


def _prior(labelled: Labelled, indices: Array) -> list[float]:
    """The train classes' shares (a number's mean): what is said of an image that cannot be read."""
    targets = labelled.targets[indices]
    if targets.ndim == 1:
        targets = np.bincount(targets, minlength=labelled.task.num_outputs)[None] / len(targets)
    return [float(share) for share in targets.mean(0)]
