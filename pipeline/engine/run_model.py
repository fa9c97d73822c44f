"""The one loop: training, validation and prediction are a pass of a network over batches."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from tqdm import tqdm

from pipeline.engine.forecast import Forecast
from pipeline.engine.machine import Machine, TooLittleMemory, failures_named, memory_named
from pipeline.engine.update import Update
from pipeline.images.batches import Batches
from pipeline.log import log
from pipeline.randomness import derived_seed

Mode = Literal["train", "valid", "test"]
Loss = Callable[[Tensor, Tensor], Tensor]
Keep = Callable[[Tensor, Tensor | None], Tensor]
# Steps that were made, their outputs (the others' rows hold anything) and the sum of their losses.
Start = tuple[int, Tensor, Tensor]
# With the first step whose loss is not finite, -1 for none: on the device, where looking at it costs no wait.
AfterStep = Callable[[int, Tensor, Tensor, Tensor], None]


@dataclass(frozen=True)
class Result:
    """What a pass over all images of an epoch gave.

    batches: those of the pass.
    outputs: float32 (num_images, num_outputs) on the CPU, in the order of `batches.indices`: the network's logits (in
        training those before each step), or whatever the given module returns; of them what is kept.
    loss: mean over every image; None in mode `test`.
    bad_step: the first whose loss is not finite; -1 for none.
    """

    mode: Mode
    batches: Batches
    outputs: Tensor
    loss: float | None
    seconds: float
    bad_step: int = -1

    @property
    def images_per_second(self) -> float:
        """Images per second of the whole pass."""
        return len(self.outputs) / max(self.seconds, 1e-9)


def run_model(
    model: nn.Module,
    batches: Batches,
    mode: Mode,
    machine: Machine,
    *,
    loss: Loss | None = None,
    update: Update | None = None,
    seed: tuple[int | str, ...] = (),
    label: str = "",
    forecast: Forecast | None = None,
    keep: Keep | None = None,
    start: Start | None = None,
    after_step: AfterStep | None = None,
) -> Result:
    """Run a network over batches.

    Args:
        model: on the machine's device.
        batches: the images, with targets in modes `train` and `valid`.
        mode: `train` updates the weights; `valid` computes loss and outputs; `test` outputs alone. Only in `train` are
            there gradients, and layers such as batch norm and dropout behave as in training.
        machine: device and precision.
        loss: (outputs, targets) -> float32 (batch,), a loss for each image; needed in `train` and `valid`.
        update: makes the steps; needed in `train`.
        seed: names the epoch; what the network draws in a step (dropout) is a function of it and the step.
        label: what the progress bar says.
        keep: (outputs, targets of the batch, where there are any) -> what is kept of the outputs.
        start: the pass goes on after so many steps, with what they gave.
        after_step: is called after each step with the number of steps made, all outputs, the sum of losses so far, and
            the first step whose loss was not finite.
        forecast: is told of every step, and says how long it will take.

    Returns:
        Outputs and mean loss over every image of the pass, not over the last batch.

    Raises:
        TooLittleMemory: batches of this size do not fit.
        ConfigError: the network cannot do here what a setting asks for.
    """
    assert (mode == "train") == (update is not None), "update belongs to mode 'train'"
    assert (mode == "test") == (loss is None), "a loss belongs to modes 'train' and 'valid'"
    model.train(mode == "train")
    outputs: Tensor | None = None
    total = torch.zeros((), device=machine.device)
    bad_step = torch.full((), -1, device=machine.device)
    first_step = 0
    if start is not None:
        first_step, outputs, total = start
    began = time.perf_counter()
    shown = _Shown(machine)
    with (
        torch.set_grad_enabled(mode == "train"),
        failures_named(),
        memory_named(f"for batches of {batches.batch_size}", _way_out(mode, batches.batch_size)),
        tqdm(total=batches.num_images, desc=label or mode, unit="img", disable=None, leave=False, delay=1) as bar,
    ):
        bar.update(batches.bounds()[first_step - 1][1] if first_step else 0)
        for step, batch in enumerate(batches.starting_at(first_step), first_step):
            if mode == "train":
                machine.seed(derived_seed("step", *seed, step))
            with machine.autocast():
                logits = model(batch.images)
            if loss is not None and batch.targets is not None:
                losses = loss(logits, batch.targets)
                if update is not None:
                    update(losses.mean())
                part = losses.detach().sum()
                total += part
                bad_step = torch.where((bad_step < 0) & ~part.isfinite(), step, bad_step)
            kept = logits.detach() if keep is None else keep(logits.detach(), batch.targets)
            if outputs is None:
                outputs = torch.empty(batches.num_images, kept.shape[1], device=machine.device)
            outputs[batch.position : batch.position + len(batch)] = kept
            if after_step is not None:
                after_step(step + 1, outputs, total, bad_step)
            bar.update(len(batch))
            if forecast is not None:
                forecast.step(len(batch))
            if not bar.disable and loss is not None and (mean := shown.mean(total, bar.n)) is not None:
                bar.set_postfix(loss=f"{mean:.4f}", refresh=False)
    assert outputs is not None, "there must be at least one batch"
    whole = float(total) / batches.num_images if loss is not None else None
    return Result(mode, batches, outputs.cpu(), whole, time.perf_counter() - began, int(bad_step))


def _way_out(mode: Mode, batch_size: int) -> str:
    """What to change where a pass needs too much memory."""
    if batch_size == 1:
        return "Lower image.size or take a smaller model.name"
    if mode == "train":
        return (
            "Lower train.batch_size and raise train.accumulate as much, lower image.size, or take a smaller model.name"
        )
    return "Lower infer.batch_size or image.size, or take a smaller model.name"


def evaluate(
    model: nn.Module,
    batches: Batches,
    mode: Literal["valid", "test"],
    machine: Machine,
    *,
    loss: Loss | None = None,
    label: str = "",
    keep: Keep | None = None,
) -> Result:
    """Run a network over batches without gradients, in batches half as large for as long as memory runs out.

    The arguments are those of `run_model`. A pass begins again with its new batches, so that all its outputs are of
    batches of one size: outputs differ by rounding between sizes.

    Raises:
        TooLittleMemory: one image is too much.
        ConfigError: the network cannot do here what a setting asks for.
    """
    while True:
        size = min(batches.batch_size, batches.num_images)
        try:
            return run_model(model, batches, mode, machine, loss=loss, label=label, keep=keep)
        except TooLittleMemory:
            if size == 1:
                raise
        # Behind the except clause, as an error that is being handled holds on to the tensors of the pass that failed.
        half = size // 2
        batches = replace(batches, batch_size=half)
        log.info(
            "%s: there is too little memory for batches of %s. It begins again with %s: infer.batch_size = %s does so "
            "at once",
            label or mode,
            size,
            half,
            half,
        )


class _Shown:
    """The mean loss for the progress bar, read once a second and without waiting for the device.

    On CUDA a copy is asked for and looked at a second later, so what is shown is a second old.
    """

    def __init__(self, machine: Machine) -> None:
        self.is_cuda = machine.device.type == "cuda"
        self.total = torch.zeros((), pin_memory=self.is_cuda)
        self.count = 0
        self.ready: Any = torch.cuda.Event() if self.is_cuda else None  # type: ignore[no-untyped-call]
        self.last = time.perf_counter()

    def mean(self, total: Tensor, count: int) -> float | None:
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
