"""This machine's NVIDIA GPUs, without torch, which takes seconds to import."""

import os
import shutil
import subprocess
from pathlib import Path


def gpu_memory() -> float:
    """Gigabytes of the first GPU; 0 where there is none or it is hidden, 1 where there seems to be one that does not
    say.
    """
    memories = _memories()
    return memories[0] if memories else 0.0


def num_gpus() -> int:
    """How many GPUs this process may use: those that are named in `CUDA_VISIBLE_DEVICES`, else all."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    number = len(_memories())
    return number if named is None else min(number, len([name for name in named.split(",") if name.strip()]))


def _memories() -> list[float]:
    """Gigabytes of each GPU of the machine, [1] where there seems to be one and nothing is said."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return []
    if not Path("/dev/nvidia0").exists() and shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
        return [float(line) / 1024 for line in said.split()] or [1.0]
    except (OSError, subprocess.SubprocessError, ValueError):
        return [1.0]
