"""Where the state of a training is kept while it is under way: what it takes to go on after a step.

There are two files, of the last epoch's end and of a step since then. Each is renamed into place when it is whole;
until then the one before is kept. They are written beside the training, by a thread: the disk is not waited for.

Of a network that processes hold in parts each writes its own, into a folder with a new name. Once all are on the disk
the file is written, which names the folder, and the folders that no file names are deleted.
`torch.distributed.checkpoint` does not serve: it unpickles what it reads, and could divide a state anew, which would
give another model than the one begun.
"""

import contextlib
import hashlib
import json
import shutil
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from pipeline.engine.nested import put_together, take_apart
from pipeline.files import InputError, atomic_path
from pipeline.log import log
from pipeline.model.checkpoint import read_safetensors
from pipeline.paths import PARTS, STATES
from pipeline.processes import ONE, Team
from pipeline.stamps import versions

if TYPE_CHECKING:
    from pipeline.engine.machine import Machine
    from pipeline.engine.state import TrainState

# In a file's metadata: what it holds but for the tensors, and the digest of all.
_KEY, _DIGEST = "resume", "sha256"
# In a state that lies in parts: the name of their folder.
_FOLDER = "folder of parts"
# In every state: what the epoch has gathered so far.
_GATHERED = "gathered"
# Of the files. What is written in another format, or before there were numbers, is not gone on from.
_FORMAT = 4


class Store:
    """The files of one training.

    Args:
        folder: where they are.
        made_from: all that the training depends on; a training from something else is not gone on with.
        minutes: between two savings within an epoch.
        members: the processes that train together, of which the first writes.
        is_in_parts: whether each of them has a part of the state, and writes that.

    `has_epoch_end`: whether there is a state to go back to, once the states were loaded.
    """

    def __init__(
        self,
        folder: Path,
        made_from: Mapping[str, Any],
        minutes: float,
        members: Team = ONE,
        *,
        is_in_parts: bool = False,
    ) -> None:
        self.within_epoch, self.epoch_end = (folder / name for name in STATES)
        self.parts, self.is_in_parts = folder / PARTS, is_in_parts
        self.made_from = _as_read(made_from)
        self.has_epoch_end = False
        self.members = members
        self.seconds = 60 * minutes
        self.saved_at = time.monotonic()
        self.writer = ThreadPoolExecutor(1, "save")
        self.under_way: Future[None] | None = None

    @property
    def is_due(self) -> bool:
        """Whether it is time to save again. When that is changes no result."""
        return time.monotonic() - self.saved_at >= self.seconds

    def save(self, state: "TrainState", *, epoch_end: bool = False, wait: bool = False) -> None:
        """Have a state written; the one before is waited for.

        Args:
            state: copied, as training goes on while it is written.
            epoch_end: whether it is one to go back to, kept until the next epoch's end.
            wait: until it is on the disk.

        Raises:
            OSError: this or the one before could not be written.
        """
        whole = state.state_dict()  # which all processes take part in
        if self.is_in_parts:
            # What was gathered is whole at the first process, which divides it anew.
            gathered = whole.pop(_GATHERED)
            whole = {_FOLDER: self._save_part(whole), _GATHERED: gathered}
        self.has_epoch_end = self.has_epoch_end or epoch_end
        self.saved_at = time.monotonic()
        if not self.members.is_first:
            return
        tensors, described = take_apart(whole)
        text = json.dumps(
            {
                "format": _FORMAT,
                "made_from": self.made_from,
                "made_on": self._described(state.machine),
                "num_processes": self.members.size,
                "at": state.at,
                "state": described,
            }
        )
        self.wait()
        path = self.epoch_end if epoch_end else self.within_epoch
        self.under_way = self.writer.submit(self.write, path, tensors, text)
        if wait:
            self.wait()

    def write(self, path: Path, tensors: dict[str, Tensor], text: str) -> None:
        """Write one file, whole or not at all; the thread's work."""
        with atomic_path(path) as temporary:
            safetensors.torch.save_file(tensors, temporary, {_KEY: text, _DIGEST: _digest(tensors, text)})
        if path == self.epoch_end:
            self.within_epoch.unlink(missing_ok=True)  # it is of an earlier step, or of a rate that was gone back on
        if self.is_in_parts:
            self._delete_parts(but=[_folder_of(each) for each in (self.within_epoch, self.epoch_end)])

    def _save_part(self, state: dict[str, Any]) -> str:
        """Write what this process has of a state; give the folder's name once all parts are on the disk."""
        # The first says it when its thread has done: what that deletes is nothing of the new folder.
        folder = self.members.first(self._new_folder)
        tensors, described = take_apart(state)
        text = json.dumps(described)
        with atomic_path(self.parts / folder / f"{self.members.rank}.safetensors") as temporary:
            safetensors.torch.save_file(tensors, temporary, {_KEY: text, _DIGEST: _digest(tensors, text)})
        self.members.meet()
        return folder

    def _new_folder(self) -> str:
        self.wait()
        return uuid.uuid4().hex

    def _delete_parts(self, but: Sequence[str | None]) -> None:
        for folder in self.parts.glob("*"):
            if folder.name not in but:
                shutil.rmtree(folder)

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

    def load(self, machine: "Machine") -> dict[str, Any] | None:
        """The latest state, in new tensors on the CPU; None where there is none.

        Args:
            machine: what the training goes on on.

        Raises:
            InputError: the training was begun with other versions or on another device: going on would give a model
                that no machine gives in one go.
        """
        made_on = self._made_on(machine)
        end, within = (self._read_whole(path, made_on) for path in (self.epoch_end, self.within_epoch))
        self.has_epoch_end = end is not None
        found = [saved for saved in (end, within) if saved]
        return max(found, key=lambda saved: saved.at).state() if found else None

    def load_epoch_end(self, machine: "Machine") -> dict[str, Any]:
        """The state of the last epoch's end, or of the beginning.

        Raises:
            InputError: it is gone.
        """
        self.wait()
        self.members.meet()  # once the first has it on the disk
        saved = self._read_whole(self.epoch_end, self._made_on(machine))
        if saved is None:
            raise InputError(f"{self.epoch_end} must be there and whole to go back to. Start the same command again")
        return saved.state()

    def _made_on(self, machine: "Machine") -> str:
        """What the first process is on: it has written so, and others may have another GPU."""
        return self.members.first(lambda: self._described(machine))

    def _read_whole(self, path: Path, made_on: str) -> "_Saved | None":
        """What `_read` gives; of a state in parts this process's, where each has its own."""
        saved = self._read(path, made_on)
        if saved is None or not self.is_in_parts:
            return saved
        named, reason = saved.state(), ""
        part = self.parts / named[_FOLDER] / f"{self.members.rank}.safetensors"
        try:
            tensors, metadata = read_safetensors(part)
            saved = _Saved(saved.at, tensors, _verified(tensors, metadata), {_GATHERED: named[_GATHERED]})
        except (InputError, LookupError, ValueError, TypeError) as error:
            reason = str(error)
        if self.members.largest([int(bool(reason))]) == [0]:
            return saved
        log.info("train: the parts of %s are not all whole%s and are not gone on from", path, reason and f" ({reason})")
        return None

    def _read(self, path: Path, made_on: str) -> "_Saved | None":
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
            _verified(tensors, metadata)
        except (InputError, LookupError, ValueError, TypeError) as error:
            log.info("train: %s is not whole (%s) and is not gone on from", path, error)
            return None
        if values["made_from"] != self.made_from:
            log.info("train: %s is of another training and is not gone on from", path)
            return None
        if values["made_on"] != made_on:
            raise InputError(
                f"{path} is a training under way, begun on {values['made_on']}. Go on there, or delete it to begin "
                f"anew on {made_on}"
            )
        return _Saved(values["at"], tensors, values["state"])

    def _described(self, machine: "Machine") -> str:
        """Say what decides of the bytes beside the settings: a training stays on it."""
        in_parts = " with train.shard" if self.is_in_parts else ""
        return f"{machine.describe()}{in_parts} with torch {torch.__version__}, timm {versions().get('timm')}"

    def delete(self) -> None:
        """The training is over."""
        self.wait()
        if not self.members.is_first:
            return
        for path in (self.within_epoch, self.epoch_end):
            path.unlink(missing_ok=True)
        self._delete_parts(but=[])
        with contextlib.suppress(FileNotFoundError):
            self.parts.rmdir()


