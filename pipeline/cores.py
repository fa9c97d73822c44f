"""How many cores this process may use."""

import math
import os
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def num_cores() -> int:
    """Cores to keep busy: `OMP_NUM_THREADS` where the user has set it, else what the system grants this process.

    That is its affinity, and in a container no more than its quota (cgroup v2, "cpu.max"): threads beyond it would be
    stopped in turn.
    """
    if limit := os.environ.get("OMP_NUM_THREADS", ""):
        return max(1, int(limit)) if limit.isdigit() else 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, quota(_QUOTA)))


def quota(path: Path) -> int:
    """Cores that a quota allows, rounded up; a great many where there is none."""
    none = 2**16
    try:
        share, period = path.read_text(encoding="utf-8").split()
        return none if share == "max" else math.ceil(int(share) / int(period))
    except (OSError, ValueError):
        return none
