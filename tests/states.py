"""States of trainings, and what passes gather, for tests of single rooms."""

from collections.abc import Sequence

import torch
from torch import nn

from pipeline.competition.answers.task import Task
from pipeline.config import TrainConfig
from pipeline.engine.gathered import Gathered
from pipeline.engine.machine import Machine
from pipeline.engine.state import TrainState

CPU = Machine(torch.device("cpu"), "float32")
THREE = Task("single", ("a", "b", "c"), "accuracy", ("label",))


def gather(num_images: int, machine: Machine = CPU, task: Task = THREE) -> Gathered:
    """Where a pass over some images is gathered."""
    return Gathered(task, num_images, machine.device)


def state_of(cfg: TrainConfig, model: nn.Module, sizes: Sequence[int], machine: Machine = CPU) -> TrainState:
    """The state of a training of three classes before its first step."""
    return TrainState(cfg, 0, model, machine, sizes, gather(sum(sizes), machine))
