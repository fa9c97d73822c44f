"""The one loop: training, validation and prediction are a pass of a network over batches."""

import time
from collections.abc import Callable
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from pipeline.bars import bar
from pipeline.engine.learn import learn
from pipeline.engine.machine import Machine, failures_named, memory_named, smaller_batches
from pipeline.engine.training import Training
from pipeline.images.batches import Batch, Batches

Mode = Literal["train", "valid", "test"]
Loss = Callable[[Tensor, Tensor], Tensor]


class Gatherer(Protocol):
    """What takes in what a network says of the images of a pass, batch by batch."""

    loss_sum: Tensor
    num_seen: int

    def begin(self, batches: Batches, first_step: int = 0) -> None:
        """Begin a pass, or go on with it at a step."""

    def add(self, batch: Batch, logits: Tensor, losses: Tensor | None) -> None:
        """Take the next batch in."""


def run_model(
    model: nn.Module,
    batches: Batches,
    mode: Mode,
    machine: Machine,
    gathered: Gatherer,
    loss: Loss | None = None,
    training: Training | None = None,
) -> None:
    """Run a network over batches, and gather what it says of every image.

    A training goes on after the steps that its state has made, and stops short of a state that is not sound where that
    would be saved.

    Args:
        model: on the machine's device.
        batches: the images, with targets in modes `train` and `valid`.
        mode: `train` updates the weights; `valid` computes loss and predictions; `test` predictions alone. Only in
            `train` are there gradients, and layers such as batch norm and dropout behave as in training.
        machine: device and precision.
        gathered: takes the predictions (in training those before each step) and the losses.
        loss: (logits, targets) -> float32 (batch,), a loss for each image; needed in `train` and `valid`.
        training: whose network it is, in `train`.

    Raises:
        TooLittleMemory: batches of this size do not fit.
        ConfigError: the network cannot do here what a setting asks for.
    """
    assert (mode == "train") == (training is not None), "a training belongs to mode 'train'"
    assert (mode == "test") == (loss is None), "a loss belongs to modes 'train' and 'valid'"
    model.train(mode == "train")
    if training is not None:
        training.state.freeze()
    first_step = training.state.step if training else 0
    fewer = (
        "lower infer.batch_size" if training is None else "lower train.batch_size and raise train.accumulate as much"
    )
    way_out = smaller_batches(fewer) if batches.batch_size > 1 else smaller_batches()
    name, mean_loss = batches.name or mode, _MeanLoss(machine)
    with (
        torch.set_grad_enabled(mode == "train"),
        failures_named(),
        memory_named(f"for batches of {batches.batch_size}", way_out),
        bar(batches.num_images, name) as shown,
    ):
        shown.update(batches.bounds()[first_step - 1][1] if first_step else 0)
        gathered.begin(batches, first_step)
        for batch in batches.starting_at(first_step):
            losses = None
            if training is not None and loss is not None:
                logits, losses = learn(model, batch, machine, loss, training.state)
                training.state.take_step()
            else:
                with machine.autocast():
                    logits = model(batch.images)
                if loss is not None and batch.targets is not None:
                    losses = loss(logits, batch.targets)
            gathered.add(batch, logits, losses)
            if training is not None:
                training.count_images(batch.num_images)
                if training.checkpoint_is_due():
                    if not training.is_sound():
                        break
                    training.save_checkpoint()
            shown.update(batch.num_images)
            if (
                not shown.disable
                and losses is not None
                and (mean := mean_loss.of(gathered.loss_sum, gathered.num_seen)) is not None
            ):
                in_short = training.in_short(mean) if training else f"loss {mean:.3f}"
                shown.set_postfix_str(in_short, refresh=False)


class _MeanLoss:
    """The mean loss for the progress bar, read once a second and without waiting for the device.

    On CUDA a copy is asked for and looked at a second later, so what is shown is a second old.
    """

    def __init__(self, machine: Machine) -> None:
        self.is_cuda = machine.device.type == "cuda"
        self.total = torch.zeros((), pin_memory=self.is_cuda)
        self.count = 0
        self.ready: Any = torch.cuda.Event() if self.is_cuda else None  # type: ignore[no-untyped-call]
        self.last = time.perf_counter()

    def of(self, total: Tensor, count: int) -> float | None:
        """The mean over the first images of a pass; None where it is not time to look, or nothing has come yet."""
        if time.perf_counter() - self.last < 1 or (self.ready is not None and not self.ready.query()):
            return None
        self.last = time.perf_counter()
        if self.ready is None:
            return float(total) / count
        mean = float(self.total) / self.count if self.count else None
        self.total.copy_(total, non_blocking=True)
        self.count = count
        self.ready.record()
        return mean
