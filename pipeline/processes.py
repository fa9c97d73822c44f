"""Several processes at one run, as torchrun starts them: who is who, who speaks, what they tell each other.

    torchrun --nproc-per-node=2 -m pipeline.train --fold 0

A team is the processes that share the work at hand. Each process is in the team of all, or, `alone`, in one of its own,
as where every process trains a fold by itself. Of a team the first process writes files and says what is done.

Messages that may come late go through torchrun's key-value store, which is polled, so that signals are heard and a
process that waits notices that another has failed. Tensors go through the process group: gloo on CPUs, NCCL on GPUs.
"""

import contextlib
import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")

# Seconds between two looks at the store: the first, and the longest.
_SHORTEST, _LONGEST = 0.001, 0.1
# How long a process waits for tensors of another. What is slow is waited for at the store.
_TIMEOUT = timedelta(minutes=30)
# Seconds between two signs of life on several machines, and after how many without one a process is given up: a machine
# that is gone is noticed by nobody else.
_BEAT, _SILENCE = 5.0, 120.0


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
    num_messages: that the team of all has sent so far, which numbers the next one.
    is_alone: whether it works in a team of its own.
    """

    store: Any = None
    num_messages: int = 0
    is_alone: bool = False


_session = _Session()


@dataclass(frozen=True)
class Team:
    """The processes that share the work at hand.

    rank: of this one among them, from 0 on.
    size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes and speaks for the team."""
        return self.rank == 0

    def first(self, work: Callable[[], T]) -> T:
        """Have the first process do what one alone can do, and give all of them what it gives.

        Args:
            work: gives a value that JSON can hold.

        Raises:
            OtherFailed: the first process has failed at it.
        """
        if self.size == 1:
            return work()
        _session.num_messages += 1
        key = f"said/{_session.num_messages}"
        if self.is_first:
            value = work()
            shared_store().set(key, json.dumps(value))
            return value
        wait_until(lambda: shared_store().check([key]))
        said: T = json.loads(shared_store().get(key))
        return said

    def meet(self) -> None:
        """Wait until every process of the team is here.

        Raises:
            OtherFailed: one has failed before.
        """
        if self.size == 1:
            return
        _session.num_messages += 1
        key = f"met/{_session.num_messages}"
        shared_store().add(key, 1)
        wait_until(lambda: shared_store().add(key, 0) >= self.size)

    def largest(self, values: Sequence[int]) -> list[int]:
        """Of each of some numbers the largest that any process has."""
        if self.size == 1:
            return list(values)
        import torch
        from torch import distributed

        tensor = torch.tensor(values, dtype=torch.int64)
        distributed.all_reduce(tensor, distributed.ReduceOp.MAX, group())
        return [int(value) for value in tensor]

    def add_up(self, tensor: "Tensor") -> None:
        """Replace a tensor by the sum over the processes."""
        if self.size > 1:
            from torch import distributed

            distributed.all_reduce(tensor, group=group())

    def spread(self, tensors: "Sequence[Tensor]") -> None:
        """Replace tensors by those of the first process."""
        if self.size > 1:
            from torch import distributed

            for tensor in tensors:
                distributed.broadcast(tensor, 0, group())

    def collect(self, tensor: "Tensor", counts: Sequence[int]) -> "list[Tensor] | None":
        """Bring the rows of all processes to the first one.

        Args:
            tensor: (counts[rank], ...), contiguous, on the CPU; the other dimensions are the same everywhere.
            counts: rows of each process.

        Returns:
            A tensor for each process; None on the others.
        """
        if self.size == 1:
            return [tensor]
        from torch import distributed

        if not self.is_first:
            if counts[self.rank]:
                distributed.send(tensor, 0, group())
            return None
        parts = [tensor, *(tensor.new_empty((number, *tensor.shape[1:])) for number in counts[1:])]
        for other in range(1, self.size):
            if counts[other]:
                distributed.recv(parts[other], other, group())
        return parts


# A process by itself.
ONE = Team()


def team() -> Team:
    """The processes that share the work at hand."""
    return ONE if _session.is_alone else Team(rank(), count())


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Work in a team of one: nothing is waited for, and nothing shared."""
    before, _session.is_alone = _session.is_alone, True
    try:
        yield
    finally:
        _session.is_alone = before


class Requests:
    """What the processes of a team ask of each other after every step of a training, known to all one step later.

    A step later, as then nobody waits: the message travels during the step.
    """

    def __init__(self, members: Team) -> None:
        self.members = members
        self.under_way: tuple[Any, Tensor] | None = None

    def exchange(self, values: Sequence[bool]) -> list[bool]:
        """Say what this process asks for, and hear what any process had asked for after the step before."""
        if self.members.size == 1:
            return list(values)
        import torch
        from torch import distributed

        heard = [False] * len(values)
        if self.under_way is not None:
            work, said = self.under_way
            work.wait()
            heard = [bool(value) for value in said]
        mine = torch.tensor(values, dtype=torch.uint8)
        self.under_way = distributed.all_reduce(mine, distributed.ReduceOp.MAX, group(), async_op=True), mine
        return heard

    def forget(self) -> None:
        """Wait for what is under way, and leave it."""
        if self.under_way is not None:
            self.under_way[0].wait()
            self.under_way = None


def group() -> Any:
    """The process group of all processes, made when it is first asked for."""
    from torch import distributed
    from torch.distributed.distributed_c10d import PrefixStore

    if not distributed.is_initialized():
        # Two processes cannot share a GPU through NCCL; gloo copies through the CPU.
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if have_own_gpus() else "gloo",
            store=PrefixStore("group", shared_store()),
            rank=rank(),
            world_size=count(),
            timeout=_TIMEOUT,
        )
    return distributed.group.WORLD


def have_own_gpus() -> bool:
    """Whether each process on this machine has a GPU to itself."""
    import torch

    num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return num_gpus >= int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


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

    def wait_for(key: str) -> bytes:
        while not store.check([key]):
            time.sleep(_LONGEST)
        return bytes(store.get(key))

    word = uuid.uuid4().hex
    if rank() == 0:
        store.set("start", word)
        for other in range(1, count()):
            store.set(f"{word}/answer/{other}", wait_for(f"{word}/word/{other}"))
        return PrefixStore(word, store)
    while True:
        name = wait_for("start").decode()
        store.set(f"{name}/word/{rank()}", word)
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


def is_left_alone(error: RuntimeError) -> bool:
    """Whether a message to another process failed as that has ended; there is no class for it."""
    words = ("closed by peer", "reset by peer", "Broken pipe", "NCCL", "Connection refused", "recvValue failed")
    return count() > 1 and any(word in str(error) for word in words)


def must_say(message: str, status: int, *, is_news: bool = True) -> bool:
    """Whether this process says why it ends, of which the others hear.

    Args:
        message: what it would say.
        status: with which it ends.
        is_news: whether it is of interest even where another process has failed before, for another reason.
    """
    if count() == 1:
        return True
    mine = _Failure(rank(), status, message)
    try:
        heard = shared_store().compare_set("failed", "", json.dumps(mine))
    except RuntimeError:
        return True  # torchrun, which keeps the store, is gone
    first = _Failure(*json.loads(heard))
    return first == mine or (is_news and first.message != message)


def status_of_first(status: int) -> int:
    """The exit status of the process that failed first, where one has; else the given one."""
    try:
        failure = _failure()
    except RuntimeError:
        return status
    return failure.status if failure else status
