"""What a training starts from: the network on its device, and the statistics by which its pixels are normalised."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pipeline.competition.answers.linear import Linear
from pipeline.config import Config
from pipeline.engine.machine import Machine, find_machine, must_train
from pipeline.engine.recompute import recompute
from pipeline.images.augment.epoch_changes import epoch_sizes
from pipeline.images.batches import Batches, Statistics, statistics
from pipeline.images.cache import Images
from pipeline.model.build import build_model, pretrained_statistics, timm_name
from pipeline.model.checkpoint import saved_normalisation
from pipeline.model.networks import CifarNet
from pipeline.model.trial import accepted_sizes
from pipeline.model.weights import set_classifier

Array = np.ndarray[Any, Any]
IMAGENET: Statistics = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Start:
    """A network before its first step.

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
    return Start(machine.place(model), machine, predicts, normalisation, name, sizes)


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
