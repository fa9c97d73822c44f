"""The training of one model: from its images to its checkpoint."""

import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pipeline.cli import log, stop_now, stop_requested, stops_after_step
from pipeline.competition import metrics, scoring
from pipeline.competition.csv_table import some
from pipeline.competition.fold_table import Labelled
from pipeline.competition.likeliest import Probs
from pipeline.config import Config, InferConfig
from pipeline.engine.forecast import VALIDATION, Forecast
from pipeline.engine.losses import class_weights, make_loss
from pipeline.engine.machine import Machine, find_machine
from pipeline.engine.predict import activate, keeper, kept, prior_row, probabilities
from pipeline.engine.resume import Progress, Resume
from pipeline.engine.run_model import AfterStep, run_model
from pipeline.engine.trained import evaluation_batch, for_inference
from pipeline.engine.update import Update
from pipeline.files import InputError
from pipeline.freshness import training_settings
from pipeline.images.batches import Batches, Statistics, derived_seed, epoch_order, id_keys, on_device, statistics
from pipeline.images.cache import Images
from pipeline.images.epoch_changes import EpochChanges
from pipeline.model.build import build_model, must_take_size, own_name, pretrained_statistics
from pipeline.model.checkpoint import Checkpoint, saved_normalisation
from pipeline.model.networks import CifarNet

Array = np.ndarray[Any, Any]
IMAGENET: Statistics = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Fitted:
    """A trained model, a row per epoch, the machine that it was trained on, and what it says of its fold.

    oof: float32 (num_images of the fold, num_outputs), in the order of `Labelled.split`: what `predict` gives for the
        view `identity`, to the byte (of many classes the likeliest alone); None for a model of all images.
    """

    checkpoint: Checkpoint
    history: list[dict[str, Any]]
    machine: Machine
    oof: Probs | None


