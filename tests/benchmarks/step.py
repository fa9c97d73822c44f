"""The training loop, with augmentation, against a bare forward-backward-step on one resident batch.

Run: PYTHONPATH=. python tests/benchmarks/step.py [resnet18 resnet9 lenet5 resnet50]
The loop is `run_model` over `Batches` from a mapped array, with AutoAugment, flips and crops. The bare step has the
same network, precision, memory format, optimizer and batch size, and nothing else.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from measure import line, machine_line, mapped_images, paired

from pipeline.config import AugmentConfig, ModelConfig, TrainConfig
from pipeline.engine.losses import make_loss
from pipeline.engine.machine import find_machine
from pipeline.engine.run_model import run_model
from pipeline.engine.update import Update
from pipeline.images.batches import Batches, Changes, id_keys, on_device
from pipeline.images.epoch_changes import EpochChanges
from pipeline.model.build import build_model

# Network, size, batch, images in an epoch, policy.
JOBS = {
    "resnet18": ("resnet18", 224, 32, 640, "autoaugment-imagenet"),
    "resnet9": ("resnet9", 32, 256, 5_120, "autoaugment-cifar10"),
    "lenet5": ("lenet5", 28, 64, 38_400, "autoaugment-cifar10"),
    "resnet50": ("resnet50", 224, 64, 2_560, "autoaugment-imagenet"),
}


def compare(job: str, folder: Path, num_turns: int = 5) -> str:
    name, size, batch_size, num_images, policy = JOBS[job]
    images = mapped_images(num_images, size, folder)
    targets = torch.arange(num_images) % 10
    cfg = TrainConfig(batch_size=batch_size, num_epochs=100_000)
    model = build_model(ModelConfig(name=name), size, 3, 10, 0)
    machine = find_machine("auto", model)
    model = machine.place(model)
    loss = make_loss(cfg, "single", None)
    keys = id_keys([str(number) for number in range(num_images)])
    changes = EpochChanges(AugmentConfig(policy=policy, hflip=0.5, pad_crop=4), size, 100_000, 0, 0, keys, 10)
    order = np.random.default_rng(0).permutation(num_images)
    normalisation = ((0.5,) * 3, (0.25,) * 3)
    resident = on_device(images, machine.device)
    epoch = iter(range(100_000))

    def batches(augmented: bool) -> Batches:
        now = changes.of(next(epoch)) if augmented else Changes()
        return Batches(
            images, order, batch_size, size, normalisation, machine.device, machine.dtype, targets, now, resident
        )

    update = Update(cfg, model, machine, len(batches(True)))
    batch = next(iter(batches(False)))

    def loop() -> float:
        return run_model(model, batches(True), "train", machine, loss=loss, update=update).images_per_second

    optimizer = Update(cfg, model, machine, len(batches(True))).optimizer

    def bare() -> float:
        model.train()
        num_steps = num_images // batch_size
        start = time.perf_counter()
        for _ in range(num_steps):
            with machine.autocast():
                logits = model(batch.images)
            loss(logits, batch.targets).mean().backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if machine.device.type == "cuda":
            torch.cuda.synchronize()
        return num_steps * batch_size / (time.perf_counter() - start)

    return line(f"{job} {size} px, batch {batch_size}, {machine.precision}", *paired(loop, bare, num_turns))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        chosen = sys.argv[1:] or ["resnet18", "resnet9", "lenet5"]
        rows = [compare(job, Path(scratch)) for job in chosen]
    print(machine_line(), *rows, sep="\n")
