"""The other processes of a run, as torchrun starts them: how many there are, where they are found, who has failed.

They find each other at torchrun's key-value store, which is polled: signals are heard, and nobody waits for ever.
"""

import contextlib
import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.files import InputError

# Seconds between two looks at the store: the first, and the longest.
_SHORTEST, _LONGEST = 0.001, 0.1
# Seconds between two signs of life on several machines, and after how many without one a process is given up: a machine
# that is gone is noticed by nobody else.
_BEAT, _SILENCE = 5.0, 120.0
# Within how many seconds of each other processes start: who has died before it said anything is waited for by the rest.
_START = 600.0
# Seconds in which a process that others miss says that it has failed.
_SAYING = 2.0
# What errors of torch say where a message does not reach another process.
_NOT_REACHED = (
    *("closed by peer", "reset by peer", "likely closed", "Broken pipe", "Connection refused", "recvValue failed"),
    *("Timed out waiting", "NCCL"),
)


def rank() -> int:
    """The number of this process among all of the run, from 0 on."""
    return int(os.environ["RANK"]) if _has_others() else 0


def local_rank() -> int:
    """The number of this process among those on this machine, from 0 on."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def count() -> int:
    """How many processes the run has."""
    return int(os.environ["WORLD_SIZE"]) if _has_others() else 1


def _has_others() -> bool:
    """Whether there is all that a process needs to find the others; some machines set a part of it for all programs."""
    return all(name in os.environ for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"))


class OtherFailed(Exception):
    """Another process of the run has failed, which it has said; with which exit status."""

    def __init__(self, status: int = 1) -> None:
        self.status = status


@dataclass
class _Session:
    """What this process knows of the others.

    store: of torchrun; None until it is asked for.
    is_lost: whether the others were not found in time.
    has_failed: whether it ends as something went wrong, here or elsewhere.
    """

    store: Any = None
    is_lost: bool = False
    has_failed: bool = False


_session = _Session()


def shared_store() -> Any:
    """The key-value store of all processes, found when it is first asked for."""
    if _session.store is None:
        from torch.distributed.rendezvous import rendezvous

        _session.store = _of_this_start(next(rendezvous("env://"))[0])
        if _on_several_machines():
            threading.Thread(target=_give_signs_of_life, args=[_session.store], daemon=True).start()
    return _session.store


def _of_this_start(store: Any) -> Any:
    """A part of torchrun's store for the processes that were started together.

    After a process has died torchrun starts all of them again, and its store still holds what those before have said
    (torch 2.13). So the first process gives the start a name, and answers each of the others, who know by their own
    word in the answer that it is alive.
    """
    from torch.distributed.distributed_c10d import PrefixStore

    latest = time.monotonic() + _START

    def wait_for(key: str, of: int = 0) -> bytes:
        while not store.check([key]):
            must_be_in_time(of)
            time.sleep(_LONGEST)
        return bytes(store.get(key))

    def must_be_in_time(of: int) -> None:
        if time.monotonic() > latest:
            _session.is_lost = True
            raise InputError(
                f"all {count()} processes must start within {_START / 60:.0f} minutes of each other. Process {of} did "
                "not: look at what it says, on its machine"
            )

    word = uuid.uuid4().hex
    if rank() == 0:
        store.set("start", word)
        for other in range(1, count()):
            store.set(f"{word}/answer/{other}", wait_for(f"{word}/word/{other}", other))
        return PrefixStore(word, store)
    while True:
        name = wait_for("start").decode()
        store.set(f"{name}/word/{rank()}", word)
        must_be_in_time(0)
        time.sleep(_LONGEST)
        if store.check([f"{name}/answer/{rank()}"]) and store.get(f"{name}/answer/{rank()}") == word.encode():
            return PrefixStore(name, store)


def wait_until(is_done: Callable[[], bool]) -> None:
    """Wait until something is so.

    Raises:
        OtherFailed: a process has said that it failed, or gives no sign of life any more.
    """
    pause, watch = _SHORTEST, _Watch()
    while not is_done():
        if failure := _failure():
            raise OtherFailed(failure.status)
        watch.look()
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST)


class _Watch:
    """Looks whether the other processes are alive, where they are on several machines."""

    def __init__(self) -> None:
        self.last: dict[int, tuple[bytes, float]] = {}
        self.looked = time.monotonic()

    def look(self) -> None:
        """Look, from time to time.

        Raises:
            OtherFailed: one has given no sign of life for long.
        """
        now = time.monotonic()
        if not _on_several_machines() or now - self.looked < _BEAT:
            return
        self.looked = now
        for other in range(count()):
            beat = bytes(shared_store().get(f"alive/{other}")) if shared_store().check([f"alive/{other}"]) else b""
            if self.last.get(other, (None, now))[0] != beat:
                self.last[other] = beat, now
            if now - self.last[other][1] > _SILENCE:
                raise OtherFailed


def _on_several_machines() -> bool:
    return int(os.environ.get("GROUP_WORLD_SIZE", "1")) > 1


def _give_signs_of_life(store: Any) -> None:
    """Count on in the store while the process lives; a thread's work."""
    beat = 0
    with contextlib.suppress(RuntimeError):  # the store is gone, and so is whoever would look
        while True:
            beat += 1
            store.set(f"alive/{rank()}", str(beat))
            time.sleep(_BEAT)


