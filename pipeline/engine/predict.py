"""Probabilities of images: one way for validation and test, so that what is measured is what is submitted."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.competition.answers.probs import Probs
from pipeline.competition.answers.task import Task
from pipeline.config import InferConfig
from pipeline.engine.machine import SMALLER, Machine, TooLittleMemory, memory_named
from pipeline.engine.run_model import Keep, evaluate
from pipeline.engine.trained import Trained, evaluation_batch
from pipeline.images.batches import Batches, Statistics, normalise, scale_and_shift
from pipeline.images.cache import Images
from pipeline.log import log

Array = np.ndarray[Any, Any]


def activate(logits: Tensor, task: Task) -> Tensor:
    """Logits (batch, num_outputs) -> probabilities, or numbers in the label's own unit; float32."""
    if task.activation == "softmax":
        return logits.float().softmax(1)
    if task.activation == "sigmoid":
        return logits.float().sigmoid()
    return logits.float() * task.std + task.mean


def keeper(task: Task, top: int, *, activated: bool = False) -> Keep | None:
    """What `run_model` keeps of outputs: of many classes the likeliest and the true one; None where all are kept.

    Kept are float32 (batch, 2 count), the probabilities and then their classes (whole numbers, exact below 2**24), for
    each of the models whose outputs stand side by side.

    Args:
        task: the classes.
        top: how many are kept beside the true one.
        activated: whether outputs are probabilities already, not logits.
    """
    if not task.is_many:
        return None

    def keep(outputs: Tensor, targets: Tensor | None) -> Tensor:
        pieces = []
        for part in torch.split(outputs, task.num_outputs, 1):
            probs = part.float() if activated else activate(part, task)
            values, classes = probs.topk(min(top, task.num_outputs), dim=1)
            if targets is not None:
                true = (targets if targets.ndim == 1 else targets.argmax(1))[:, None]  # mixed targets: the larger part
                values, classes = torch.cat([values, probs.gather(1, true)], 1), torch.cat([classes, true], 1)
            pieces += [values, classes.float()]
        return torch.cat(pieces, 1)

    return keep


def kept(outputs: Array, task: Task) -> Probs:
    """Probabilities from what `keeper` kept; where it keeps all, they are the outputs."""
    if not task.is_many:
        return Probs.dense(outputs)
    values, classes = np.split(outputs, 2, axis=1)
    return Probs.top(values, classes.astype(np.int64), task.num_outputs)


def probabilities(outputs: Tensor, task: Task) -> Probs:
    """Probabilities from the logits of a pass, or from what `keeper` kept of them."""
    return kept((outputs if task.is_many else activate(outputs, task)).numpy(), task)


def prior_row(prior: Array, width: int, task: Task) -> Array:
    """The train classes' shares as a row of outputs of this width: all, or the largest as `keeper` keeps them."""
    if not task.is_many:
        return prior
    classes = np.argsort(-prior, kind="stable")[: width // 2]
    return np.concatenate([prior[classes], classes.astype(np.float32)])


def view(images: Tensor, name: str) -> Tensor:
    """One view of images (batch, channel, height, width), as `infer.views` names it: its moves, one after the other."""
    for move in name.split("+"):
        images = _moved(images, move)
    return images


def _moved(images: Tensor, name: str) -> Tensor:
    """Images after one move; shifts: 1/32 of the side, at least a pixel, reflected."""
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


class Views(nn.Module):
    """The mean of a network's probabilities over views of a batch of uint8 images, on their device."""

    def __init__(
        self, model: nn.Module, task: Task, normalisation: Statistics, dtype: torch.dtype, views: Sequence[str]
    ) -> None:
        super().__init__()
        self.model = model
        self.task = task
        self.normalisation = normalisation
        self.dtype = dtype
        self.views = views

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 (batch, channel, height, width) -> float32 (batch, num_outputs)."""
        images = normalise(pixels, *scale_and_shift(self.normalisation, pixels.device), self.dtype)
        seen = (view(images, name).contiguous(memory_format=torch.channels_last) for name in self.views)
        probs = [activate(self.model(image), self.task) for image in seen]
        return torch.stack(probs).mean(0) if len(probs) > 1 else probs[0]


class _SideBySide(nn.Module):
    """The outputs of several networks for the same images, one after the other: (batch, sum of their outputs)."""

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 (batch, channel, height, width) -> float32 (batch, num_models * num_outputs)."""
        return torch.cat([model(pixels) for model in self.models], 1)


def predict(
    models: Sequence[Trained],
    images: Images,
    indices: Array,
    infer: InferConfig,
    label: str,
    targets: Array | None = None,
) -> list[Probs]:
    """Probabilities of some images by models of one run; the images go once past all of them.

    Args:
        models: trained with the same settings, on one machine.
        images: the mapped images.
        indices: int64, which of them.
        infer: views and batch size.
        label: what the progress bar says.
        targets: int64, the classes of all images, where they are known: of many classes the true one is kept too.

    Returns:
        For each model float32 (len(indices), num_outputs), in the order of `indices`, of many classes the likeliest
        alone; an image that cannot be read gets the shares of the model's train classes.

    Where memory runs out, batches are halved, down to one image, and then the models that are asked at once.

    Raises:
        TooLittleMemory: one model and one image are too much.
    """
    try:
        return _predict(models, images, indices, infer, label, targets)
    except TooLittleMemory as error:
        if len(models) == 1:
            raise
        log.info("%s: %s; one half of the models after the other", label, error)
    half = len(models) // 2
    parts = (models[:half], models[half:])
    return [probs for part in parts for probs in predict(part, images, indices, infer, label, targets)]


def _predict(
    models: Sequence[Trained], images: Images, indices: Array, infer: InferConfig, label: str, targets: Array | None
) -> list[Probs]:
    """What `predict` does, with all models at once."""
    usable = images.readable[indices]
    first = models[0]
    task, machine = first.task, first.machine
    truth = torch.tensor(targets) if targets is not None and task.is_many else None
    width = 2 * (min(infer.keep_top, task.num_outputs) + (truth is not None)) if task.is_many else task.num_outputs
    rows = [np.tile(prior_row(model.prior, width, task), (len(indices), 1)) for model in models]
    if usable.any():
        batch_size = evaluation_batch(infer, first.batch_size)
        batches = Batches(
            images, indices[usable], batch_size, first.size, None, machine.device, machine.dtype, targets=truth
        )
        keep = keeper(task, infer.keep_top, activated=True)
        with _placed(models, machine):
            views = [Views(each.model, each.task, each.normalisation, machine.dtype, infer.views) for each in models]
            outputs = evaluate(_SideBySide(views), batches, "test", machine, label=label, keep=keep).outputs.numpy()
        for filled, part in zip(rows, np.split(outputs, len(models), axis=1), strict=True):
            filled[usable] = part
    return [kept(filled, task) for filled in rows]


@contextlib.contextmanager
def _placed(models: Sequence[Trained], machine: Machine) -> Iterator[None]:
    """Have the networks of some models on the device, which has room for others afterwards."""
    try:
        what = "the network" if len(models) == 1 else f"{len(models)} networks at once"
        with memory_named(f"for {what}", SMALLER):
            for each in models:
                machine.place(each.model)
        yield
    finally:
        for each in models:
            each.model.cpu()
