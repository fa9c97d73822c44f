"""a run's score on the leaderboard -> output/ledger.csv, which has a line for every finished run.

python -m pipeline.ledger RUN SCORE [--replace]
"""

import argparse
import sys
from collections.abc import Sequence

from pipeline.cli import Parser, guarded
from pipeline.log import log
from pipeline.scores.ledger import LEDGER, fill_in, score_of


def note(run: str, score: float, *, replaces: bool) -> None:
    """Note a run's score on the leaderboard, and say it beside its CV score."""
    line = fill_in(run, score, replaces=replaces)
    log.info(
        "ledger: %s has CV %s %s and %s on the leaderboard (%s)", run, line.metric, line.cv or "none", score, LEDGER
    )


def _score(text: str) -> float:
    try:
        return score_of(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, with a point. Got {text!r}") from None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = Parser("ledger", __doc__ or "", "RUN SCORE")
    parser.add_argument("run", metavar="RUN", help="the run's name: that of its config, without .toml")
    parser.add_argument("score", metavar="SCORE", type=_score, help="what the leaderboard says")
    parser.add_argument("--replace", action="store_true", help="overwrite another score")
    arguments = parser.parse_args(argv)
    return guarded("ledger", lambda: note(arguments.run, arguments.score, replaces=arguments.replace), None)


if __name__ == "__main__":
    sys.exit(main())
