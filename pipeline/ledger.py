"""a run's score on the leaderboard -> output/ledger.csv, which has a line for every finished run.

python -m pipeline.ledger RUN SCORE [--replace]
"""

import argparse
import math
import sys
from collections.abc import Sequence

from pipeline.cli import Parser, guarded
from pipeline.log import log
from pipeline.scores.ledger import LEDGER, fill_in


def note(run: str, score: float, *, replaces: bool) -> None:
    """Note a run's score on the leaderboard, and say it beside its CV score."""
    line = fill_in(run, score, replaces=replaces)
    log.info(
        "ledger: %s has CV %s %s and %s on the leaderboard (%s)", run, line.metric, line.cv or "none", score, LEDGER
    )


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise argparse.ArgumentTypeError(f"SCORE must be a number. Got {text!r}")
    return value


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = Parser("ledger", __doc__ or "")
    parser.add_argument("run", metavar="RUN", help="the run's name: that of its config, without .toml")
    parser.add_argument("score", metavar="SCORE", type=_finite, help="what the leaderboard says")
    parser.add_argument("--replace", action="store_true", help="overwrite another score")
    arguments = parser.parse_args(argv)
    return guarded("ledger", lambda: note(arguments.run, arguments.score, replaces=arguments.replace), None)


if __name__ == "__main__":
    sys.exit(main())
