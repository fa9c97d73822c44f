"""Several stages in the order given, in one process: what all of them import (torch, timm) is imported once.

python -m pipeline STAGE... [--config configs/x.toml] [--set KEY=VALUE ...]
"""

import importlib
import itertools
import sys
from collections.abc import Sequence

STAGES = ("detect", "prepare", "folds", "train", "infer", "ensemble")


def main(argv: Sequence[str] | None = None) -> int:
    """Run each stage; the first that fails ends the run with its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    names = list(itertools.takewhile(lambda argument: not argument.startswith("-"), arguments))
    unknown = [name for name in names if name not in STAGES]
    if unknown or not names:
        got = repr(unknown[0]) if unknown else "none"
        print(f"python -m pipeline: name stages, of {', '.join(STAGES)}, then --config. Got {got}", file=sys.stderr)
        return 2
    for name in names:
        # A stage is imported when it is its turn: a usage error or a finished job pays for none of the later ones.
        status: int = importlib.import_module(f"pipeline.{name}").main(arguments[len(names) :])
        if status:
            return status
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # before a stage is at work, or between two
        print("stopped; the same command goes on from here", file=sys.stderr)
        sys.exit(130)
