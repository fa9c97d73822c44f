"""The one way to predict: validation after an epoch, out-of-fold and test images go through the same function."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.competition.answers.probs import Probs
from pipeline.config import InferConfig
from pipeline.engine.gathered import Gathered
from pipeline.engine.machine import SMALLER, Machine, TooLittleMemory, memory_named
from pipeline.engine.predictor import Predictor
from pipeline.engine.run_model import Gatherer, Loss, run_model
from pipeline.images.batches import Batches, Part, normalise, scale_and_shift
from pipeline.log import log
from pipeline.processes import team

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Predicted:
    """What a network says of some images.

    probs: a row for each image, in the order asked for, by all views; an image that cannot be read gets the shares of
        the network's train classes. Where several processes share the work the first alone has rows.
    first_view: the same by the first view alone; None where there is one view, and where no targets are known.
    loss: the mean over the images that can be read, and over the views; None where no loss was asked for.
    bad_step: the first step whose loss is not finite; -1 for none.
    batch_size: images in a batch, fewer than asked for where memory ran out.
    """

    probs: Probs
    first_view: Probs | None
    loss: float | None
    bad_step: int
    batch_size: int


def predict(
    predictors: Sequence[Predictor], batches: Batches, infer: InferConfig, loss: Loss | None = None
) -> list[Predicted]:
    """Predict some images by networks of one run; the images go once past all of them.

    Several processes share the images, each batch as one process would have it, and so each prediction.

    Where memory runs out, batches are halved, down to one image, and then the networks that are asked at once.

    Args:
        predictors: trained with the same settings, on one machine.
        batches: the images, as `Predictor.batches` gives them; with targets, of many classes the true one is kept too.
        infer: views, and how many of many classes are kept.
        loss: (logits, targets) -> float32 (batch,); targets are needed then.

    Returns:
        What each network says.

    Raises:
        TooLittleMemory: one network and one image are too much.
        ConfigError: a network cannot do here what a setting asks for.
    """
    try:
        return _predict(predictors, batches, infer, loss)
    except TooLittleMemory as error:
        if len(predictors) == 1 or team().size > 1:  # the others wait in this pass
            raise
        log.info("%s: %s; one half of the models after the other", batches.name, error)
    half = len(predictors) // 2
    halves = (predictors[:half], predictors[half:])
    return [predicted for some in halves for predicted in predict(some, batches, infer, loss)]


def _predict(
    predictors: Sequence[Predictor], batches: Batches, infer: InferConfig, loss: Loss | None
) -> list[Predicted]:
    """What `predict` does, with all networks at once."""
    usable = batches.images.readable[batches.indices]
    task, machine = predictors[0].task, predictors[0].machine
    gathered = Gathered(
        task,
        int(usable.sum()),
        machine.device,
        num_models=len(predictors),
        top=infer.keep_top,
        with_true=batches.targets is not None,
        with_first_view=batches.targets is not None and len(infer.views) > 1,
        members=team(),
    )
    if usable.any():
        readable = replace(batches, indices=batches.indices[usable])
        with placed(predictors, machine):
            batches = evaluate(Views(predictors, infer.views), readable, machine, gathered, loss)
            gathered.join()

    mean_loss = gathered.loss if loss is not None and usable.any() else None
    bad_step = gathered.bad_step

    def said(model: int, *, first_view: bool = False) -> Probs:
        known = gathered.probs(model, first_view=first_view)
        if not gathered.members.is_first:
            return known
        return known.filled(predictors[model].prior, usable, gathered.num_kept)

    return [
        Predicted(
            probs=said(model),
            first_view=said(model, first_view=True) if gathered.with_first_view else None,
            loss=mean_loss,
            bad_step=bad_step,
            batch_size=batches.batch_size,
        )
        for model in range(len(predictors))
    ]


@contextlib.contextmanager
def placed(predictors: Sequence[Predictor], machine: Machine) -> Iterator[None]:
    """Have the networks on the device; those that were brought there leave it to others afterwards."""
    brought = [each.model for each in predictors if not machine.holds(each.model)]
    try:
        what = "the network" if len(predictors) == 1 else f"{len(predictors)} networks at once"
        with memory_named(f"for {what}", SMALLER):
            for each in predictors:
                machine.place(each.model)
        yield
    finally:
        for model in brought:
            model.cpu()


def evaluate(
    model: nn.Module, batches: Batches, machine: Machine, gathered: Gatherer, loss: Loss | None = None
) -> Batches:
    """Run networks over batches without gradients, in batches half as large for as long as memory runs out.

    A pass begins again with its new batches, so that all its predictions are of batches of one size: they differ by
    rounding between sizes. Several processes share the batches, and begin again together.

    Args:
        model: gives logits (num_models, num_views, batch, num_outputs).
        batches: the images, with targets where there is a loss.
        machine: device and precision.
        gathered: takes what is predicted.
        loss: of one view's logits; its mean over the views counts.

    Returns:
        The batches that fitted.

    Raises:
        TooLittleMemory: one image is too much.
        ConfigError: a network cannot do here what a setting asks for.
    """
    of_views = partial(_mean_over_views, loss) if loss is not None else None
    members = team()
    batches = replace(batches, part=Part(members.rank, members.size))
    while True:
        size, fits = min(batches.batch_size, batches.num_images), True
        try:
            run_model(model, batches, "test" if loss is None else "valid", machine, gathered, of_views)
        except TooLittleMemory:
            if size == 1:
                raise
            fits = False
        members.meet()  # who has too little memory at once waits for the others' pass, which may take long
        if members.largest([int(not fits)]) == [0]:
            return batches
        # Behind the except clause, as an error that is being handled holds on to the tensors of the pass that failed.
        half = size // 2
        batches = replace(batches, batch_size=half)
        log.info(
            "%s: there is too little memory for batches of %s. It begins again with %s: infer.batch_size = %s does so "
            "at once",
            batches.name,
            size,
            half,
            half,
        )


def _mean_over_views(loss: Loss, logits: Tensor, targets: Tensor) -> Tensor:
    """A loss for each image: float32 (batch,)."""
    return torch.stack([loss(view, targets) for view in logits.flatten(0, 1)]).mean(0)


class Views(nn.Module):
    """The logits of some networks for several views of a batch of uint8 images, on their device."""

    def __init__(self, predictors: Sequence[Predictor], views: Sequence[str]) -> None:
        super().__init__()
        self.models = nn.ModuleList(each.model for each in predictors)
        self.predictors = predictors
        self.views = views
        self.constants = [scale_and_shift(each.normalisation, each.machine.device) for each in predictors]

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 (batch, channel, height, width) -> float (num_models, num_views, batch, num_outputs)."""
        return torch.stack([self._logits(*each, pixels) for each in zip(self.predictors, self.constants, strict=True)])

    def _logits(self, predictor: Predictor, constants: tuple[Tensor, Tensor], pixels: Tensor) -> Tensor:
        images = normalise(pixels, *constants, predictor.machine.dtype)
        seen = (view(images, name).contiguous(memory_format=torch.channels_last) for name in self.views)
        return torch.stack([predictor.model(image) for image in seen])


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
