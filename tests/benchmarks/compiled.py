"""What torch.compile and CUDA graphs would give: the bare step of `step.py` as it is, compiled, captured, and both.

Run: PYTHONPATH=. python tests/benchmarks/compiled.py [resnet18:32:512:51200 ...]
Images per second after the first steps, and how many seconds these took.
"""

import sys
import time
from collections.abc import Callable

import torch
from measure import machine_line
from step import Job, bare_step, job_of, speed
from torch import nn

from pipeline.config import ModelConfig
from pipeline.engine.machine import Machine, find_machine
from pipeline.model.build import build_model

JOBS = ("resnet18:32:512:25600", "resnet18:224:256:5120", "resnet50:32:512:12800", "resnet50:224:128:2560")
# Compiling and the choice of cuDNN's algorithms are over after them.
NUM_FIRST = 4


def captured(step: Callable[[], None]) -> Callable[[], None]:
    """A step as a CUDA graph that is replayed."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(NUM_FIRST):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def variants(job: Job, model: nn.Module, machine: Machine) -> dict[str, Callable[[], Callable[[], None]]]:
    """Ways to make a step, each made when it is called."""
    return {
        "as it is": lambda: bare_step(job, model, machine),
        "CUDA graph": lambda: captured(bare_step(job, model, machine, capturable=True)),
        "compiled": lambda: bare_step(job, model, machine, torch.compile(model)),
        "compiled, with CUDA graphs": lambda: bare_step(
            job, model, machine, torch.compile(model, mode="reduce-overhead")
        ),
    }


def compare(job: Job) -> None:
    model = build_model(ModelConfig(name=job.name), job.size, 3, 10, 0)
    machine = find_machine("auto", model, (3, job.size, job.size))
    model = machine.place(model).train()
    first = 0.0
    torch.compiler.reset()
    for name, make in variants(job, model, machine).items():
        start = time.perf_counter()
        step = make()
        for _ in range(NUM_FIRST):
            step()
        torch.cuda.synchronize()
        seconds = time.perf_counter() - start
        got = speed(step, job, machine)
        first = first or got
        print(
            f"{job.name} {job.size} px, batch {job.batch_size}, {machine.precision}, {name}: {got:,.0f} images/s, "
            f"{got / first:.2f} times, after {seconds:.1f} s",
            flush=True,
        )


if __name__ == "__main__":
    if not torch.cuda.is_available():
        print("skipped: no CUDA")
        sys.exit()
    for chosen in sys.argv[1:] or JOBS:
        compare(job_of(chosen))
    print(machine_line())