class _Failure(NamedTuple):
    """What the process that failed first has said."""

    rank: int
    status: int
    message: str


def _failure() -> _Failure | None:
    if not shared_store().check(["failed"]):
        return None
    return _Failure(*json.loads(shared_store().get("failed")))


@contextlib.contextmanager
def reaching_others() -> Iterator[None]:
    """See to it that a message that does not reach another process is an error that says so.

    Raises:
        OtherFailed: that has failed.
        InputError: what is wrong with the way to it.
    """
    try:
        yield
    except RuntimeError as error:  # there is no class for it
        if count() == 1 or not any(word in str(error) for word in _NOT_REACHED):
            raise
        if status := _status_of_first():
            raise OtherFailed(status) from None
        raise InputError(
            f"all processes must reach each other. Got: {str(error).strip().splitlines()[0]}. If none has ended, name "
            "the network that joins the machines, such as eth0: GLOO_SOCKET_IFNAME, and NCCL_SOCKET_IFNAME for GPUs"
        ) from None


def has_failed() -> bool:
    """Whether this process ends as something went wrong, here or elsewhere."""
    return _session.has_failed


def must_say(message: str, status: int, *, is_news: bool = True) -> bool:
    """Whether this process says why it ends, of which the others hear.

    Args:
        message: what it would say.
        status: with which it ends.
        is_news: whether it is of interest even where another process has failed before, for another reason.
    """
    _session.has_failed = True
    if count() == 1 or _session.is_lost:
        return True
    if _session.store is None and not is_news:
        return rank() == 0  # who is told to stop does not first look for others, who may be gone
    mine = _Failure(rank(), status, message)
    try:
        heard = shared_store().compare_set("failed", "", json.dumps(mine))
    except RuntimeError:
        return True  # torchrun, which keeps the store, is gone
    first = _Failure(*json.loads(heard))
    return first == mine or (is_news and first.message != message)


def _status_of_first() -> int:
    """The exit status of the process that failed first, waited for as it may be about to say so; 0 where none has."""
    latest = time.monotonic() + _SAYING
    try:
        while time.monotonic() < latest:
            if failure := _failure():
                return failure.status
            time.sleep(_LONGEST)
    except RuntimeError:
        return 1  # torchrun, which keeps the store, is gone
    return 0


def see_anew(folder: Path) -> None:
    """Look into a folder and those in it again where processes are on several machines, whose views of what they share
    are some seconds old: what is opened is looked up anew (nfs(5), "close-to-open").
    """
    if _on_several_machines():
        for _ in os.walk(folder):
            pass