def fit(
    cfg: Config, part: int | str, labelled: Labelled, images: Images, num_models: int = 0, resume: Resume | None = None
) -> Fitted:
    """Train one model.

    Args:
        cfg: the settings.
        part: the fold that validates it, or `full` for a model of all images.
        labelled: the labelled images with their folds.
        images: their pixels, in the same order.
        resume: where the training is kept while it is under way, to go on from; None: nowhere.
        num_models: how many will be trained from here on, for a forecast of the time; 0 for none.

    Returns:
        The weights after the last epoch (averaged ones where `train.ema` asks for them): no epoch is chosen on the
        images that score it.

    Raises:
        InputError: no image is left to train on.
    """
    task, settings, size = labelled.task, cfg.train, cfg.image.size
    usable = images.readable
    fold = labelled.split(part)
    train_numbers, valid_numbers = (numbers[usable[numbers]] for numbers in fold)
    if not len(train_numbers):
        raise InputError(f"fold {part} leaves no image to train on. Lower folds.num_folds")

    seed = derived_seed("weights", settings.seed, part)
    model = build_model(cfg.model, size, cfg.image.channels, task.num_outputs, seed)
    name_of_network = own_name(cfg.model, model, size, cfg.image.channels, task.num_outputs)
    machine = find_machine(settings.precision, model, deterministic=settings.deterministic)
    normalisation = _normalisation(cfg, model, images, train_numbers)
    if isinstance(model, CifarNet) and not cfg.model.weights:
        _whiten(model, images, train_numbers, normalisation, size)
    if cfg.augment.first_size < 1:
        must_take_size(
            model, cfg.model.name, round(size * cfg.augment.first_size), cfg.image.channels, task.num_outputs
        )
    model = machine.place(model)
    standard = (labelled.targets - task.mean) / task.std if task.kind == "number" else labelled.targets
    targets = torch.from_numpy(standard.astype(labelled.targets.dtype)).to(machine.device)
    weights = None
    if settings.class_weights == "balanced":
        weights = class_weights(targets[torch.from_numpy(train_numbers).to(machine.device)], task.num_outputs)
    loss = make_loss(settings, task.kind, weights)
    make_batches = partial(
        Batches,
        images,
        size=size,
        normalisation=normalisation,
        device=machine.device,
        dtype=machine.dtype,
        targets=targets,
        # A pipeline of the user's own changes the pixels on the CPU.
        resident=None if cfg.augment.albumentations else on_device(images, machine.device),
    )
    num_classes = task.num_outputs if task.activation == "softmax" else 0
    mix_seed = derived_seed("mix", settings.seed, part)
    changes = EpochChanges(
        cfg.augment, size, settings.num_epochs, settings.seed, mix_seed, id_keys(labelled.samples.ids), num_classes
    )

    update = Update(settings, model, machine, len(make_batches(train_numbers, settings.batch_size)))
    final = copy.deepcopy(model) if update.ema else model
    counts = f"{len(train_numbers):,} images, {len(valid_numbers):,} validate"
    log.info("train %s: %s on %s, %s", part, cfg.model.name, counts, machine.describe())

    seen = settings.num_epochs * (len(train_numbers) + VALIDATION * len(valid_numbers))
    models = "1 model" if num_models == 1 else f"{num_models} models"
    forecast = Forecast(num_models * seen, f"{models} of {settings.num_epochs} epochs") if num_models else None
    may_go_back = settings.on_nan == "rollback"
    progress = resume.load(model, update, machine, keep_start=may_go_back) if resume else Progress()
    if progress.epoch or progress.step:
        log.info("train %s: goes on in epoch %s after %s steps", part, progress.epoch + 1, progress.step)
    while progress.epoch < settings.num_epochs:
        epoch, history = progress.epoch, progress.history
        name = f"{part} epoch {epoch + 1}/{settings.num_epochs}"
        order = epoch_order(train_numbers, settings.seed, part, epoch)
        now = changes.size(epoch)
        batches = make_batches(order, settings.batch_size, size=now, changes=changes.of(epoch))
        progress.lr = update.lr_at(epoch * update.steps_per_epoch) if progress.lr is None else progress.lr
        row: dict[str, Any] = {"epoch": epoch + 1, "lr": progress.lr}
        drawn = (settings.seed, part, epoch)
        start = None
        if progress.outputs is not None and progress.total is not None:
            start = (progress.step, progress.outputs, progress.total)
        diverged = partial(_diverged, part, f"epoch {epoch + 1}", labelled, batches, may_go_back)
        try:
            with stops_after_step():
                trained = run_model(
                    model,
                    batches,
                    "train",
                    machine,
                    loss=loss,
                    update=update,
                    seed=drawn,
                    label=name,
                    keep=keeper(task, metrics.get(task.metric).top),
                    start=start,
                    after_step=_saving(resume, progress, model, update, len(batches), diverged) if resume else None,
                    forecast=forecast,
                )
            if trained.bad_step >= 0:
                raise diverged(trained.bad_step)
        except Diverged as error:
            if resume is None or not may_go_back or update.lr_scale < 1:
                raise
            progress = resume.back(model, update, machine)
            where = f"the end of epoch {progress.epoch + 1}" if progress.step else "its beginning"
            log.info("train %s: %s. It goes back to %s and on at half the rate", part, error, where)
            continue
        row |= _scores("train", trained.loss, trained.outputs, labelled, order)
        if update.ema:
            final.train()  # some networks of timm keep tables of their weights until then
            update.ema.copy_to(final)
        if len(valid_numbers):
            batches = make_batches(valid_numbers, evaluation_batch(settings.batch_size))
            network = for_inference(final, machine, size, cfg.image.channels)
            keep = keeper(task, InferConfig().keep_top)
            valid = run_model(network, batches, "valid", machine, loss=loss, label=f"{name} valid", keep=keep)
            if valid.bad_step >= 0:
                where = f"the validation of epoch {epoch + 1}"
                raise _diverged(part, where, labelled, batches, may_go_back, valid.bad_step)
            row |= _scores("valid", valid.loss, valid.outputs, labelled, valid_numbers)
        progress = Progress(epoch + 1, 0, [*history, row])
        log.info("train %s, %.0f images/s", _line(name, row, task.metric), trained.images_per_second)

    prior = _prior(labelled, train_numbers)
    oof = None
    if part != "full":
        width = 2 * (InferConfig().keep_top + 1) if task.is_many else task.num_outputs
        rows = np.tile(prior_row(np.array(prior, np.float32), width, task), (len(fold[1]), 1))
        if len(valid_numbers):
            rows[usable[fold[1]]] = valid.outputs if task.is_many else activate(valid.outputs, task)
        oof = kept(rows, task)
    extra = {"task": asdict(task), "part": str(part), "prior": prior, "network": name_of_network}
    checkpoint = Checkpoint(final.state_dict(), training_settings(cfg), task.classes, normalisation, extra)
    return Fitted(checkpoint, progress.history, machine, oof)


class Diverged(InputError):
    """The loss or the weights are not finite."""


