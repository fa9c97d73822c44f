"""Start-up: `--help`, a usage error, and `bash run.sh` where all is done, in seconds; the fastest of five.

Run: PYTHONPATH=. python tests/benchmarks/startup.py [CONFIG ...]    configs whose runs are complete (default: digits)
"""

import subprocess
import sys
import time
from pathlib import Path

from measure import machine_line

ROOT = Path(__file__).parent.parent.parent


def fastest(command: list[str], status: int, num_turns: int = 5) -> float:
    seconds = []
    for _ in range(num_turns):
        start = time.perf_counter()
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        seconds.append(time.perf_counter() - start)
        assert done.returncode == status, done.stdout + done.stderr
    return min(seconds)


if __name__ == "__main__":
    for stage in ("detect", "prepare", "folds", "train", "infer", "ensemble", "practice"):
        shown = fastest([sys.executable, "-m", f"pipeline.{stage}", "--help"], 0)
        wrong = fastest([sys.executable, "-m", f"pipeline.{stage}", "--no-such-option"], 2)
        print(f"pipeline.{stage}: --help {shown:.2f} s, usage error {wrong:.2f} s")
    for config in sys.argv[1:] or ["configs/digits.toml"]:
        print(f"bash run.sh {config}, all done: {fastest(['bash', 'run.sh', config], 0):.2f} s")
    print(machine_line())
