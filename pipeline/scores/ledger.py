"""The ledger: output/ledger.csv, a line for every finished run and its settings, with its score on the leaderboard."""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from pipeline.config import Config
from pipeline.files import InputError, atomic_write, lock, read_rows
from pipeline.freshness import config_hash
from pipeline.paths import run_dir

LEDGER = Path("output") / "ledger.csv"


@dataclass(frozen=True)
class Line:
    """A finished run, in texts as the table holds them; "" for what is not known.

    run: its name; config: a hash of its settings; low, high: of 95 % of resamples; minutes: of all its stages.
    """

    run: str
    config: str
    metric: str
    cv: str
    low: str
    high: str
    minutes: str
    leaderboard: str = ""


FIELDS = tuple(field.name for field in fields(Line))


def read_ledger() -> list[Line]:
    """The lines; none where there is no ledger.

    Raises:
        InputError: it is no such table.
    """
    rows = read_rows(LEDGER)
    if any(set(row) != set(FIELDS) or None in row.values() for row in rows):
        raise InputError(f"{LEDGER} must have the columns {', '.join(FIELDS)}. It has others: move it away")
    return [Line(**row) for row in rows]


def enter(cfg: Config, scores: Mapping[str, Any]) -> None:
    """Add a finished run to the ledger. A line of the same run and settings is written anew, as something else may
    have changed, but not once it has a leaderboard score, which is of the submission that it had then.

    Args:
        cfg: the run's settings.
        scores: as scores.json holds them.
    """
    low, high = scores.get("interval", (None, None))
    minutes = sum(seconds_by_stage(cfg).values()) / 60
    figures = (_text(scores.get("cv")), _text(low), _text(high), f"{minutes:.1f}")
    line = Line(cfg.name, config_hash(cfg), str(scores["metric"]), *figures)
    with lock(LEDGER.with_suffix(".lock"), "the ledger", [LEDGER.name], wait=True):
        lines = read_ledger()
        known = next((place for place, old in enumerate(lines) if _key(old) == _key(line)), None)
        if known is None:
            _write([*lines, line])
        elif not lines[known].leaderboard and lines[known] != line:
            _write([*lines[:known], line, *lines[known + 1 :]])


def fill_in(run: str, score: float, *, replaces: bool = False) -> Line:
    """Note a run's score on the leaderboard in its last line.

    Args:
        run: its name.
        score: as the leaderboard says it.
        replaces: whether another score may be there.

    Raises:
        InputError: no run of that name has finished, or another score is there.
    """
    with lock(LEDGER.with_suffix(".lock"), "the ledger", [LEDGER.name], wait=True):
        lines = read_ledger()
        places = [place for place, line in enumerate(lines) if line.run == run]
        if not places:
            there = ", ".join(dict.fromkeys(line.run for line in lines)) or "none"
            raise InputError(
                f"RUN must be a finished run in {LEDGER}. Got {run}, of {there}; a line is added by: python -m "
                f"pipeline.report --config configs/{run}.toml"
            )
        old = lines[places[-1]]
        if old.leaderboard and float(old.leaderboard) != score and not replaces:
            raise InputError(
                f"the leaderboard score of {run} is {old.leaderboard} already, and is not overwritten with {score:g}. "
                f"To do so: python -m pipeline.ledger {run} {score:g} --replace"
            )
        new = replace(old, leaderboard=_text(score))
        if new != old:
            _write([new if place == places[-1] else line for place, line in enumerate(lines)])
        return new


def seconds_by_stage(cfg: Config) -> dict[str, float]:
    """Seconds of every stage of a run, all calls together, in the order of the first calls."""
    seconds: dict[str, float] = {}
    for row in seconds_of(cfg):
        seconds[row["stage"]] = seconds.get(row["stage"], 0.0) + float(row["seconds"])
    return seconds


def seconds_of(cfg: Config) -> list[dict[str, str]]:
    """The rows of a run's seconds.csv: a call of a stage each, `stage`, `fold` ("" for none or all) and `seconds`."""
    rows = read_rows(run_dir(cfg) / "seconds.csv")
    # A process that was killed may have left a part of a line; nothing depends on this file, so nothing guards it.
    cells = [{name: row.get(name) or "" for name in ("stage", "fold", "seconds")} for row in rows]
    return [row for row in cells if row["stage"] and re.fullmatch(r"\d+\.\d{3}", row["seconds"])]


def _key(line: Line) -> tuple[str, str]:
    return line.run, line.config


def _text(value: float | None) -> str:
    """A score as it is written: no digit that it does not have."""
    return "" if value is None else f"{value:.6g}"


def _write(lines: Sequence[Line]) -> None:
    with atomic_write(LEDGER, "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(FIELDS)
        writer.writerows([getattr(line, name) for name in FIELDS] for line in lines)
