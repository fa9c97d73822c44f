"""What a training starts from: the network on its device, and the statistics by which its pixels are normalised."""

from dataclasses import dataclass
from logging import WARNING
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline.combinations import ignores_width
from pipeline.competition.answers.linear import Linear
from pipeline.competition.folds.fold_table import Labelled
from pipeline.config import Config
from pipeline.engine.freezing import freeze
from pipeline.engine.losses import make_loss
from pipeline.engine.machine import SMALLER, Machine, failures_named, find_machine, memory_named, must_train
from pipeline.engine.optimizer import make_optimizer
from pipeline.engine.recompute import recompute
from pipeline.engine.shards import is_sharded
from pipeline.images.augment.epoch_changes import epoch_sizes
from pipeline.images.batches import Batches, Statistics, statistics
from pipeline.images.cache import Images
from pipeline.log import errors_alone, say_once
from pipeline.model.build import build_model, pretrained_statistics, timm_name
from pipeline.model.checkpoint import saved_normalisation
from pipeline.model.networks import CifarNet
from pipeline.model.trial import accepted_sizes
from pipeline.model.weights import linear_classifier, set_classifier
from pipeline.paths import all_folds
from pipeline.processes import team

Array = np.ndarray[Any, Any]
IMAGENET: Statistics = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Start:
    """A network before its first step.

    model: on its device; on the CPU where the processes of a team are to hold it in parts.
    machine: where it is trained.
    predicts: where it is validated, as inference will find it.
    name: timm's own name of a network that was fetched by another; "" for all others.
    sizes: height and width of the training images in each epoch, in pixels; the network takes them all.
    """

    model: nn.Module
    machine: Machine
    predicts: Machine
    normalisation: Statistics
    name: str
    sizes: list[int]


def make_start(
    cfg: Config, images: Images, indices: Array, num_outputs: int, seed: int, head: Linear | None = None
) -> Start:
    """Build the network, find the machine and the precision, and put the one on the other.

    Args:
        cfg: the settings.
        images: the mapped images.
        indices: int64, those to train on.
        num_outputs: logits per image.
        seed: of the initial weights.
        head: the classifier, where it does not start at random.

    Raises:
        ConfigError: a network that there is not, or that cannot take these settings or images.
        InputError: weights that cannot be had.
    """
    size, channels = cfg.image.size, cfg.image.channels
    model = build_model(cfg.model, size, channels, num_outputs, seed)
    _say_what_is_ignored(cfg, model)
    if head is not None:
        set_classifier(model, torch.from_numpy(head.weight), torch.from_numpy(head.bias))
    name = timm_name(cfg.model, model, size, channels, num_outputs)
    sizes = epoch_sizes(cfg.augment, size, cfg.train.num_epochs)
    if min(sizes) < size:
        sizes = accepted_sizes(model, cfg.model.name, sizes, size, channels, num_outputs)
    shape = (channels, min(sizes), min(sizes))
    precision, deterministic = cfg.train.precision, cfg.train.deterministic
    machine = find_machine(precision, model, shape, deterministic=deterministic)
    predicts = find_machine(precision, model, shape, deterministic=deterministic, predicts=True)
    must_train(machine, model, shape)
    if cfg.train.grad_checkpointing:
        recompute(model, cfg.model.name, size, channels)
    normalisation = find_normalisation(cfg, model, images, indices)
    if isinstance(model, CifarNet) and not cfg.model.weights:
        _whiten(model, images, indices, normalisation, size)
    if not is_sharded(cfg.train, team()):
        model = machine.place(model)
    return Start(model, machine, predicts, normalisation, name, sizes)


def try_start(cfg: Config, labelled: Labelled, images: Images) -> None:
    """Refuse what the first training would refuse of the settings: before the probe, which takes its time.

    Args:
        cfg: the settings.
        labelled: the labelled images with their folds.
        images: their pixels, in the same order.

    Raises:
        ConfigError, InputError: what training would raise.
        TooLittleMemory: the network does not fit; what to change.
    """
    make_loss(cfg.train, labelled.task.kind, None)
    train, _ = labelled.split(all_folds(cfg)[0])
    indices = train[images.readable[train]]
    if not len(indices):
        return  # which fitting says
    with errors_alone(), memory_named("to train", SMALLER), failures_named():
        start = make_start(cfg, images, indices, labelled.task.num_outputs, 0)
        if cfg.train.head == "probe":
            linear_classifier(start.model)
        make_optimizer(cfg.train, start.model)
        if min(cfg.train.batch_size, len(indices)) == 1:  # which not every batch norm takes
            freeze(start.model.train(), cfg.train, cfg.train.num_epochs - 1)
            shape = (1, cfg.image.channels, min(start.sizes), min(start.sizes))
            device = next(start.model.parameters()).device
            with torch.no_grad(), start.machine.autocast():
                start.model(torch.zeros(shape, device=device))


def _say_what_is_ignored(cfg: Config, model: nn.Module) -> None:
    """Say which settings change nothing in this network; once, whatever models there are."""
    name, said = cfg.model.name, []
    if cfg.train.freeze_norms and not any(isinstance(module, _BatchNorm) for module in model.modules()):
        said.append(f"train.freeze_norms = true changes nothing: {name} has no batch norms")
    if cfg.train.shard and team().size == 1:
        said.append("train.shard = true changes nothing: one process trains the network")
    if ignores_width(cfg.model):
        said.append(f"model.width = {cfg.model.width} changes nothing: {name} has no width")
    for line in said:
        say_once(line, WARNING, "warning: %s", line)


def find_normalisation(cfg: Config, model: nn.Module, images: Images, indices: Array) -> Statistics:
    """Find mean and standard deviation per channel, in [0, 1], as `model.normalisation` says.

    Args:
        cfg: the settings.
        model: the network that they name.
        images: the mapped images.
        indices: int64, those whose own they may be.
    """
    rule, channels = cfg.model.normalisation, cfg.image.channels
    known = None
    if cfg.model.weights:
        known = saved_normalisation(Path(cfg.model.weights)) or pretrained_statistics(model)
    elif cfg.model.pretrained:
        known = pretrained_statistics(model)
    if rule == "imagenet":
        known = IMAGENET
    if rule == "data" or known is None:
        return statistics(images, indices)
    # Other channels than the weights were made for: fewer, or what is more, are normalised by the mean over theirs.
    return spread(known[0], channels), spread(known[1], channels)


def _whiten(model: CifarNet, images: Images, indices: Array, normalisation: Statistics, size: int) -> None:
    """Set the first layer of the network by some training images, evenly spaced."""
    chosen = indices[np.linspace(0, len(indices) - 1, min(len(indices), 5000)).astype(np.int64)]
    batches = Batches(images, chosen, len(chosen), size, normalisation, torch.device("cpu"), torch.float32)
    model.whiten(next(iter(batches)).images)


def spread(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """Statistics of some channels for another number of them."""
    mean = sum(values) / len(values)
    return (mean,) * channels if channels < len(values) else (*values, *[mean] * (channels - len(values)))
