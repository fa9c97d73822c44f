"""Gradient checkpointing (`train.grad_checkpointing`): peak memory and processor time of training steps.

Run: PYTHONPATH=. python tests/benchmarks/recompute.py [NAME SIZE BATCH ...]
Each variant in a process of its own. Memory: the most that was resident in three steps, above what was before them.
"""

import resource
import subprocess
import sys
import time

import torch
from measure import machine_line
from torch.nn import functional

from pipeline.config import ModelConfig, TrainConfig
from pipeline.engine.machine import keep_memory
from pipeline.engine.recompute import recompute, statistics_kept
from pipeline.model.build import build_model

JOBS = (("resnet18", 224, 32), ("tf_efficientnet_lite0", 224, 32), ("vit_tiny_patch16_224", 224, 32))


def measure(name: str, size: int, batch: int, again: bool) -> None:
    """Print megabytes and the processor's seconds of a step."""
    keep_memory()
    model = build_model(ModelConfig(name=name), size, 3, 10, 0).to(memory_format=torch.channels_last)
    if again:
        recompute(model, name, size, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=TrainConfig().lr)
    images = torch.randn(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(3):
        began = time.process_time()
        loss = functional.cross_entropy(model(images), torch.arange(batch) % 10)
        with statistics_kept(model):
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.process_time() - began)
    print(f"{(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024:.0f} {min(seconds):.2f}")


def main() -> None:
    words = sys.argv[1:]
    if words[:1] == ["one"]:
        measure(words[1], int(words[2]), int(words[3]), words[4] == "True")
        return
    print(machine_line())
    jobs = [(words[at], int(words[at + 1]), int(words[at + 2])) for at in range(0, len(words), 3)] or JOBS
    for name, size, batch in jobs:
        found = []
        for again in (False, True):
            command = [sys.executable, __file__, "one", name, str(size), str(batch), str(again)]
            found.append(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
        (memory, quick), (less, slow) = found
        print(f"{name} at {size} px, batches of {batch}: {memory} MB, {quick} s; computed again: {less} MB, {slow} s")


if __name__ == "__main__":
    main()
