"""Prediction as `pipeline.infer` does it against a bare forward pass in the same precision.

Run: PYTHONPATH=. python tests/benchmarks/infer.py [resnet18:64 resnet9:32 ...] [--images 20000] [--turns 3]
`predict` goes over the mapped images with batch norms folded, views averaged and probabilities kept. The bare forward
repeats one resident batch through the network as it was trained, without folding; and with it, as the second figure.
"""

import argparse
import copy
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from measure import line, machine_line, mapped_images, paired
from torch import nn

from pipeline.competition.answers.task import Task
from pipeline.config import Config, ImageConfig, InferConfig, ModelConfig
from pipeline.engine.machine import Machine
from pipeline.engine.predict import predict
from pipeline.engine.predictor import Predictor, read_predictor
from pipeline.freshness import training_settings
from pipeline.model.build import build_model
from pipeline.model.checkpoint import Checkpoint, save_checkpoint

NORMALISATION = ((0.5,) * 3, (0.25,) * 3)


def trained(name: str, size: int, folder: Path) -> tuple[Predictor, nn.Module]:
    """A model as `pipeline.train` leaves it, read back, and its network as it was trained."""
    cfg = Config(image=ImageConfig(size=size), model=ModelConfig(name=name))
    model = build_model(cfg.model, size, 3, 10, 0)
    classes = tuple(map(str, range(10)))
    task = Task("single", classes, "accuracy", ("label",))
    path = folder / "model.safetensors"
    settings, prior = training_settings(cfg), (0.1,) * 10
    save_checkpoint(path, Checkpoint(model.state_dict(), settings, task, NORMALISATION, "0", prior, "", size))
    return read_predictor(path), model


def forward(model: nn.Module, machine: Machine, batch: torch.Tensor, num_images: int) -> float:
    start = time.perf_counter()
    num_steps = max(1, num_images // len(batch))
    with torch.no_grad(), machine.autocast():
        for _ in range(num_steps):
            model(batch)
    if machine.device.type == "cuda":
        torch.cuda.synchronize()
    return num_steps * len(batch) / (time.perf_counter() - start)


def compare(name: str, size: int, num_images: int, folder: Path, num_turns: int) -> list[str]:
    ready, network = trained(name, size, folder)
    machine = ready.machine
    network, folded = machine.place(network).eval(), machine.place(copy.deepcopy(ready.model))
    images = mapped_images(num_images, size, folder)
    indices = np.arange(num_images)
    batch = torch.randn(128, 3, size, size).to(machine.device, machine.dtype, memory_format=torch.channels_last)

    def whole() -> float:
        start = time.perf_counter()
        predict([ready], ready.batches(images, indices, InferConfig(), "infer"), InferConfig())
        return num_images / (time.perf_counter() - start)

    title = f"{name} {size} px, {num_images:,} images, {machine.precision}"
    return [
        line(f"{title}, bare", *paired(whole, lambda: forward(network, machine, batch, num_images), num_turns)),
        line(f"{title}, bare folded", *paired(whole, lambda: forward(folded, machine, batch, num_images), num_turns)),
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("networks", nargs="*", default=["resnet9:32", "resnet18:64"])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--turns", type=int, default=3)
    args = parser.parse_args()
    for what in args.networks:
        with tempfile.TemporaryDirectory() as scratch:
            name, size = what.split(":")
            print(*compare(name, int(size), args.images, Path(scratch), args.turns), sep="\n", flush=True)
    print(machine_line())
