"""The training loop, with augmentation, against a bare forward-backward-step on one resident batch.

Run: PYTHONPATH=. python tests/benchmarks/step.py [--deterministic] [resnet18 resnet9 lenet5 resnet50 ...]
The loop is `run_model` over `Batches` from a mapped array, with AutoAugment, flips and crops. The bare step has the
same network, precision, memory format, optimizer and batch size, and nothing else. Other jobs are written as
NETWORK:SIZE:BATCH:IMAGES, the images of an epoch.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from measure import line, machine_line, mapped_images, paired
from torch import nn

from pipeline.competition.answers.task import Task
from pipeline.config import AugmentConfig, ModelConfig, TrainConfig
from pipeline.engine.gathered import Gathered
from pipeline.engine.losses import make_loss
from pipeline.engine.machine import Machine, find_machine
from pipeline.engine.optimizer import make_optimizer
from pipeline.engine.run_model import run_model
from pipeline.engine.state import TrainState
from pipeline.engine.training import Training
from pipeline.images.augment.epoch_changes import EpochChanges
from pipeline.images.batches import Batches, Part, on_device
from pipeline.model.build import build_model
from pipeline.processes import team
from pipeline.randomness import id_keys


class Job(NamedTuple):
    """A network with the size of its images, the batch, the images of an epoch and the policy."""

    name: str
    size: int
    batch_size: int
    num_images: int
    policy: str


JOBS = {
    "resnet18": Job("resnet18", 224, 32, 160, "autoaugment-imagenet"),
    "resnet9": Job("resnet9", 32, 256, 1_024, "autoaugment-cifar10"),
    "lenet5": Job("lenet5", 28, 64, 38_400, "autoaugment-cifar10"),
    "resnet50": Job("resnet50", 224, 64, 2_560, "autoaugment-imagenet"),
}
NUM_EPOCHS = 100_000


def job_of(text: str) -> Job:
    """A job by its name, or as it is written."""
    if text in JOBS:
        return JOBS[text]
    name, size, batch_size, num_images = text.split(":")
    policy = "autoaugment-cifar10" if int(size) <= 40 else "autoaugment-imagenet"
    return Job(name, int(size), int(batch_size), int(num_images), policy)


def make_loop(
    job: Job, folder: Path, *, deterministic: bool = False
) -> tuple[Callable[[], float], nn.Module, TrainState, EpochChanges]:
    """A function that trains an epoch and gives its images per second, and what it uses; several processes share it."""
    members, part = team(), Part(team().rank, team().size, by_image=True)
    name, size, batch_size, num_images, policy = job
    images = mapped_images(num_images, size, folder)
    cfg = TrainConfig(batch_size=batch_size, num_epochs=NUM_EPOCHS)
    model = build_model(ModelConfig(name=name), size, 3, 10, 0)
    machine = find_machine("auto", model, (3, size, size), deterministic=deterministic)
    model = machine.place(model)
    loss = make_loss(cfg, "single", None)
    keys = id_keys([str(number) for number in range(num_images)])
    augment = AugmentConfig(policy=policy, hflip=0.5, pad_crop=4)  # type: ignore[arg-type]
    changes = EpochChanges(augment, [size] * NUM_EPOCHS, 0, 0, keys, 10)
    order = np.random.default_rng(0).permutation(num_images)
    normalisation = ((0.5,) * 3, (0.25,) * 3)
    targets = (torch.arange(num_images) % 10).to(machine.device)
    task = Task("single", tuple(map(str, range(10))), "accuracy", ("label",))
    sizes = [batch_size] * (num_images // batch_size)
    gathered = Gathered(task, num_images, machine.device, members=members)
    training = Training(TrainState(cfg, 0, model, machine, sizes, gathered, members))
    resident = on_device(images, machine.device)
    epochs = iter(range(NUM_EPOCHS))

    def loop() -> float:
        now, device = changes.of(next(epochs)), machine.device
        batches = Batches(
            images, order, batch_size, size, normalisation, device, machine.dtype, targets, now, resident, part=part
        )
        network = training.state.network()
        start = time.perf_counter()
        run_model(network, batches, "train", machine, gathered, loss, training)
        assert gathered.loss >= 0, "asking waits for the device"
        seconds = time.perf_counter() - start
        training.state.end_epoch({})
        return num_images / seconds

    return loop, model, training.state, changes


def bare_step(
    job: Job, model: nn.Module, machine: Machine, run: nn.Module | None = None, *, capturable: bool = False
) -> Callable[[], None]:
    """A function that makes one step of a network on a batch that stays on the device.

    Args:
        job: what it is trained on.
        model: on the machine's device, in training mode.
        machine: device and precision.
        run: what is called instead of the network: the same, compiled.
        capturable: whether the optimizer's step is to be captured in a CUDA graph.
    """
    cfg = TrainConfig(batch_size=job.batch_size, num_epochs=NUM_EPOCHS)
    loss, optimizer = make_loss(cfg, "single", None), make_optimizer(cfg, model)
    run = model if run is None else run  # a compiled network has no length, so no truth
    for group in optimizer.param_groups:
        group["capturable"] = capturable
    shape = (job.batch_size, 3, job.size, job.size)
    images = torch.randn(shape).to(machine.device, machine.dtype, memory_format=torch.channels_last)
    targets = (torch.arange(job.batch_size) % 10).to(machine.device)

    def step() -> None:
        with machine.autocast():
            logits = run(images)
        loss(logits, targets).mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def speed(step: Callable[[], None], job: Job, machine: Machine) -> float:
    """Images per second of as many steps as an epoch has."""
    num_steps = job.num_images // job.batch_size
    start = time.perf_counter()
    for _ in range(num_steps):
        step()
    if machine.device.type == "cuda":
        torch.cuda.synchronize()
    return num_steps * job.batch_size / (time.perf_counter() - start)


def compare(job: Job, folder: Path, *, deterministic: bool = False, num_turns: int = 3) -> str:
    loop, model, update, _ = make_loop(job, folder, deterministic=deterministic)
    machine = update.machine
    step = bare_step(job, model.train(), machine)
    name = f"{job.name} {job.size} px, batch {job.batch_size}, {machine.precision}"
    name += ", deterministic" if deterministic else ""
    return line(name, *paired(loop, lambda: speed(step, job, machine), num_turns))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("jobs", nargs="*", default=["resnet18", "resnet9", "lenet5"])
    parser.add_argument("--deterministic", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for chosen in map(job_of, args.jobs):
            print(compare(chosen, Path(scratch), deterministic=args.deterministic), flush=True)
    print(machine_line())
