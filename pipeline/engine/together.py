"""A network that several processes train together: each has some images of every batch, all take the same step.

PyTorch's DistributedDataParallel (Li et al. 2020, "PyTorch Distributed: Experiences on Accelerating Data Parallel
Training") averages the gradients while they are computed. The mean over processes is the mean over images, as each
process's loss counts by its images.
"""

import contextlib
import warnings
from contextlib import AbstractContextManager
from logging import INFO
from typing import get_args

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline.config import ConfigError
from pipeline.engine.machine import Precision
from pipeline.engine.whole_batch import WholeBatch, depends_on_batch
from pipeline.images.batches import Batch
from pipeline.log import say_once
from pipeline.processes import Team, group


class Together:
    """How the processes of a team train a network together; in a team of one nothing is done.

    Args:
        model: on its device, the same in every process.
        members: the processes.
        sync_norms: whether batch norms that learn take the statistics of the whole batch; else of each process's part,
            and what counts later are those of the first process.
        recomputes: whether activations are computed again in the backward pass, where torch lets nothing be
            intercepted.
        averages: whether gradients are yet to be averaged: not where the network does so itself, see `Shards`.
    """

    def __init__(
        self, model: nn.Module, members: Team, *, sync_norms: bool, recomputes: bool, averages: bool = True
    ) -> None:
        self.model, self.members = model, members
        self.sync_norms, self.recomputes, self.averages = sync_norms, recomputes, averages
        self._network = model
        self._learn: list[bool] = []
        self._needs_whole = False

    def network(self) -> nn.Module:
        """The network as it learns now, with what is frozen in it.

        Raises:
            ConfigError: settings that several processes cannot combine.
        """
        if self.members.size == 1:
            return self.model
        norms = any(isinstance(module, _BatchNorm) and module.training for module in self.model.modules())
        if self.recomputes and self.sync_norms and norms:
            raise ConfigError(
                "train.sync_norms must be false where train.grad_checkpointing is true and several processes train a "
                "network whose batch norms learn. Got true: set one of the two to false"
            )
        if self.recomputes and depends_on_batch(self.model, sync_norms=False):
            say_once(
                "own draws",
                INFO,
                "train: with train.grad_checkpointing every process draws dropout and drop path for its own images: "
                "results are not those of one process, but as by another seed",
            )
        sync_norms = norms and self.sync_norms
        self._needs_whole = not self.recomputes and depends_on_batch(self.model, sync_norms=sync_norms)
        learn = [parameter.requires_grad for parameter in self.model.parameters()]
        if self.averages and learn != self._learn:
            from torch.nn.parallel import DistributedDataParallel

            # Of weights in channels_last: what it says costs little, and nothing can be done here.
            warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
            self._learn = learn
            # Hooks of the one before are gone with it. Statistics of norms that are not synchronised are the first
            # process's, by what it does anyway.
            self._network = self.model
            self._network = DistributedDataParallel(self.model, process_group=group())
        return self._network

    def whole_batch(self, batch: Batch) -> AbstractContextManager[object]:
        """Around the forward pass of a process's images: what depends on the whole batch does, see `WholeBatch`."""
        if self.members.size == 1 or batch.share is None or not self._needs_whole:
            return contextlib.nullcontext()
        return WholeBatch(batch.share, self.members, sync_norms=self.sync_norms)

    @property
    def own_draws(self) -> tuple[int, ...]:
        """What the seed of a step is made from beside the step, where each process draws for its own images."""
        return (self.members.rank,) if self.members.size > 1 and self.recomputes else ()

    def weight(self, batch: Batch) -> float:
        """By what the mean loss of a process's images counts, so that the mean over processes is that over images."""
        if self.members.size == 1:
            return 1.0
        return len(batch) * self.members.size / batch.num_images if batch.counts else 0.0


def must_multiply_alike(precision: str, members: Team) -> None:
    """See that all processes of a training have one precision: GPUs of several kinds may find different ones, and their
    gradients would be of different scales.

    Raises:
        ConfigError: they have not; in every process.
    """
    names = sorted(get_args(Precision))
    own = names.index(precision)
    most, least = members.largest([own, -own])
    if most != -least:
        raise ConfigError(
            "train.precision must be one that all GPUs multiply in where they train together. Got "
            f"{names[-least]} and {names[most]}: set train.precision = 'float32', or 'float16'"
        )