def is_of(folder: Path, made_from: Mapping[str, Any]) -> bool:
    """Whether a state of the training that is made from this lies in a folder, whole or not."""
    wanted = _as_read(made_from)
    return any(_described_in(folder / name).get("made_from") == wanted for name in STATES)


def begun_by(folder: Path) -> int:
    """How many processes have begun the training that is under way in a folder, which as many must go on with; 0 where
    there is none.
    """
    found = (_described_in(folder / name) for name in STATES)
    return next((int(values.get("num_processes", 1)) for values in found if values), 0)


def _described_in(path: Path) -> dict[str, Any]:
    """What a file says of its state, whole or not; nothing where there is none."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            values = json.loads((file.metadata() or {})[_KEY])
    except (OSError, safetensors.SafetensorError, LookupError, ValueError, TypeError):
        return {}
    return values if isinstance(values, dict) else {}


@dataclass(frozen=True)
class _Saved:
    """What a file holds: the state of a training at some (epoch, step), taken apart; and what belongs to it beside."""

    at: list[int]
    tensors: dict[str, Tensor]
    described: Any
    beside: Mapping[str, Any] = field(default_factory=dict)

    def state(self) -> dict[str, Any]:
        """The state as it was saved, in new tensors on the CPU."""
        state: dict[str, Any] = put_together(self.tensors, self.described)
        return {**state, **self.beside}


def _as_read(made_from: Mapping[str, Any]) -> dict[str, Any]:
    """What a training is made from as a file gives it back: lists, not tuples."""
    plain: dict[str, Any] = json.loads(json.dumps(made_from))
    return plain


def _folder_of(path: Path) -> str | None:
    """The folder of parts that a file names; None where there is none, or it is not whole."""
    try:
        return str(dict(_described_in(path)["state"]["dict"])[_FOLDER])
    except (LookupError, ValueError, TypeError):
        return None


def _verified(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Any:
    """What a file holds but for the tensors.

    Raises:
        LookupError, ValueError: it is not what was written.
    """
    if metadata[_DIGEST] != _digest(tensors, metadata[_KEY]):
        raise ValueError("its checksum is another")
    return json.loads(metadata[_KEY])


def _digest(tensors: Mapping[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
