"""One batch of a training: forward and backward, in pieces where memory runs out."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pipeline.engine.machine import Machine, TooLittleMemory, memory_named, smaller_batches
from pipeline.engine.state import TrainState
from pipeline.images.batches import Batch
from pipeline.log import log


def learn(
    model: nn.Module, batch: Batch, machine: Machine, loss: Callable[[Tensor, Tensor], Tensor], state: TrainState
) -> tuple[Tensor, Tensor]:
    """Add the gradients of a batch to those of its step.

    Where memory runs out the batch begins again in twice as many pieces, and so do all that follow. Their gradients add
    up to those of the whole batch; but batch norm sees a piece at a time, as with `train.accumulate`.

    Args:
        model: on the machine's device, in training mode.
        batch: with targets.
        machine: device and precision.
        loss: (logits, targets) -> float32 (batch,), a loss for each image.
        state: of the training.

    Returns:
        Logits (batch, num_outputs) and losses (batch,).

    Raises:
        TooLittleMemory: the smallest piece is too much, or gradients of batches before wait for this one's.
    """
    while True:
        state.begin_step()
        try:
            return _in_pieces(model, batch, machine, loss, state)
        except TooLittleMemory:
            if not state.halve_pieces():
                raise
        # Behind the except clause, as an error that is being handled holds on to the tensors of the pass that failed.
        log.info(
            "train %s: there is too little memory for a batch of %s at once. It goes through the network in %s pieces, "
            "whose gradients make one step",
            state.fold,
            len(batch),
            state.num_pieces(len(batch)),
        )


def _in_pieces(
    model: nn.Module, batch: Batch, machine: Machine, loss: Callable[[Tensor, Tensor], Tensor], state: TrainState
) -> tuple[Tensor, Tensor]:
    assert batch.targets is not None, "a training has targets"
    count = state.num_pieces(len(batch))
    pairs = list(zip(batch.images.tensor_split(count), batch.targets.tensor_split(count), strict=True))
    said, losses = [], []
    with memory_named(f"for {len(pairs[0][0])} images at once", _way_out(state)):
        for images, targets in pairs:
            with machine.autocast():
                logits = model(images)
            each = loss(logits, targets)
            state.add_gradients(each.mean(), len(images) / len(batch))
            said.append(logits.detach())
            losses.append(each.detach())
    return (said[0], losses[0]) if count == 1 else (torch.cat(said), torch.cat(losses))


def _way_out(state: TrainState) -> str:
    """What to change where the smallest piece needs too much memory."""
    ways = ["lower train.batch_size and raise train.accumulate as much"] if state.cfg.accumulate > 1 else []
    if state.could_recompute:
        ways.append("set train.grad_checkpointing = true")
    return smaller_batches(*ways)
