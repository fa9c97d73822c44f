"""The state of a training: all that one step changes and the next one needs."""

import contextlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.config import TrainConfig
from pipeline.engine.freezing import freeze
from pipeline.engine.gathered import Gathered
from pipeline.engine.machine import Machine
from pipeline.engine.norms import FreshNorms
from pipeline.engine.optimizer import lr_factor, make_optimizer
from pipeline.engine.recompute import statistics_kept
from pipeline.engine.shards import Shards, is_part, is_sharded, own_part
from pipeline.engine.together import Together
from pipeline.processes import ONE, Team
from pipeline.randomness import derived_seed

Row = dict[str, Any]


class TrainState:
    """Network, averaged weights, optimizer, gradient scaler, place in the schedule, and what the epoch gave so far.

    Randomness is counted and the order of an epoch is a function of its number, so there is no generator in it: with
    `state_dict()` a training goes on after any step as if nothing had happened. What it owns is changed through its
    methods; `run_model` alone adds to `gathered`.

    Args:
        cfg: the settings of training.
        fold: whose model it is; what the network draws depends on it.
        model: on its device; on the CPU where the members hold it in parts, see `train.shard`.
        machine: device and precision.
        batch_sizes: images in each batch of an epoch, in order.
        gathered: where an epoch's predictions and losses are gathered.
        members: the processes that train it together.
    """

    def __init__(
        self,
        cfg: TrainConfig,
        fold: int | str,
        model: nn.Module,
        machine: Machine,
        batch_sizes: Sequence[int],
        gathered: Gathered,
        members: Team = ONE,
    ) -> None:
        self.cfg = cfg
        self.fold = fold
        self.model = model
        self.machine = machine
        self.batch_sizes = batch_sizes
        self.updates_per_epoch = math.ceil(len(batch_sizes) / cfg.accumulate)
        self.fresh_norms = FreshNorms(model)
        shard = is_sharded(cfg, members)
        self.ema = averaged(model, cfg.ema, at_once=not shard) if cfg.ema else None
        average = self.ema.module if self.ema else None
        self.shards = Shards(model, average, members, machine.device) if shard else None
        self.optimizer = make_optimizer(cfg, model)
        self.base_lrs = [float(group["lr"]) for group in self.optimizer.param_groups]
        self.scaler = torch.amp.GradScaler(machine.device.type, enabled=machine.precision == "float16")
        self.gathered = gathered
        self.members = members
        self.together = Together(
            model, members, sync_norms=cfg.sync_norms, recomputes=cfg.grad_checkpointing, averages=not shard
        )
        self.epoch = 0  # under way, from 0 on
        self.step = 0  # batches of it that are done
        self.pieces = 1  # in which a batch goes through the network: more once memory ran out
        self.lr_scale = 1.0  # lower once a training has diverged and goes on from the last epoch's end
        self.history: list[Row] = []  # a row for each whole epoch

    @property
    def at(self) -> tuple[int, int]:
        """How far the training is: the epoch under way and its steps that are done."""
        return self.epoch, self.step

    @property
    def num_steps(self) -> int:
        """Steps of an epoch: one for each batch."""
        return len(self.batch_sizes)

    @property
    def num_updates(self) -> int:
        """How often the weights were changed so far, a group of batches under way counted as done."""
        return self.epoch * self.updates_per_epoch + math.ceil(self.step / self.cfg.accumulate)

    @property
    def could_recompute(self) -> bool:
        """Whether less memory may do, by a setting that is off: see `recompute`."""
        return hasattr(self.model, "set_grad_checkpointing") and not self.cfg.grad_checkpointing

    @property
    def is_between_updates(self) -> bool:
        """Whether no gradients wait for more batches."""
        return self.step % self.cfg.accumulate == 0 or self.step == self.num_steps

    @property
    def epoch_lr(self) -> float:
        """The learning rate at the start of the epoch under way."""
        return self.cfg.lr * self._lr_factor(self.epoch * self.updates_per_epoch)

    def _lr_factor(self, update: int) -> float:
        in_all = self.updates_per_epoch * self.cfg.num_epochs
        return self.lr_scale * lr_factor(self.cfg, update, in_all, self.updates_per_epoch)

    def freeze(self) -> None:
        """Have the network, in training mode, learn what it is to learn in the epoch under way."""
        freeze(self.model, self.cfg, self.epoch)

    def network(self) -> nn.Module:
        """The network as it learns in the epoch under way: where several processes train it, it averages gradients."""
        self.model.train()
        self.freeze()
        return self.together.network()

    def seed_step(self) -> None:
        """Seed what the network draws in the next step (dropout)."""
        own = self.together.own_draws
        self.machine.seed(derived_seed("step", self.cfg.seed, self.fold, self.epoch, self.step, *own))

    def begin_piece(self, index: int, count: int) -> None:
        """Have the batch norms count a piece of the batch, of so many, as they should."""
        self.fresh_norms.count((self.epoch * self.num_steps + self.step) * count + index)

    def num_pieces(self, num_images: int) -> int:
        """In how many pieces a batch goes through the network, of two images or more, which batch norm needs."""
        return min(self.pieces, max(1, num_images // 2))

    def halve_pieces(self) -> bool:
        """Have this batch begin again, and all that follow go through the network, in twice as many pieces.

        Returns:
            Whether that can be: not where pieces are as small as can be, or other processes wait in the same step.
        """
        most = self.batch_sizes[self.step] // 2
        if self.pieces >= most or self.members.size > 1:
            return False
        self.pieces = min(2 * self.pieces, most)
        self.model.zero_grad(set_to_none=True)
        return True

    def set_gradients_aside(self) -> list[Tensor | None]:
        """Take the gradients of the batches before this one of its group away, so that it may begin again without them.

        They take no more memory than where they are: the batch's own are made as its activations are freed.
        """
        waiting = [parameter.grad for parameter in self.model.parameters()]
        self.model.zero_grad(set_to_none=True)
        return waiting

    def join_gradients(self, waiting: Sequence[Tensor | None]) -> None:
        """Add the gradients of this batch to those that were set aside."""
        for parameter, before in zip(self.model.parameters(), waiting, strict=True):
            if before is not None:
                parameter.grad = before if parameter.grad is None else before.add_(parameter.grad)

    def add_gradients(self, loss: Tensor, part: float = 1.0) -> None:
        """Backpropagate the mean loss of a batch, or of a part of its images.

        An update's gradient is the mean over all images of its group: a batch counts by its images, and an epoch's last
        group, which may be smaller, in full.
        """
        first = self.step - self.step % self.cfg.accumulate
        group = self.batch_sizes[first : first + self.cfg.accumulate]
        share = sum(group) / self.batch_sizes[self.step] / part  # exact for batches of one size
        with statistics_kept(self.model) if self.cfg.grad_checkpointing else contextlib.nullcontext():
            self.scaler.scale(loss / share if share > 1 else loss).backward()  # type: ignore[no-untyped-call]

    def have_all_alike(self) -> None:
        """Have all processes hold the first one's weights and statistics: those of norms may differ, see
        `train.sync_norms`. What each has a part of is nobody else's.
        """
        for model in (self.model, self.final):
            self.members.spread([value for value in model.state_dict().values() if not is_part(value)])

    def take_step(self) -> None:
        """Count a batch whose gradients are there; change the weights where its group of batches is whole."""
        self.step += 1
        if self.is_between_updates:
            self._update()

    def _update(self) -> None:
        # Where float16 overflows the scaler leaves the weights as they are; the schedule and the average go on.
        factor = self._lr_factor(self.num_updates - 1)
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = base * factor
        if self.cfg.clip_grad:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.cfg.clip_grad)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.ema:
            self.ema.update(self.model, self.num_updates)

    def forget_gathered(self) -> None:
        """Free what the epoch's predictions take, once they are scored."""
        self.gathered.reset()

    def end_epoch(self, row: Row) -> None:
        """Go on to the next epoch, with what this one gave in the history."""
        self.history.append(row)
        self.epoch += 1
        self.step = 0
        self.gathered.reset()

    def halve_lr(self) -> None:
        """Go on at half the rate."""
        self.lr_scale /= 2

    def is_finite(self) -> bool:
        """Whether all weights and statistics that this process has are, with one wait for the device."""
        tensors = [own_part(tensor) for tensor in self.model.state_dict().values() if tensor.is_floating_point()]
        return bool(torch.stack([tensor.isfinite().all() for tensor in tensors]).all())

    @property
    def final(self) -> nn.Module:
        """The network that predicts: that of the averaged weights where `train.ema` asks for them."""
        final: nn.Module = self.ema.module if self.ema else self.model
        return final

    def whole(self) -> nn.Module:
        """The network that predicts, with all its weights; a copy on the CPU where processes hold it in parts, for
        which all of them ask together.
        """
        return self.shards.whole(self.final) if self.shards else self.final

    def state_dict(self) -> dict[str, Any]:
        """All of it that this process has, nested, not copied."""
        state = {
            "epoch": self.epoch,
            "step": self.step,
            "pieces": self.pieces,
            "lr_scale": self.lr_scale,
            "history": self.history,
            "model": self.model.state_dict(),
            "ema": self.ema.module.state_dict() if self.ema else None,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "gathered": self.gathered.state_dict() if self.step else None,
        }
        return own_part(state) if self.shards else state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, with copies on this device.

        The optimizer's part is put back by its own rules, but in the dtypes that it had, where torch casts to the
        parameters'. `torch.distributed.checkpoint.state_dict` does not serve: it fills a new optimizer by a step of
        its own, which counts in those that count their steps, and casts as well.
        """
        self.epoch, self.step, self.pieces = state["epoch"], state["step"], state["pieces"]
        self.lr_scale, self.history = state["lr_scale"], list(state["history"])
        self._load_weights(self.model, state["model"])
        if self.ema:
            self._load_weights(self.ema.module, state["ema"])
        self.optimizer.zero_grad(set_to_none=True)
        optimizer = state["optimizer"]
        if self.shards:
            optimizer = self.shards.of_optimizer(self.optimizer, optimizer)
        self.optimizer.load_state_dict(optimizer)
        for name, entries in self.optimizer.state_dict()["state"].items():
            entries.update(_in_dtypes_of(optimizer["state"][name], entries))
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        self.gathered.reset()
        if state["gathered"]:
            self.gathered.load_state_dict(state["gathered"])

    def _load_weights(self, model: nn.Module, weights: Mapping[str, Tensor]) -> None:
        if self.shards:
            self.shards.load(model, weights)
        else:
            model.load_state_dict(weights)


def averaged(model: nn.Module, decay: float, *, at_once: bool = True) -> Any:
    """The exponential moving average of a network's weights, and of its float buffers such as batch norm's statistics.

    Update number n keeps `min(decay, (1 + n) / (10 + n))` of the average, so that early weights are soon forgotten
    (tf.train.ExponentialMovingAverage, `num_updates`): timm's warm-up of power 1 and gamma 9, two updates on. timm's
    own power of 2/3 forgets them more slowly in trainings of few steps: see the benchmarks' README.

    Args:
        model: copied.
        decay: the largest.
        at_once: whether one call takes all tensors: not where some are parts and others whole, see `Shards`.
    """
    from timm.utils import ModelEmaV3  # it takes seconds

    return ModelEmaV3(
        model, decay, update_after_step=-2, use_warmup=True, warmup_gamma=9.0, warmup_power=1.0, foreach=at_once
    )


def _in_dtypes_of(saved: Any, loaded: Any) -> Any:
    """What was loaded, but where a tensor was cast as it was saved."""
    if isinstance(saved, Tensor):
        return loaded if loaded.dtype == saved.dtype else saved.to(loaded.device)
    if isinstance(saved, dict):
        return {key: _in_dtypes_of(value, loaded[key]) for key, value in saved.items()}
    if isinstance(saved, (list, tuple)):
        return type(saved)(_in_dtypes_of(*pair) for pair in zip(saved, loaded, strict=True))
    return loaded
