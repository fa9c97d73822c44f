"""What a pass gathers on the device: of every image what is predicted, and the sum of the losses."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.competition.answers.probs import Probs
from pipeline.competition.answers.task import Task
from pipeline.images.batches import Batch


def activate(logits: Tensor, task: Task) -> Tensor:
    """Logits (..., num_outputs) -> probabilities, or numbers in the label's own unit; float32."""
    if task.activation == "softmax":
        return logits.float().softmax(-1)
    if task.activation == "sigmoid":
        return logits.float().sigmoid()
    return logits.float() * task.std + task.mean


class Gathered:
    """Predictions for the images of a pass, by each of some networks, and the sum of the images' losses.

    Of many classes the likeliest alone are kept, and the true one where it is known.

    Args:
        task: kind and classes.
        num_images: of the pass.
        device: where all of it is kept until it is asked for.
        num_models: how many networks predict side by side.
        top: of many classes, how many are kept of each image.
        with_true: whether of many classes the true one is kept too.
        with_first_view: whether what each network says by its first view alone is kept too.
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
    ) -> None:
        self.task = task
        self.num_images = num_images
        self.device = device
        self.num_models = num_models
        self.top = min(top, task.num_outputs)
        self.with_true = with_true
        self.with_first_view = with_first_view
        self.reset()

    def reset(self) -> None:
        """Begin a pass; what the one before took is freed."""
        self.num_seen = 0
        # Columns for each image: of many classes the likeliest, and the true one.
        self.num_kept = self.top + self.with_true if self.task.is_many else self.task.num_outputs
        self._values: Tensor | None = None  # made with the first batch, where too little memory is named
        self._classes: Tensor | None = None
        self.loss_sum = torch.zeros((), device=self.device)
        self._bad_step = torch.full((), -1, device=self.device)

    @property
    def bad_step(self) -> int:
        """The first step whose loss is not finite; -1 for none. Asking waits for the device."""
        return int(self._bad_step)

    @property
    def loss(self) -> float:
        """The mean loss over all images, once all are in. Asking waits for the device."""
        return float(self.loss_sum) / self.num_images

    @torch.no_grad()
    def add(self, batch: Batch, step: int, logits: Tensor, losses: Tensor | None) -> None:
        """Take the next batch in, without waiting for the device.

        Args:
            batch: with targets, where the true class is kept.
            step: of the pass, from 0 on.
            logits: float (num_models, num_views, batch, num_outputs), or (batch, num_outputs) of one network and view.
            losses: float32 (batch,); None where there are none.
        """
        values, classes = self._buffers()
        place = slice(batch.position, batch.position + len(batch))
        for row, probs in enumerate(self._predictions(logits)):
            if classes is None:
                values[row, place] = probs
            else:
                values[row, place], classes[row, place] = self._likeliest(probs, batch.targets)
        self.num_seen = place.stop
        if losses is not None:
            summed = losses.sum()
            self.loss_sum += summed
            self._bad_step = torch.where((self._bad_step < 0) & ~summed.isfinite(), step, self._bad_step)

    def _buffers(self) -> tuple[Tensor, Tensor | None]:
        """Values (num_rows, num_images, num_kept) and, of many classes, whose they are; a row for each network, and
        behind these one for each by its first view.
        """
        if self._values is None:
            shape = (self.num_models * (1 + self.with_first_view), self.num_images, self.num_kept)
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
        """What a network says of the images, in the order of the pass: by all views, or by its first alone."""
        values, classes = self._buffers()
        row = model + self.num_models * first_view
        rows = values[row].cpu().numpy()
        if classes is None:
            return Probs.dense(rows)
        return Probs.top(rows, classes[row].cpu().numpy().astype(np.int64), self.task.num_outputs)

    def state_dict(self) -> dict[str, Any]:
        """What was gathered so far, not copied; only what is finite is saved, so no bad step is in it."""
        values, classes = self._buffers()
        return {
            "values": values[:, : self.num_seen],
            "classes": None if classes is None else classes[:, : self.num_seen],
            "loss_sum": self.loss_sum,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what was gathered, copied to this device; a pass under way keeps as many classes as it began with,
        whatever another metric asks for.
        """
        self.reset()
        _, self.num_seen, self.num_kept = state["values"].shape
        self.loss_sum.copy_(state["loss_sum"])
        values, classes = self._buffers()
        values[:, : self.num_seen].copy_(state["values"])
        if classes is not None:
            classes[:, : self.num_seen].copy_(state["classes"])
