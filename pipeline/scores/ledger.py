"""The ledger: output/ledger.csv, a line for every finished run and its settings, with its score on the leaderboard.

It is for spreadsheets too: what they make of it is read, and kept as it is.
"""

import csv
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from io import StringIO
from pathlib import Path
from typing import Any

from pipeline.competition.tables.encoding import decode
from pipeline.config import Config
from pipeline.files import InputError, atomic_write, lock, read_rows
from pipeline.freshness import config_hash
from pipeline.paths import run_dir
from pipeline.quoting import shown

LEDGER = Path("output") / "ledger.csv"
# What spreadsheets put between cells, by country and kind.
_SEPARATORS = ",;\t"
# Before a hash: of 8 digits alone, or 12345e67, a spreadsheet makes a number.
_LETTER = "h"


@dataclass(frozen=True)
class Line:
    """A finished run, in texts as the table holds them; "" for what is not known.

    run: its name; config: a hash of its settings; low, high: of 95 % of resamples; minutes: of all its stages.
    more: the cells of columns that are the user's own.
    """

    run: str
    config: str
    metric: str
    cv: str
    low: str
    high: str
    minutes: str
    leaderboard: str = ""
    more: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        """The run and the hash of its settings, which stood there without a letter once."""
        return self.run, self.config.removeprefix(_LETTER)

    @property
    def score(self) -> float | None:
        """The score on the leaderboard; None where none is noted.

        Raises:
            InputError: what is there is no number.
        """
        if not self.leaderboard:
            return None
        try:
            return score_of(self.leaderboard)
        except ValueError:
            raise InputError(
                f"the leaderboard score of {self.run} in {LEDGER} must be a number, with a point. Got "
                f"{shown(self.leaderboard)}: mend it, or run: {_noted_by(self.run, 'SCORE')}"
            ) from None


FIELDS = tuple(field.name for field in fields(Line) if field.name != "more")


@dataclass(frozen=True)
class Ledger:
    """The lines, and the form that they are written in: names of the user's own columns, encoding, separator."""

    lines: Sequence[Line] = ()
    more: tuple[str, ...] = ()
    encoding: str = "utf-8"
    separator: str = ","


def score_of(text: str) -> float:
    """A score as somebody writes it.

    Raises:
        ValueError: it is none.
    """
    if not math.isfinite(value := float(text)):
        raise ValueError(f"a score must be a number. Got {text!r}")
    return value


def read_ledger() -> Ledger:
    """The ledger; without lines where there is none.

    Raises:
        InputError: it is no such table.
    """
    if not LEDGER.is_file():
        return Ledger()
    try:
        text, encoding = decode(LEDGER, LEDGER.read_bytes())
    except InputError:
        raise InputError(f"{LEDGER} must be in UTF-8. It is not: save it so, or move it away") from None
    if not text.strip():
        return Ledger()
    for separator in _SEPARATORS:
        try:
            header, *rows = csv.reader(StringIO(text, newline=""), delimiter=separator, strict=True)
        except (ValueError, csv.Error):
            continue
        if set(FIELDS) <= set(header):
            break
    else:
        raise InputError(f"{LEDGER} must have the columns {', '.join(FIELDS)}. It has others: move it away")
    own = [header.index(name) for name in FIELDS]
    others = [place for place in range(len(header)) if place not in own]
    lines = []
    for row in rows:
        if any(row[len(header) :]):
            raise InputError(f"{LEDGER} must have no more cells in a row than columns. Got {shown(row)}: mend it")
        cells = [*row, *[""] * (len(header) - len(row))]
        if any(cells):
            values: dict[str, Any] = dict(zip(FIELDS, (cells[place] for place in own), strict=True))
            lines.append(Line(**values, more=tuple(cells[place] for place in others)))
    return Ledger(lines, tuple(header[place] for place in others), encoding, separator)


