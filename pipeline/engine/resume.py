"""A training that is under way, on disk: what it takes to go on after any step as if nothing had happened.

Randomness is counted and the order of an epoch is a function of its number, so there is no generator to keep: weights,
their average, the optimizer's state, the epoch's sums so far, and how many steps were made. There are two files, of
the last epoch's end and of a step since then. Each is renamed into place when it is whole; until then the one before
is kept. They are written beside the training, by a thread: the disk is not waited for.
"""

import hashlib
import json
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from pipeline.engine.machine import Machine
from pipeline.engine.nested import put_together, take_apart
from pipeline.engine.update import Update
from pipeline.files import InputError, atomic_path
from pipeline.log import log
from pipeline.model.checkpoint import read_safetensors
from pipeline.stamps import versions

# In a file's metadata: what it holds but for the tensors, and the digest of all.
_KEY, _DIGEST = "resume", "sha256"
# Of the files. What is written in another format, or before there were numbers, is not gone on from.
_FORMAT = 2


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
        state = {
            "progress": vars(progress),
            "model": model.state_dict(),
            "ema": update.ema.state_dict() if update.ema else None,
            "updates": [update.step, update.batch, update.lr_scale],
            "scaler": update.scaler.state_dict(),
            "optimizer": update.optimizer.state_dict(),
        }
        # Copied, as training goes on while it is written.
        tensors, described = take_apart(state)
        text = json.dumps(
            {
                "format": _FORMAT,
                "made_from": self.made_from,
                "made_on": self.made_on,
                "at": [progress.epoch, progress.step],
                "state": described,
            }
        )
        self.wait()
        path = self.epoch_end if epoch_end else self.within_epoch
        self.under_way = self.writer.submit(self.write, path, tensors, text)
        self.saved_at = time.monotonic()
        if wait:
            self.wait()

    def write(self, path: Path, tensors: dict[str, Tensor], text: str) -> None:
        """Write one file, whole or not at all; the thread's work."""
        with atomic_path(path) as temporary:
            safetensors.torch.save_file(tensors, temporary, {_KEY: text, _DIGEST: _digest(tensors, text)})

    def wait(self) -> None:
        """Wait until what was to be saved is on the disk.

        Raises:
            OSError: it could not be written.
        """
        under_way, self.under_way = self.under_way, None
        if under_way is not None:
            under_way.result()

    def close(self) -> None:
        """Wait until nothing is being written any more, whatever becomes of it: the folder's lock is about to go."""
        self.writer.shutdown()

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
        self.made_on = f"{machine.describe()} with torch {torch.__version__}, timm {versions().get('timm')}"
        end, within = self._read(self.epoch_end), self._read(self.within_epoch)
        if end is None and keep_start:
            self.save(Progress(), model, update, epoch_end=True)
        found = [saved for saved in (end, within) if saved]
        if not found:
            return Progress()
        latest = max(found, key=lambda saved: saved.at)
        return _restore(latest.state(), model, update, machine)

    def back(self, model: nn.Module, update: Update, machine: Machine) -> Progress:
        """Put the state of the last epoch's end into a network that has diverged, to go on at half the rate."""
        self.wait()
        saved = self._read(self.epoch_end)
        if saved is None:
            raise InputError(f"{self.epoch_end} must be there and whole to go back to. Start the same command again")
        progress = _restore(saved.state(), model, update, machine)
        update.lr_scale /= 2
        self.within_epoch.unlink(missing_ok=True)  # it is of the rate as it was
        self.save(progress, model, update, epoch_end=True)
        return progress

    def _read(self, path: Path) -> "_Saved | None":
        """What a file holds; None where there is none, it is not whole, or of another format or training."""
        if not path.is_file():
            return None
        try:
            tensors, metadata = read_safetensors(path)
            values = json.loads(metadata[_KEY])
            if not isinstance(values, dict):
                raise ValueError("it describes no state")
            if values.get("format") != _FORMAT:
                log.info("train: %s was written by another version of this pipeline and is not gone on from", path)
                return None
            if metadata[_DIGEST] != _digest(tensors, metadata[_KEY]):
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
        return _Saved(values["at"], tensors, values["state"])

    def delete(self) -> None:
        """The training is over."""
        self.wait()
        for path in (self.within_epoch, self.epoch_end):
            path.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Saved:
    """What a file holds: the state of a training at some (epoch, step), taken apart."""

    at: list[int]
    tensors: dict[str, Tensor]
    described: Any

    def state(self) -> dict[str, Any]:
        """The state as it was saved, in new tensors on the CPU."""
        state: dict[str, Any] = put_together(self.tensors, self.described)
        return state


def _restore(state: Mapping[str, Any], model: nn.Module, update: Update, machine: Machine) -> Progress:
    """Put a state into a network and its update."""
    model.load_state_dict(state["model"])
    if update.ema:
        update.ema.load_state_dict(state["ema"])
    update.step, update.batch, update.lr_scale = state["updates"]
    if state["scaler"]:
        update.scaler.load_state_dict(state["scaler"])
    update.optimizer.zero_grad(set_to_none=True)
    _load(update.optimizer, state["optimizer"])
    progress = Progress(**state["progress"])
    if progress.outputs is not None and progress.total is not None:
        progress.outputs, progress.total = progress.outputs.to(machine.device), progress.total.to(machine.device)
    return progress


def _load(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Give an optimizer its state by its own rules, but in the dtypes that it had: torch's rule is the parameters'."""
    optimizer.load_state_dict(saved)
    for name, entries in optimizer.state_dict()["state"].items():
        entries.update(_in_dtypes_of(saved["state"][name], entries))


def _in_dtypes_of(saved: Any, loaded: Any) -> Any:
    """What was loaded, but where a tensor was cast as it was saved."""
    if isinstance(saved, Tensor):
        return loaded if loaded.dtype == saved.dtype else saved.to(loaded.device)
    if isinstance(saved, dict):
        return {key: _in_dtypes_of(value, loaded[key]) for key, value in saved.items()}
    if isinstance(saved, (list, tuple)):
        return type(saved)(_in_dtypes_of(*pair) for pair in zip(saved, loaded, strict=True))
    return loaded


def _digest(tensors: Mapping[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
