"""Probabilities of images: one way for validation and test, so that what is measured is what is submitted."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.competition.task import Task
from pipeline.engine.machine import Machine
from pipeline.engine.run_model import run_model
from pipeline.images.batches import Batches
from pipeline.images.cache import Images

Array = np.ndarray[Any, Any]


def activate(logits: Tensor, task: Task) -> Tensor:
    """Logits (batch, num_outputs) -> probabilities, or numbers in the label's own unit; float32."""
    if task.activation == "softmax":
        return logits.float().softmax(1)
    if task.activation == "sigmoid":
        return logits.float().sigmoid()
    return logits.float() * task.std + task.mean


def view(images: Tensor, name: str) -> Tensor:
    """One view of images (batch, channel, height, width); shifts: 1/32 of the side, at least a pixel, reflected."""
    if name == "hflip":
        return images.flip(3)
    if name == "vflip":
        return images.flip(2)
    if name.startswith("rot"):
        return torch.rot90(images, int(name[3:]) // 90, (2, 3))
    if name.startswith("shift_"):
        height, width = images.shape[2:]
        by = min(max(1, min(height, width) // 32), min(height, width) - 1)  # an image of one pixel stays as it is
        padded = functional.pad(images, (by, by, by, by), "reflect")
        top = {"shift_up": 2 * by, "shift_down": 0}.get(name, by)
        left = {"shift_left": 2 * by, "shift_right": 0}.get(name, by)
        return padded[:, :, top : top + height, left : left + width]
    assert name == "identity", name
    return images


class _Views(nn.Module):
    """The mean of a network's probabilities over views of a batch."""

    def __init__(self, model: nn.Module, task: Task, views: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.task = task
        self.views = views

    def forward(self, images: Tensor) -> Tensor:
        """(batch, channel, height, width) -> (batch, num_outputs)."""
        seen = (view(images, name).contiguous(memory_format=torch.channels_last) for name in self.views)
        return torch.stack([activate(self.model(image), self.task) for image in seen]).mean(0)


def predict(
    model: nn.Module,
    images: Images,
    numbers: Array,
    task: Task,
    machine: Machine,
    *,
    size: int,
    normalisation: tuple[Sequence[float], Sequence[float]],
    views: Sequence[str],
    batch_size: int,
    label: str = "predict",
) -> Array:
    """Probabilities of some images.

    Args:
        model: on the machine's device, weights as trained.
        images: the mapped images.
        numbers: int64, which of them.
        task: how logits become probabilities.
        machine: device and precision.
        size: height and width that the network sees, in pixels.
        normalisation: mean and standard deviation per channel, in [0, 1].
        views: whose probabilities are averaged.
        batch_size: images in a batch.
        label: what the progress bar says.

    Returns:
        float32 (len(numbers), num_outputs), in the order of `numbers`.
    """
    if not len(numbers):
        return np.zeros((0, task.num_outputs), np.float32)
    batches = Batches(images, numbers, batch_size, size, normalisation, machine.device, machine.dtype)
    result = run_model(_Views(model, task, views), batches, "test", machine, label=label)
    return np.asarray(result.outputs.numpy())
