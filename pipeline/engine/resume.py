"""A training that is under way, on disk: what it takes to go on after any step as if nothing had happened.

Randomness is counted and the order of an epoch is a function of its number, so there is no generator to keep: weights,
their average, the optimizer's state, the epoch's sums so far, and how many steps were made. The file is renamed into
place when it is whole; until then the one before is kept.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from pipeline.cli import log
from pipeline.engine.machine import Machine
from pipeline.engine.update import Update
from pipeline.files import InputError, atomic_write
from pipeline.model.checkpoint import read_safetensors

_KEY = "resume"


@dataclass
class Progress:
    """How far a training is.

    epoch, step: the epoch under way and how many of its batches are done; from 0 on.
    history: a row for each whole epoch.
    outputs, total: what `run_model` has gathered in the epoch so far; None at its start.
    """

    epoch: int = 0
    step: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    outputs: Tensor | None = None
    total: Tensor | None = None


class Resume:
    """The file of one training.

    Args:
        path: where it is.
        made_from: all that the training depends on; a training from something else is not gone on with.
        minutes: between two savings within an epoch.
    """

    def __init__(self, path: Path, made_from: Mapping[str, Any], minutes: float) -> None:
        self.path = path
        self.made_from = json.loads(json.dumps(made_from))
        self.made_on = ""
        self.seconds = 60 * minutes
        self.saved_at = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether it is time to save again. When that is changes no result."""
        return time.monotonic() - self.saved_at >= self.seconds

    def save(self, progress: Progress, model: nn.Module, update: Update) -> None:
        """Write the state after a step."""
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
        kept = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        values = {
            "made_from": self.made_from,
            "made_on": self.made_on,
            "epoch": progress.epoch,
            "step": progress.step,
            "history": progress.history,
            "updates": [update.step, update.batch],
            "scaler": update.scaler.state_dict(),
            "optimizer": numbers,
            "sha256": _digest(kept),
        }
        content = safetensors.torch.save(kept, {_KEY: json.dumps(values, sort_keys=True)})
        with atomic_write(self.path) as stream:
            stream.write(content)
        self.saved_at = time.monotonic()

    def load(self, model: nn.Module, update: Update, machine: Machine) -> Progress:
        """Put a saved state into a new network and its update; where there is none, they stay as they are.

        Raises:
            InputError: the training was begun with other versions or on another device: going on would give a model
                that no machine gives in one go.
        """
        # Others give other bytes, so a training stays on them.
        self.made_on = f"{machine.describe()} with torch {torch.__version__}"
        if not self.path.is_file():
            return Progress()
        try:
            tensors, metadata = read_safetensors(self.path)
            values = json.loads(metadata[_KEY])
            if values["sha256"] != _digest(tensors):
                raise ValueError("its checksum is another")
        except (InputError, LookupError, ValueError, TypeError) as error:
            log.info("train: %s is not whole (%s); training begins anew", self.path, error)
            return Progress()
        if values["made_from"] != self.made_from:
            log.info("train: %s is of another training; training begins anew", self.path)
            return Progress()
        if values["made_on"] != self.made_on:
            raise InputError(
                f"{self.path} is a training under way, begun on {values['made_on']}. Go on there, or delete it to "
                f"begin anew on {self.made_on}"
            )
        _restore(model, update, tensors, values)
        outputs, total = (
            tensors[name].to(machine.device) if name in tensors else None for name in ("outputs", "total")
        )
        return Progress(values["epoch"], values["step"], values["history"], outputs, total)

    def delete(self) -> None:
        """The training is over."""
        self.path.unlink(missing_ok=True)


def _restore(model: nn.Module, update: Update, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
    model.load_state_dict(_part(tensors, "model."))
    if update.ema:
        update.ema.load_state_dict(_part(tensors, "ema."))
    update.step, update.batch = values["updates"]
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
        digest.update(tensors[name].contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