def _diverged(
    part: int | str, where: str, labelled: Labelled, batches: Batches, may_go_back: bool, step: int
) -> Diverged:
    """What is said of a loss that is not finite: where, by which images, and what to try."""
    start, stop = batches.bounds()[step]
    images = some("images", labelled.ids(batches.numbers[start:stop]))
    back = "" if may_go_back else ", train.on_nan = 'rollback'"
    return Diverged(
        f"the loss of fold {part} must be finite. It is not in {where}, step {step + 1}, of {images}; lower train.lr, "
        f"set train.clip_grad = 1.0 or train.precision = 'float32'{back}, and look at these images and labels"
    )


def _saving(
    resume: Resume,
    progress: Progress,
    model: nn.Module,
    update: Update,
    num_steps: int,
    diverged: Callable[[int], InputError],
) -> AfterStep:
    """What is done after each step of an epoch: the training is saved where it is time, at the epoch's end, and where
    the process is asked to stop. Nothing is saved after a loss that is not finite, or a step that broke the weights.
    """

    def after_step(step: int, outputs: torch.Tensor, total: torch.Tensor, bad_step: torch.Tensor) -> None:
        stop, epoch_end = stop_requested(), step == num_steps
        if update.is_between_steps and (epoch_end or resume.is_due or stop):
            if (bad := int(bad_step)) >= 0 or not _is_finite(model):
                raise diverged(bad if bad >= 0 else step - 1)
            now = Progress(progress.epoch, step, progress.history, outputs, total, progress.lr)
            resume.save(now, model, update, epoch_end=epoch_end, wait=stop)
            if stop:
                stop_now()

    return after_step


def _is_finite(model: nn.Module) -> bool:
    """Whether all weights and statistics are, with one wait for the device."""
    tensors = [tensor for tensor in model.state_dict().values() if tensor.is_floating_point()]
    return bool(torch.stack([tensor.isfinite().all() for tensor in tensors]).all())


def _scores(
    mode: str, loss: float | None, outputs: torch.Tensor, labelled: Labelled, numbers: Array
) -> dict[str, float | None]:
    """Loss and metric over every image of a pass."""
    probs = probabilities(outputs, labelled.task)
    return {f"{mode}_loss": loss, f"{mode}_score": scoring.score(labelled.task, labelled.targets[numbers], probs)}


def _line(name: str, row: dict[str, Any], metric: str) -> str:
    """One epoch in a line; train's figures are of augmented images, before each step."""
    text = f"{name}: train loss {row['train_loss']:.4f}"
    for mode in ("train", "valid"):
        if mode == "valid" and "valid_loss" in row:
            text += f", valid loss {row['valid_loss']:.4f}"
        score = row.get(f"{mode}_score")
        if score is not None:
            text += f" {metric} {score:.4f}"
    return text


def _prior(labelled: Labelled, numbers: Array) -> list[float]:
    """The train classes' shares (a number's mean): what is said of an image that cannot be read."""
    targets = labelled.targets[numbers]
    if targets.ndim == 1:
        targets = np.bincount(targets, minlength=labelled.task.num_outputs)[None] / len(targets)
    return [float(share) for share in targets.mean(0)]


def _normalisation(cfg: Config, model: nn.Module, images: Images, numbers: Array) -> Statistics:
    """Mean and standard deviation per channel, in [0, 1], as `model.normalisation` says."""
    rule, channels = cfg.model.normalisation, cfg.image.channels
    known = None
    if cfg.model.weights:
        known = saved_normalisation(Path(cfg.model.weights)) or pretrained_statistics(model)
    elif cfg.model.pretrained:
        known = pretrained_statistics(model)
    if rule == "imagenet":
        known = IMAGENET
    if rule == "data" or known is None:
        return statistics(images, numbers)
    # Other channels than the weights were made for: fewer, or what is more, are normalised by the mean over theirs.
    return _spread(known[0], channels), _spread(known[1], channels)


def _whiten(model: CifarNet, images: Images, numbers: Array, normalisation: Statistics, size: int) -> None:
    """Set the first layer of the network by some training images, evenly spaced."""
    chosen = numbers[np.linspace(0, len(numbers) - 1, min(len(numbers), 5000)).astype(np.int64)]
    batches = Batches(images, chosen, len(chosen), size, normalisation, torch.device("cpu"), torch.float32)
    model.whiten(next(iter(batches)).images)


def _spread(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """Statistics of some channels for another number of them."""
    mean = sum(values) / len(values)
    return (mean,) * channels if channels < len(values) else (*values, *[mean] * (channels - len(values)))
