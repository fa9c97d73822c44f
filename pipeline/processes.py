"""Several processes at one run, as torchrun starts them: who works with whom, and what they tell each other.

    torchrun --nproc-per-node=2 -m pipeline.train --fold 0

A team is the processes that share the work at hand. Each process is in the team of all, or, `alone`, in one of its own,
as where every process trains a fold by itself. Of a team the first process writes files and says what is done.

Messages that may come late go through torchrun's key-value store, which is polled, so that signals are heard and a
process that waits notices that another has failed. Tensors go through the process group: gloo on CPUs, NCCL on GPUs.
"""

import atexit
import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.others import count, has_failed, rank, shared_store, wait_until

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")

# How long a process waits for tensors of another. What is slow is waited for at the store.
_TIMEOUT = timedelta(minutes=30)


@dataclass
class _Session:
    """What this process knows of its teams.

    num_messages: that the team of all has sent so far, which numbers the next one.
    is_alone: whether it works in a team of its own.
    """

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
        key, store = f"said/{_session.num_messages}", shared_store()  # found before the work, which may take long
        if self.is_first:
            value = work()
            store.set(key, json.dumps(value))
            return value
        wait_until(lambda: bool(store.check([key])))
        said: T = json.loads(store.get(key))
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
        store = shared_store()
        # Two processes cannot share a GPU through NCCL; gloo copies through the CPU. It is one for all machines.
        store.set(f"own gpu/{rank()}", str(int(have_own_gpus())))
        keys = [f"own gpu/{other}" for other in range(count())]
        wait_until(lambda: bool(store.check(keys)))
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if all(store.get(key) == b"1" for key in keys) else "gloo",
            store=PrefixStore("group", store),
            rank=rank(),
            world_size=count(),
            timeout=_TIMEOUT,
        )
        atexit.register(_leave)
    return distributed.group.WORLD


def _leave() -> None:
    """End what the process group holds once all is done; after a failure others may not be there to end it with."""
    from torch import distributed

    if distributed.is_initialized() and not has_failed() and not hasattr(sys, "last_value"):
        distributed.destroy_process_group()


def have_own_gpus() -> bool:
    """Whether each process on this machine has a GPU to itself."""
    import torch

    num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return num_gpus >= int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
