"""Starting a run in several processes: one for each GPU, or as many as `NUM_PROC` says, by torch's own launcher.

`torchrun` does the same, on several machines too; this is for those who need not know of it.
"""

import logging
import os
import signal
import sys
from collections.abc import Sequence

from pipeline.cores import num_cores
from pipeline.gpus import num_gpus
from pipeline.others import count

MODULE = "pipeline"
# Seconds that processes have to end after a signal.
_SAVING = 600


def num_processes() -> int:
    """How many processes are to share the run; 1 where this is one of several already.

    Raises:
        ValueError: `NUM_PROC` is no such number.
    """
    if count() > 1 or "TORCHELASTIC_RUN_ID" in os.environ:
        return 1
    asked = os.environ.get("NUM_PROC", "")
    if not asked:
        return max(1, num_gpus())
    if not asked.isdigit() or not 1 <= int(asked) <= 1024:
        raise ValueError(f"NUM_PROC must be a number of processes, 1 to 1024. Got {asked!r}")
    return int(asked)


def launch(number: int, arguments: Sequence[str]) -> int:
    """Run the pipeline in so many processes on this machine, and wait for them.

    A signal is passed on to them. Where one fails the others are ended.

    Returns:
        The exit status of the process that failed first; 0.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    asked = os.environ.get("NUM_PROC", "")
    reason = f"NUM_PROC={asked}" if asked else f"the {number} GPUs of this machine; NUM_PROC=1 takes one"
    print(f"run: {number} processes, by {reason}", flush=True)
    # What they share, where the user has not said: the cores.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, num_cores() // number)))
    # A signal lets them save the step under way, which may take long; after half a minute, else, they would be killed.
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(_SAVING))
    # Each process says itself what is wrong with it.
    logging.disable(logging.CRITICAL)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=number,
        run_id=str(os.getpid()),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    try:
        elastic_launch(config, sys.executable)("-u", "-m", MODULE, *arguments)
    except ChildFailedError as error:
        number, failure = error.get_first_failure()
        status = failure.exitcode
        if status == -signal.SIGKILL:
            print(f"run: process {number} was killed, as the system does where memory runs out", file=sys.stderr)
        return status if status > 0 else 128 - status
    except SignalException as error:
        return 128 + int(error.sigval)
    return 0
