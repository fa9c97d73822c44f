"""Images per second in float32 and in bfloat16 autocast, both channels_last: the table behind the rule of `machine.py`.

Run: PYTHONPATH=. python tests/benchmarks/precision.py [resnet18:224:32 efficientnet_b0:224:16 ...]
"""

import sys
import time
from functools import partial

import torch
from measure import line, machine_line, paired
from torch import nn

from pipeline.config import ModelConfig
from pipeline.cores import num_cores
from pipeline.engine.machine import Machine, find_device, keep_memory
from pipeline.model.build import build_model

JOBS = ("resnet18:128:32", "resnet9:32:128", "cifarnet:32:128", "lenet5:28:256", "efficientnet_b0:128:16")


def speed(model: nn.Module, machine: Machine, images: torch.Tensor, *, training: bool, num_steps: int = 3) -> float:
    model.train(training)
    start = time.perf_counter()
    for _ in range(num_steps):
        with torch.set_grad_enabled(training), machine.autocast():
            outputs = model(images.to(machine.dtype))
        if training:
            outputs.float().sum().backward()
    if machine.device.type == "cuda":
        torch.cuda.synchronize()
    return num_steps * len(images) / (time.perf_counter() - start)


if __name__ == "__main__":
    device = find_device()
    if device.type == "cpu":
        torch.set_num_threads(num_cores())
        keep_memory()
    single, half = Machine(device, "float32"), Machine(device, "bfloat16")
    for job in sys.argv[1:] or JOBS:
        name, size, batch_size = job.split(":")
        model = single.place(build_model(ModelConfig(name=name), int(size), 3, 10, 0))
        images = torch.randn(int(batch_size), 3, int(size), int(size)).to(device, memory_format=torch.channels_last)
        for what in ("training", "forward"):
            both = [partial(speed, model, each, images, training=what == "training") for each in (half, single)]
            print(line(f"{job} {what}, bfloat16 against float32", *paired(both[0], both[1], 3)), flush=True)
    print(machine_line())