def leaderboard_of(cfg: Config) -> float | None:
    """The score of a run with these settings on the leaderboard; None where none is noted.

    Raises:
        InputError: the ledger is none, or what is noted is no number.
    """
    own = [line for line in read_ledger().lines if line.key == (cfg.name, config_hash(cfg)) and line.leaderboard]
    return own[-1].score if own else None


def enter(cfg: Config, scores: Mapping[str, Any]) -> None:
    """Add a finished run to the ledger. A line of the same run and settings is written anew, as something else may
    have changed, but not once it has a leaderboard score, which is of the submission that it had then.

    Args:
        cfg: the run's settings.
        scores: as scores.json holds them.

    Raises:
        InputError: there is something else in the ledger's place.
    """
    low, high = scores.get("interval", (None, None))
    minutes = minutes_of(cfg)
    figures = (_text(scores.get("cv")), _text(low), _text(high), f"{minutes:.1f}")
    line = Line(cfg.name, _LETTER + config_hash(cfg), str(scores["metric"]), *figures)
    with lock(LEDGER.with_suffix(".lock"), "the ledger", [LEDGER.name], wait=True):
        ledger = read_ledger()
        known = next((place for place, old in enumerate(ledger.lines) if old.key == line.key), None)
        if known is None:
            _write(replace(ledger, lines=[*ledger.lines, replace(line, more=("",) * len(ledger.more))]))
        elif not ledger.lines[known].leaderboard:
            _put(ledger, known, replace(line, more=ledger.lines[known].more))


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
        ledger = read_ledger()
        places = [place for place, line in enumerate(ledger.lines) if line.run == run]
        if not places:
            there = ", ".join(dict.fromkeys(line.run for line in ledger.lines)) or "none"
            raise InputError(
                f"RUN must be a finished run in {LEDGER}. Got {run}, of {there}; a line is added by: python -m "
                f"pipeline.report {Config(name=run, path=f'configs/{run}.toml').options}"
            )
        old = ledger.lines[places[-1]]
        if not replaces and old.score not in (None, score):
            raise InputError(
                f"the leaderboard score of {run} is {old.leaderboard} already, and is not overwritten with {score}. "
                f"To do so: {_noted_by(run, score)}"
            )
        _must_be_possible(old.metric, score)
        new = replace(old, leaderboard=f"{score:.15g}")
        _put(ledger, places[-1], new)
        return new


def minutes_of(cfg: Config) -> float:
    """What a run took, without the page, which is made as often as somebody looks."""
    return sum(seconds for stage, seconds in seconds_by_stage(cfg).items() if stage != "report") / 60


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


def _must_be_possible(name: str, score: float) -> None:
    """Refuse what no leaderboard says, in percent neither; where lower is better some show it below 0.

    Raises:
        InputError: it is out of the metric's range.
    """
    from pipeline.competition.answers.metrics import get

    metric = get(name)
    if metric.higher_is_better and not 100 * metric.lowest <= score <= 100:
        raise InputError(
            f"SCORE must be what the leaderboard says, for {metric.name} from {metric.lowest:g} to 1, or in percent. "
            f"Got {score}"
        )


def _noted_by(run: str, score: object) -> str:
    """The command that notes a score in the place of another."""
    words = f"{shlex.quote(run)} {score}"
    return f"python -m pipeline.ledger --replace {'-- ' if run.startswith('-') else ''}{words}"


def _text(value: float | None) -> str:
    """A score as it is written: no digit that it does not have."""
    return "" if value is None else f"{value:.6g}"


def _put(ledger: Ledger, place: int, line: Line) -> None:
    """Write a line in the place of another, unless it is the same."""
    if line != ledger.lines[place]:
        _write(replace(ledger, lines=[*ledger.lines[:place], line, *ledger.lines[place + 1 :]]))


def _write(ledger: Ledger) -> None:
    with atomic_write(LEDGER, "w", encoding=ledger.encoding, newline="") as stream:
        writer = csv.writer(stream, delimiter=ledger.separator, lineterminator="\n")
        writer.writerow([*FIELDS, *ledger.more])
        writer.writerows([*(getattr(line, name) for name in FIELDS), *line.more] for line in ledger.lines)
