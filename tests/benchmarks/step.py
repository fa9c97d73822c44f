"""The training loop, with augmentation, against a bare forward-backward-step on one resident batch.

Run: PYTHONPATH=. python tests/benchmarks/step.py [resnet18 resnet9 lenet5 resnet50]
The loop is `run_model` over `Batches` from a mapped array, with AutoAugment, flips and crops. The bare step has the
same network, precision, memory format, optimizer and batch size, and nothing else.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from measure import line, machine_line, mapped_images, paired
from torch import nn

from pipeline.config import AugmentConfig, ModelConfig, TrainConfig
from pipeline.engine.losses import make_loss
from pipeline.engine.machine import find_machine
from pipeline.engine.optimizer import make_optimizer
from pipeline.engine.run_model import run_model
from pipeline.engine.update import Update
from pipeline.images.batches import Batches, id_keys, on_device
from pipeline.images.epoch_changes import EpochChanges
from pipeline.model.build import build_model


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


def make_loop(job: str, folder: Path) -> tuple[Callable[[], float], nn.Module, Update, EpochChanges]:
    """A function that trains an epoch and gives its images per second, and what it uses."""
    name, size, batch_size, num_images, policy = JOBS[job]
    images = mapped_images(num_images, size, folder)
    cfg = TrainConfig(batch_size=batch_size, num_epochs=NUM_EPOCHS)
    model = build_model(ModelConfig(name=name), size, 3, 10, 0)
    machine = find_machine("auto", model, (3, size, size))
    model = machine.place(model)
    loss = make_loss(cfg, "single", None)
    keys = id_keys([str(number) for number in range(num_images)])
    augment = AugmentConfig(policy=policy, hflip=0.5, pad_crop=4)  # type: ignore[arg-type]
    changes = EpochChanges(augment, [size] * NUM_EPOCHS, 0, 0, keys, 10)
    order = np.random.default_rng(0).permutation(num_images)
    normalisation = ((0.5,) * 3, (0.25,) * 3)
    targets = (torch.arange(num_images) % 10).to(machine.device)
    update = Update(cfg, model, machine, [batch_size] * (num_images // batch_size))
    resident = on_device(images, machine.device)
    epochs = iter(range(NUM_EPOCHS))

    def loop() -> float:
        now = changes.of(next(epochs))
        batches = Batches(
            images, order, batch_size, size, normalisation, machine.device, machine.dtype, targets, now, resident
        )
        return run_model(model, batches, "train", machine, loss=loss, update=update).images_per_second

    return loop, model, update, changes


def compare(job: str, folder: Path, num_turns: int = 3) -> str:
    name, size, batch_size, num_images, _ = JOBS[job]
    loop, model, update, _ = make_loop(job, folder)
    machine, loss = update.machine, make_loss(update.cfg, "single", None)
    shape = (batch_size, 3, size, size)
    images = torch.randn(shape).to(machine.device, machine.dtype, memory_format=torch.channels_last)
    targets = (torch.arange(batch_size) % 10).to(machine.device)
    optimizer = make_optimizer(update.cfg, model)

    def bare() -> float:
        model.train()
        num_steps = num_images // batch_size
        start = time.perf_counter()
        for _ in range(num_steps):
            with machine.autocast():
                logits = model(images)
            loss(logits, targets).mean().backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if machine.device.type == "cuda":
            torch.cuda.synchronize()
        return num_steps * batch_size / (time.perf_counter() - start)

    return line(f"{name} {size} px, batch {batch_size}, {machine.precision}", *paired(loop, bare, num_turns))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        for chosen in sys.argv[1:] or ["resnet18", "resnet9", "lenet5"]:
            print(compare(chosen, Path(scratch)), flush=True)
    print(machine_line())
