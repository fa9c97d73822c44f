"""From a batch's loss to new weights: accumulation, clipping, schedule, float16 scaling, averaging."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipeline.config import TrainConfig
from pipeline.engine.machine import Machine
from pipeline.engine.optimizer import EMA, lr_factor, make_optimizer


class Update:
    """One optimizer step for every `train.accumulate` batches.

    Args:
        cfg: the settings of training.
        model: on its device.
        machine: device and precision.
        batch_sizes: images in each batch of an epoch, in order.
    """

    def __init__(self, cfg: TrainConfig, model: nn.Module, machine: Machine, batch_sizes: Sequence[int]) -> None:
        self.cfg = cfg
        self.model = model
        self.machine = machine
        self.batch_sizes = batch_sizes
        self.steps_per_epoch = math.ceil(len(batch_sizes) / cfg.accumulate)
        self.num_steps = self.steps_per_epoch * cfg.num_epochs
        self.step = 0
        self.batch = 0
        self.lr_scale = 1.0  # lower once a training has diverged and goes on from the last epoch's end
        self.optimizer = make_optimizer(cfg, model)
        self.base_lrs = [float(group["lr"]) for group in self.optimizer.param_groups]
        self.scaler = torch.amp.GradScaler(machine.device.type, enabled=machine.precision == "float16")
        self.ema = EMA(model, cfg.ema) if cfg.ema else None

    def lr_at(self, step: int) -> float:
        """The learning rate of a step."""
        return self.cfg.lr * self._factor(step)

    def _factor(self, step: int) -> float:
        return self.lr_scale * lr_factor(self.cfg, step, self.num_steps, self.steps_per_epoch)

    @property
    def is_between_steps(self) -> bool:
        """Whether no gradients wait for more batches."""
        in_epoch = self.batch % len(self.batch_sizes)
        return in_epoch % self.cfg.accumulate == 0

    def __call__(self, loss: Tensor) -> None:
        """Backpropagate a batch's mean loss; step where its group of batches is whole.

        A step's gradient is the mean over all images of its group: a batch counts by its images, and an epoch's last
        group, which may be smaller, in full.
        """
        in_epoch = self.batch % len(self.batch_sizes)
        first = in_epoch - in_epoch % self.cfg.accumulate
        group = self.batch_sizes[first : first + self.cfg.accumulate]
        part = sum(group) / self.batch_sizes[in_epoch]  # exact for batches of one size
        self.scaler.scale(loss / part if part > 1 else loss).backward()  # type: ignore[no-untyped-call]
        self.batch += 1
        if in_epoch - first + 1 == len(group):
            self._step()

    def _step(self) -> None:
        factor = self._factor(self.step)
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = base * factor
        if self.cfg.clip_grad:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.cfg.clip_grad)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        if self.ema:
            self.ema.update(self.model, self.step)
