"""One batch of a training: forward and backward, in pieces where memory runs out."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline.engine.machine import Machine, TooLittleMemory, memory_named, smaller_batches
from pipeline.engine.state import TrainState
from pipeline.images.batches import Batch
from pipeline.log import log


def learn(
    model: nn.Module, batch: Batch, machine: Machine, loss: Callable[[Tensor, Tensor], Tensor], state: TrainState
) -> tuple[Tensor, Tensor]:
    """Add the gradients of a batch to those of its step.

    Where memory runs out the batch begins again in twice as many pieces, and so do all that follow. Their gradients add
    up to those of the whole batch; but batch norm sees a piece at a time, as with `train.accumulate`. Of the pass that
    failed nothing is left: no gradients, and no statistics. Of several processes, of which the others would wait, none
    begins again.

    Args:
        model: on the machine's device, in training mode.
        batch: with targets.
        machine: device and precision.
        loss: (logits, targets) -> float32 (batch,), a loss for each image.
        state: of the training.

    Returns:
        Logits (batch, num_outputs) and losses (batch,).

    Raises:
        TooLittleMemory: the smallest piece is too much.
    """
    statistics = [(buffer, buffer.clone()) for buffer in model.buffers()]
    waiting = state.set_gradients_aside()
    while True:
        state.seed_step()
        try:
            said = _in_pieces(model, batch, machine, loss, state)
        except TooLittleMemory:
            if not state.halve_pieces():
                raise
        else:
            state.join_gradients(waiting)
            return said
        # Behind the except clause, as an error that is being handled holds on to the tensors of the pass that failed.
        for buffer, before in statistics:
            buffer.copy_(before)
        norms = any(isinstance(module, _BatchNorm) and module.training for module in model.modules())
        log.info(
            "train %s: there is too little memory for a batch of %s at once. It goes through the network in %s pieces, "
            "whose gradients make one step%s",
            state.fold,
            len(batch),
            state.num_pieces(len(batch)),
            "; batch norm sees a piece at a time" if norms else "",
        )


def _in_pieces(
    model: nn.Module, batch: Batch, machine: Machine, loss: Callable[[Tensor, Tensor], Tensor], state: TrainState
) -> tuple[Tensor, Tensor]:
    assert batch.targets is not None, "a training has targets"
    count = state.num_pieces(len(batch))
    pairs = list(zip(batch.images.tensor_split(count), batch.targets.tensor_split(count), strict=True))
    said, losses = [], []
    with memory_named(f"for {len(pairs[0][0])} images at once", _way_out(state)):
        for index, (images, targets) in enumerate(pairs):
            state.begin_piece(index, count)
            with machine.autocast(), state.together.whole_batch(batch):
                logits = model(images)
            each = loss(logits, targets)
            state.add_gradients(each.mean() * state.together.weight(batch), len(images) / len(batch))
            said.append(logits.detach())
            losses.append(each.detach())
    return (said[0], losses[0]) if count == 1 else (torch.cat(said), torch.cat(losses))


def _way_out(state: TrainState) -> str:
    """What to change where the smallest piece needs too much memory."""
    return smaller_batches(*(["set train.grad_checkpointing = true"] if state.could_recompute else []))
