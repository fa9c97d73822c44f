"""What a pass gathers on the device: of every image what is predicted, and the sum of the losses."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.competition.answers.probs import Probs
from pipeline.competition.answers.task import Task
from pipeline.images.batches import Batch, Batches
from pipeline.processes import ONE, Team

# Larger than the number of any step.
_NO_STEP = 2**62


def activate(logits: Tensor, task: Task) -> Tensor:
    """Logits (..., num_outputs) -> probabilities, or numbers in the label's own unit; float32."""
    if task.activation == "softmax":
        return logits.float().softmax(-1)
    if task.activation == "sigmoid":
        return logits.float().sigmoid()
    return logits.float() * task.std + task.mean


class Gathered:
    """Predictions for the images of a pass, by each of some networks, and the sum of the images' losses.

    Of many classes the likeliest alone are kept, and the true one where it is known. Where several processes share the
    pass each gathers what it predicts, until they `join`.

    Args:
        task: kind and classes.
        num_images: of the pass.
        device: where all of it is kept until it is asked for.
        num_models: how many networks predict side by side.
        top: of many classes, how many are kept of each image.
        with_true: whether of many classes the true one is kept too.
        with_first_view: whether what each network says by its first view alone is kept too.
        members: the processes that share the pass.
    """

    def __init__(
        self,
        task: Task,
        num_images: int,
        device: torch.device,
        *,
        num_models: int = 1,
        top: int = 1,
        with_true: bool = False,
        with_first_view: bool = False,
        members: Team = ONE,
    ) -> None:
        self.task = task
        self.num_images = num_images
        self.device = device
        self.num_models = num_models
        self.top = min(top, task.num_outputs)
        self.with_true = with_true
        self.with_first_view = with_first_view
        self.members = members
        self.reset()

    def reset(self) -> None:
        """Forget a pass; what it took is freed."""
        self.num_seen = 0  # by this process
        self.num_steps = 0  # of the pass
        self.batches: Batches | None = None
        self._loaded: dict[str, Any] | None = None
        # Columns for each image: of many classes the likeliest, and the true one.
        self.num_kept = self.top + self.with_true if self.task.is_many else self.task.num_outputs
        self._values: Tensor | None = None  # made with the first batch, where too little memory is named
        self._classes: Tensor | None = None
        self.loss_sum = torch.zeros((), device=self.device)
        self._bad_step = torch.full((), -1, device=self.device)

    def begin(self, batches: Batches, first_step: int = 0) -> None:
        """Begin a pass, or go on with what was loaded of it.

        Args:
            batches: of the pass, with what this process has of it.
            first_step: that is to come.
        """
        if first_step == 0:
            self.reset()
        self.batches, self.num_steps = batches, first_step
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            own = torch.from_numpy(batches.positions(self.members.rank, first_step))
            self._take(loaded["values"][:, own], None if loaded["classes"] is None else loaded["classes"][:, own])
            if self.members.is_first:
                self.loss_sum.copy_(loaded["loss_sum"])

    def _take(self, values: Tensor, classes: Tensor | None) -> None:
        """Go on from what is known of the first images of this process, copied to its device."""
        _, self.num_seen, self.num_kept = values.shape
        for buffer, known in zip(self._buffers(), (values, classes), strict=True):
            if buffer is not None and known is not None:
                buffer[:, : self.num_seen].copy_(known)

    @property
    def bad_step(self) -> int:
        """The first step whose loss is not finite; -1 for none. Asking waits for the device, and for all processes."""
        own = int(self._bad_step)
        (latest,) = self.members.largest([-own if own >= 0 else -_NO_STEP])
        return -1 if latest == -_NO_STEP else -latest

    @property
    def loss(self) -> float:
        """The mean loss over all images, once all are in, and joined. Asking waits for the device."""
        return float(self.loss_sum) / self.num_images

    @torch.no_grad()
    def add(self, batch: Batch, logits: Tensor, losses: Tensor | None) -> None:
        """Take the next batch in, without waiting for the device.

        Args:
            batch: with targets, where the true class is kept.
            logits: float (num_models, num_views, batch, num_outputs), or (batch, num_outputs) of one network and view.
            losses: float32 (batch,); None where there are none.
        """
        self.num_steps = batch.step + 1
        if not batch.counts:
            return
        values, classes = self._buffers()
        place = slice(self.num_seen, self.num_seen + len(batch))
        for row, probs in enumerate(self._predictions(logits)):
            if classes is None:
                values[row, place] = probs
            else:
                values[row, place], classes[row, place] = self._likeliest(probs, batch.targets)
        self.num_seen = place.stop
        if losses is not None:
            summed = losses.sum()
            self.loss_sum += summed
            self._bad_step = torch.where((self._bad_step < 0) & ~summed.isfinite(), batch.step, self._bad_step)

    def join(self) -> None:
        """Bring what the processes of a whole pass have to the first of them, and the sum of the losses to all."""
        if self.members.size == 1:
            return
        values, classes = self._buffers()
        assert self.batches is not None, "a pass that is shared was begun"
        # Not those that this process has seen: others may have the last ones.
        self.num_steps = len(self.batches.bounds())
        self._values, self._classes = self._of_all(values), None if classes is None else self._of_all(classes)
        self.members.add_up(self.loss_sum)

    def _of_all(self, own: Tensor) -> Tensor:
        """What all processes have so far, (num_rows, num_images, num_kept) in the order of the pass; no images but on
        the first process.
        """
        seen = own[:, : self.num_seen]
        if self.members.size == 1:
            return seen
        assert self.batches is not None, "a pass that is shared was begun"
        rows = join_rows(seen.transpose(0, 1), self.batches, self.num_steps, self.members)
        return seen[:, :0] if rows is None else rows.transpose(0, 1)

    def _buffers(self) -> tuple[Tensor, Tensor | None]:
        """Values (num_rows, num_images, num_kept) and, of many classes, whose they are, of this process's images; a row
        for each network, and behind these one for each by its first view.
        """
        if self._values is None:
            own = self.num_images
            if self.members.size > 1 and self.batches is not None:
                own = len(self.batches.positions(self.members.rank))
            shape = (self.num_models * (1 + self.with_first_view), own, self.num_kept)
            self._values = torch.empty(shape, device=self.device)
            if self.task.is_many:
                self._classes = torch.empty(shape, dtype=torch.int32, device=self.device)
        return self._values, self._classes

    def _predictions(self, logits: Tensor) -> Iterator[Tensor]:
        """float32 (batch, num_outputs) for each row: what each network says by all views, then by its first alone."""
        if logits.ndim == 2:
            yield activate(logits, self.task)
            return
        by_view = [[activate(view, self.task) for view in views] for views in logits]
        for probs in by_view:
            yield torch.stack(probs).mean(0) if len(probs) > 1 else probs[0]
        if self.with_first_view:
            for probs in by_view:
                yield probs[0]

    def _likeliest(self, probs: Tensor, targets: Tensor | None) -> tuple[Tensor, Tensor]:
        """The largest probabilities of each image and their classes, the true one behind them."""
        values, classes = probs.topk(self.num_kept - self.with_true, dim=1)
        if not self.with_true:
            return values, classes
        assert targets is not None, "the true class can be kept where it is known"
        true = (targets if targets.ndim == 1 else targets.argmax(1))[:, None]  # mixed targets: the larger share
        return torch.cat([values, probs.gather(1, true)], 1), torch.cat([classes, true], 1)

    def probs(self, model: int = 0, *, first_view: bool = False) -> Probs:
        """What a network says of the images, in the order of the pass: by all views, or by its first alone. Of a pass
        that was shared and joined the first process has all of it, the others nothing.
        """
        values, classes = self._buffers()
        row = model + self.num_models * first_view
        rows = values[row].cpu().numpy()
        if classes is None:
            return Probs.dense(rows)
        return Probs.top(rows, classes[row].cpu().numpy().astype(np.int64), self.task.num_outputs)

    def state_dict(self) -> dict[str, Any]:
        """What was gathered so far, by all processes, for the first of them. Only what is finite is saved,
        so no bad step is in it.
        """
        values, classes = self._buffers()
        loss_sum = self.loss_sum.clone()
        self.members.add_up(loss_sum)
        return {
            "values": self._of_all(values),
            "classes": None if classes is None else self._of_all(classes),
            "loss_sum": loss_sum,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what was gathered by all; a pass under way keeps as many classes as it began with, whatever
        another metric asks for.
        """
        self.reset()
        if self.members.size > 1:
            self._loaded = state  # what of it is this process's, says the pass
        else:
            self._take(state["values"], state["classes"])
            self.loss_sum.copy_(state["loss_sum"])


def join_rows(rows: Tensor, batches: Batches, num_steps: int, members: Team) -> Tensor | None:
    """Bring the rows of a pass's images, which processes have in parts, to the first of them.

    Args:
        rows: (num_images, ...), of this process's images, in their order.
        batches: of the pass.
        num_steps: of it that are done.
        members: the processes.

    Returns:
        The rows of all images in the order of the pass, on the CPU; None on other processes than the first.
    """
    positions = [batches.positions(rank, num_steps) for rank in range(members.size)]
    parts = members.collect(rows.cpu().contiguous(), [len(some) for some in positions])
    if parts is None:
        return None
    whole = torch.empty((sum(map(len, positions)), *rows.shape[1:]), dtype=rows.dtype)
    for some, part in zip(positions, parts, strict=True):
        whole[torch.from_numpy(some)] = part
    return whole
