"""A training that is under way, on disk: what it takes to go on after any step as if nothing had happened.

Randomness is counted and the order of an epoch is a function of its number, so there is no generator to keep: weights,
their average, the optimizer's state, the epoch's sums so far, and how many steps were made. There are two files, of
the last epoch's end and of a step since then. Each is renamed into place when it is whole; until then the one before
is kept. They are written beside the training, by a thread: the disk is not waited for.
"""

import copy
import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from pipeline.cli import log
from pipeline.engine.machine import Machine
from pipeline.engine.update import Update
from pipeline.files import InputError, atomic_path
from pipeline.model.checkpoint import read_safetensors

_KEY = "resume"


@dataclass
class Progress:
    """How far a training is.

    epoch, step: the epoch under way and how many of its batches are done; from 0 on.
    history: a row for each whole epoch.
    outputs, total: what `run_model` has gathered in the epoch so far; None at its start.
    lr: the learning rate at the start of the epoch under way; None at its start.
    """

    epoch: int = 0
    step: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    outputs: Tensor | None = None
    total: Tensor | None = None
    lr: float | None = None


class Resume:
    """The files of one training.

    Args:
        folder: where they are.
        made_from: all that the training depends on; a training from something else is not gone on with.
        minutes: between two savings within an epoch.
    """

    def __init__(self, folder: Path, made_from: Mapping[str, Any], minutes: float) -> None:
        self.within_epoch = folder / "resume.safetensors"
        self.epoch_end = folder / "resume-epoch.safetensors"
        self.made_from = json.loads(json.dumps(made_from))
        self.made_on = ""
        self.seconds = 60 * minutes
        self.saved_at = time.monotonic()
        self.writer = ThreadPoolExecutor(1, "save")
        self.under_way: Future[None] | None = None

    @property
    def is_due(self) -> bool:
        """Whether it is time to save again. When that is changes no result."""
        return time.monotonic() - self.saved_at >= self.seconds

    def save(
        self, progress: Progress, model: nn.Module, update: Update, *, epoch_end: bool, wait: bool = False
    ) -> None:
        """Have the state after a step written; the one before is waited for.

        Args:
            progress: how far the training is.
            model: in training.
            update: of the model.
            epoch_end: whether it is kept until the next epoch's end.
            wait: until it is on the disk.

        Raises:
            OSError: this or the one before could not be written.
        """
        tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
        if update.ema:
            tensors |= {f"ema.{name}": tensor for name, tensor in update.ema.state_dict().items()}
        numbers: dict[str, Any] = {}
        for name, value in _optimizer_values(update):
            if isinstance(value, Tensor):
                tensors[name] = value
            elif isinstance(value, (int, float)):
                numbers[name] = value
        if progress.outputs is not None and progress.total is not None:
            tensors |= {"outputs": progress.outputs, "total": progress.total}
        # Copied, as training goes on while they are written; contiguous, on the CPU, none in the memory of another.
        kept = {name: torch.empty(t.shape, dtype=t.dtype).copy_(t.detach()) for name, t in tensors.items()}
        values = {
            "made_from": self.made_from,
            "made_on": self.made_on,
            "epoch": progress.epoch,
            "step": progress.step,
            "history": progress.history,
            "lr": progress.lr,
            "updates": [update.step, update.batch, update.lr_scale],
            "scaler": update.scaler.state_dict(),
            "optimizer": numbers,
        }
        self.wait()
        path = self.epoch_end if epoch_end else self.within_epoch
        self.under_way = self.writer.submit(self.write, path, kept, copy.deepcopy(values))
        self.saved_at = time.monotonic()
        if wait:
            self.wait()

    def write(self, path: Path, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Write one file, whole or not at all; the thread's work."""
        with atomic_path(path) as temporary:
            text = json.dumps({**values, "sha256": _digest(tensors)}, sort_keys=True)
            safetensors.torch.save_file(tensors, temporary, {_KEY: text})

    def wait(self) -> None:
        """Wait until what was to be saved is on the disk.

        Raises:
            OSError: it could not be written.
        """
        under_way, self.under_way = self.under_way, None
        if under_way is not None:
            under_way.result()

    def load(self, model: nn.Module, update: Update, machine: Machine, *, keep_start: bool) -> Progress:
        """Put the latest state into a new network and its update; where there is none, they stay as they are.

        Args:
            model: as it is before the first step.
            update: of the model.
            machine: what the training goes on on.
            keep_start: save the state before the first step too, to go `back` to.

        Raises:
            InputError: the training was begun with other versions or on another device: going on would give a model
                that no machine gives in one go.
        """
        # Others give other bytes, so a training stays on them.
        self.made_on = f"{machine.describe()} with torch {torch.__version__}"
        end, within = self._read(self.epoch_end), self._read(self.within_epoch)
        if end is None and keep_start:
            self.save(Progress(), model, update, epoch_end=True)
        found = [saved for saved in (end, within) if saved]
        if not found:
            return Progress()
        latest = max(found, key=lambda saved: (saved.values["epoch"], saved.values["step"]))
        return self._put(latest, model, update, machine)

    def back(self, model: nn.Module, update: Update, machine: Machine) -> Progress:
        """Put the state of the last epoch's end into a network that has diverged, to go on at half the rate."""
        self.wait()
        saved = self._read(self.epoch_end)
        if saved is None:
            raise InputError(f"{self.epoch_end} must be there and whole to go back to. Start the same command again")
        progress = self._put(saved, model, update, machine)
        update.lr_scale /= 2
        self.within_epoch.unlink(missing_ok=True)  # it is of the rate as it was
        self.save(progress, model, update, epoch_end=True)
        return progress

    def _read(self, path: Path) -> "_Saved | None":
        """A file's state; None where there is none, it is not whole, or of another training."""
        if not path.is_file():
            return None
        try:
            tensors, metadata = read_safetensors(path)
            values = json.loads(metadata[_KEY])
            if values["sha256"] != _digest(tensors):
                raise ValueError("its checksum is another")
        except (InputError, LookupError, ValueError, TypeError) as error:
            log.info("train: %s is not whole (%s) and is not gone on from", path, error)
            return None
        if values["made_from"] != self.made_from:
            log.info("train: %s is of another training and is not gone on from", path)
            return None
        if values["made_on"] != self.made_on:
            raise InputError(
                f"{path} is a training under way, begun on {values['made_on']}. Go on there, or delete it to begin "
                f"anew on {self.made_on}"
            )
        return _Saved(tensors, values)

    def _put(self, saved: "_Saved", model: nn.Module, update: Update, machine: Machine) -> Progress:
        tensors, values = saved.tensors, saved.values
        _restore(model, update, tensors, values)
        outputs, total = (
            tensors[name].to(machine.device) if name in tensors else None for name in ("outputs", "total")
        )
        return Progress(values["epoch"], values["step"], values["history"], outputs, total, values["lr"])

    def delete(self) -> None:
        """The training is over."""
        self.wait()
        for path in (self.within_epoch, self.epoch_end):
            path.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Saved:
    """What a file holds."""

    tensors: dict[str, Tensor]
    values: dict[str, Any]


def _restore(model: nn.Module, update: Update, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
    model.load_state_dict(_part(tensors, "model."))
    if update.ema:
        update.ema.load_state_dict(_part(tensors, "ema."))
    update.step, update.batch, update.lr_scale = values["updates"]
    update.optimizer.zero_grad(set_to_none=True)
    update.optimizer.state.clear()
    if values["scaler"]:
        update.scaler.load_state_dict(values["scaler"])
    saved: dict[str, Any] = {**tensors, **values["optimizer"]}
    groups: Any = update.optimizer.param_groups
    for name, value in _part(saved, "group.").items():
        number, _, key = name.partition(".")
        groups[int(number)][key] = value
    state: dict[int, dict[str, Any]] = {}
    for name, value in _part(saved, "state.").items():
        number, _, key = name.partition(".")
        state.setdefault(int(number), {})[key] = value
    parameters = [parameter for group in groups for parameter in group["params"]]
    for place, entries in state.items():
        parameter = parameters[place]
        for key, value in entries.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                # In the parameter's own memory format, which fused optimizers go by.
                entries[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
            elif isinstance(value, Tensor):
                entries[key] = value.to(parameter.device) if value.ndim else value
        update.optimizer.state[parameter] = entries


def _optimizer_values(update: Update) -> Iterator[tuple[str, Any]]:
    """All that changes in an optimizer while it steps: `state.number.key`, and `group.number.key`, as timm counts."""
    for number, entries in update.optimizer.state_dict()["state"].items():
        for key, value in entries.items():
            yield f"state.{number}.{key}", value
    for number, group in enumerate(update.optimizer.param_groups):
        for key, value in group.items():
            yield f"group.{number}.{key}", value


def _part(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
