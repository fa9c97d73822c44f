"""A trained model, with all that it takes to predict."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from pipeline.competition.answers.task import Task
from pipeline.config import InferConfig, ModelConfig
from pipeline.engine.machine import find_machine, memory_named
from pipeline.model.build import build_model
from pipeline.model.checkpoint import read_checkpoint
from pipeline.model.fuse_norms import fuse_norms


class Trained:
    """A checkpoint, ready to predict: its network is on the CPU until it does.

    Args:
        path: of the checkpoint; it holds task, classes, settings and normalisation, so no train table is needed.

    Raises:
        InputError: it is missing or not whole.
        TooLittleMemory: the device has no room for anything.
    """

    def __init__(self, path: Path) -> None:
        checkpoint = read_checkpoint(path)
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
        smallest = int(checkpoint.extra.get("smallest_size", self.size))  # models from before had none smaller
        shape = (channels, smallest, smallest)
        with memory_named(f"to predict with {path}", "End other programs that use it"):
            self.machine = find_machine(train["precision"], model, shape, deterministic=train["deterministic"])
        self.model = for_inference(model, self.size, channels)


def for_inference(model: nn.Module, size: int, channels: int) -> nn.Module:
    """A network as it predicts, on the CPU: its batch norms folded where they can be.

    Args:
        model: in float32, on any device; it is left as it is, but for being in evaluation mode.
        size: height and width of the images, in pixels.
        channels: of the images.
    """
    on_cpu = all(parameter.device.type == "cpu" for parameter in model.parameters())
    return fuse_norms(model if on_cpu else copied_to_cpu(model), size, channels)


def copied_to_cpu(model: nn.Module) -> nn.Module:
    """A copy of a network on the CPU; none is made on the device, which may have no room for the network twice."""
    copies: dict[int, Any] = {
        id(parameter): nn.Parameter(parameter.detach().to("cpu", copy=True), parameter.requires_grad)
        for parameter in model.parameters()
    }
    copies |= {id(buffer): buffer.to("cpu", copy=True) for buffer in model.buffers()}
    return copy.deepcopy(model, copies)


# A training step takes several times the memory of a pass without gradients, by peak and image: ResNet-18 3.5 times,
# ViT-Tiny 4.3, EfficientNet-B0 10; and there is what gradients and optimizer took.
_TIMES = 4
_ENOUGH = 128


def evaluation_batch(infer: InferConfig, train_batch: int) -> int:
    """Images in a batch where there are no gradients: what is asked for, or what fits where a batch of training does.

    Args:
        infer: what is asked for.
        train_batch: images in a batch of training.
    """
    return infer.batch_size or max(train_batch, min(_TIMES * train_batch, _ENOUGH))
