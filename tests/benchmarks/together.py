"""One network trained by several processes together, against one process: images per second.

Run: PYTHONPATH=. python tests/benchmarks/together.py [NETWORK:SIZE:BATCH:IMAGES ...] [--processes 1 2]
The loop is that of `step.py`, with the same batches whatever the processes: each has a part of every one. On a machine
with GPUs each process has one; where there are fewer they share it, and gradients travel by the CPU. Without GPUs they
share the cores. The best of three epochs counts.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from measure import machine_line
from step import job_of, make_loop

from pipeline.cores import num_cores
from pipeline.others import count, rank

NUM_EPOCHS = 3


def work(jobs: list[str]) -> None:
    """What each process does: train some epochs of each job; the first says how fast."""
    for text in jobs:
        with tempfile.TemporaryDirectory() as folder:
            loop = make_loop(job_of(text), Path(folder))[0]
            loop()
            best = max(loop() for _ in range(NUM_EPOCHS))
        if rank() == 0:
            print(json.dumps({"job": text, "speed": best}), flush=True)
    if count() > 1:
        torch.distributed.destroy_process_group()


def speeds(number: int, jobs: list[str]) -> dict[str, float]:
    """Images per second of each job, by so many processes."""
    threads = {"OMP_NUM_THREADS": str(max(1, num_cores() // number))}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={number}"]
    done = subprocess.run(
        [*launcher, __file__, *jobs], env={**os.environ, **threads}, stdout=subprocess.PIPE, text=True, check=True
    )
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {each["job"]: each["speed"] for each in said}


def main() -> None:
    """Compare numbers of processes."""
    most = torch.cuda.device_count()
    parser = argparse.ArgumentParser()
    parser.add_argument("--processes", type=int, nargs="+", default=sorted({1, 2, most} - {0}))
    default = "resnet50:224:128:2560" if most else "resnet18:64:64:512"
    parser.add_argument("jobs", nargs="*", default=[default])
    arguments = parser.parse_args()
    first: dict[str, float] = {}
    for number in arguments.processes:
        found = speeds(number, arguments.jobs)
        first = first or found
        for job, speed in found.items():
            print(f"{job}, {number} processes: {speed:,.0f} images/s, {speed / first[job]:.2f} times", flush=True)
    print(machine_line())


if __name__ == "__main__":
    if "TORCHELASTIC_RUN_ID" in os.environ:
        assert count() >= 1
        work(sys.argv[1:])
    else:
        main()
