"""A trained model on this machine, with all that it takes to predict."""

import copy
from pathlib import Path

import numpy as np
from torch import nn

from pipeline.competition.task import Task
from pipeline.config import AugmentConfig, ModelConfig
from pipeline.engine.machine import Machine, find_machine
from pipeline.images.epoch_changes import smallest_size
from pipeline.model.build import build_model
from pipeline.model.checkpoint import read
from pipeline.model.folding import fold_norms


class Trained:
    """A checkpoint, ready to predict.

    Args:
        path: of the checkpoint; it holds task, classes, settings and normalisation, so no train table is needed.

    Raises:
        InputError: it is missing or not whole.
    """

    def __init__(self, path: Path) -> None:
        checkpoint = read(path)
        train = checkpoint.config["train"]
        self.batch_size = int(train["batch_size"])
        self.size = int(checkpoint.config["image"]["size"])
        self.normalisation = checkpoint.normalisation
        self.prior = np.array(checkpoint.extra["prior"], np.float32)
        self.classes = checkpoint.classes
        self.task = Task.of(checkpoint.extra["task"])
        # The weights are all there: nothing is fetched or read again.
        name = checkpoint.extra["network"] or checkpoint.config["model"]["name"]
        named = ModelConfig(**checkpoint.config["model"] | {"name": name, "pretrained": False, "weights": ""})
        channels = int(checkpoint.config["image"]["channels"])
        model = build_model(named, self.size, channels, self.task.num_outputs, 0)
        model.load_state_dict(checkpoint.weights)
        # As in training, so that what was measured is what is submitted.
        smallest = smallest_size(self.size, AugmentConfig(**checkpoint.config["augment"]))
        shape = (channels, smallest, smallest)
        self.machine = find_machine(train["precision"], model, shape, deterministic=train["deterministic"])
        self.model = for_inference(model, self.machine, self.size, channels)


def for_inference(model: nn.Module, machine: Machine, size: int, channels: int) -> nn.Module:
    """A network as it predicts: its batch norms folded where they can be, on the machine's device.

    Args:
        model: in float32, on any device; it is left as it is, but for being in evaluation mode.
        machine: device and precision.
        size: height and width of the images, in pixels.
        channels: of the images.
    """
    on_cpu = model if machine.device.type == "cpu" else copy.deepcopy(model).cpu()
    return machine.place(fold_norms(on_cpu, size, channels))


def evaluation_batch(batch_size: int) -> int:
    """Images in a batch where there are no gradients, by those in a batch of training."""
    return max(128, batch_size)
