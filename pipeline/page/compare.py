"""Runs beside each other: scores, their differences on the same images, time, what the leaderboard says, settings."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.as_made import changed_since, settings_as_made
from pipeline.competition.answers import metrics
from pipeline.competition.answers.scoring import pooled_predictions
from pipeline.config import Config, sections
from pipeline.config_file import load
from pipeline.files import InputError
from pipeline.freshness import config_hash, read_inputs, report_stamp
from pipeline.page import charts
from pipeline.page.blocks import Block, Cell, Chart, Section, Table, Text
from pipeline.page.facts import Facts, read_facts
from pipeline.paths import run_dir
from pipeline.plan import planned
from pipeline.scores.interval import Interval, difference
from pipeline.scores.ledger import leaderboard_of, minutes_of, seconds_by_stage
from pipeline.stamps import made_from
from pipeline.text_table import text_table

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Run:
    """A run that is compared, with the settings that its products were made with.

    leaderboard: its score there; None where that is not known.
    warnings: what speaks against its figures, such as what has changed since it was made.
    """

    facts: Facts
    leaderboard: float | None
    warnings: Sequence[str] = ()

    @property
    def name(self) -> str:
        """The run's name."""
        return self.facts.cfg.name

    @property
    def cv(self) -> float | None:
        """The CV score."""
        return self.facts.scores.get("cv")

    @property
    def interval(self) -> tuple[float | None, float | None]:
        """The interval of the CV score."""
        low, high = self.facts.scores.get("interval", (None, None))
        return low, high

    @cached_property
    def minutes(self) -> float:
        """What all stages took, but for the page."""
        return minutes_of(self.facts.cfg)

    @cached_property
    def pooled(self) -> tuple[list[str], Array, metrics.Predicted]:
        """Ids of the images that are scored, the truth, and what is said of them, as the metric takes both."""
        assert self.facts.labelled is not None
        indices = np.concatenate([indices for indices, _ in self.facts.by_fold.values()])
        true, scored = pooled_predictions(self.facts.task, self.facts.labelled.targets, self.facts.by_fold)
        return self.facts.labelled.ids(indices), true, scored

    @cached_property
    def identities(self) -> dict[str, str]:
        """The hash of each train image's bytes by its id, as the audit lists them."""
        return {row["id"]: row["sha256"] for row in self.facts.audit if row["split"] == "train"}


@dataclass(frozen=True)
class Difference:
    """The score of a run less that of the first, on the images that both predict.

    num_other_images, num_other_labels: ids that both predict, left out as they name other images, or have other labels.
    why_none: why there is no such number; "" where there is one.
    """

    num_images: int = 0
    value: float | None = None
    interval: Interval | None = None
    num_other_images: int = 0
    num_other_labels: int = 0
    why_none: str = ""

    @property
    def left_out(self) -> str:
        """How many ids are in both runs and not compared, in words; "" for none."""
        counts = ((self.num_other_images, "name other images"), (self.num_other_labels, "have other labels"))
        said = [f"{count:,} {what}" for count, what in counts if count]
        return f"of the ids in both are left out: {', '.join(said)}" if said else ""

    def verdict(self, higher_is_better: bool) -> str:
        """What the interval says: better, worse, or that it cannot tell."""
        if self.why_none or self.interval is None:
            return self.why_none or "no interval"
        if self.interval.low <= 0 <= self.interval.high:
            return "not told apart"
        return "better" if (self.interval.low > 0) == higher_is_better else "worse"


def read_run(name: str) -> Run:
    """Read a run by its name, with the settings that its products were made with.

    Raises:
        InputError: it has no page, or its config has changed since that; or the page is another run's.
    """
    stamp = report_stamp(Config(name=name))
    made = made_from(stamp)
    if not {"config", "set", "config hash"} <= set(made):
        raise InputError(
            f"RUN must be the name of a run that has a page. Got {name}: {stamp} is not there or older. It is made by: "
            f"python -m pipeline.report {Config(name=name, path=f'configs/{name}.toml').options}"
        )
    cfg = planned(load(Path(made["config"]), made["set"]))
    if cfg.name != name:
        raise InputError(
            f"a run's folder must have the run's name. {stamp.parent} holds a page of {cfg.name}, moved or copied: "
            f"compare {cfg.name}, whose folder is {run_dir(cfg)}; or give {name} a config of its own, and its page by: "
            f"python -m pipeline.report {Config(name=name, path=f'configs/{name}.toml').options}"
        )
    if config_hash(cfg) != made["config hash"]:
        raise InputError(
            f"the settings of a run must be those that it was made with. Those of {name} are others than its page's: "
            f"run it again, or undo the change in {made['config']}"
        )
    inputs = read_inputs(cfg)
    warnings = changed_since(cfg, inputs)
    cfg = settings_as_made(cfg)
    leaderboard = None
    try:
        leaderboard = leaderboard_of(cfg)
    except InputError as error:  # a table that everybody edits stops no comparison
        warnings.append(str(error))
    return Run(read_facts(cfg, inputs), leaderboard, warnings)


def compared(first: Run, other: Run) -> Difference:
    """Compare two runs on the images that both predict: those of the same id, bytes and label."""
    if not (first.facts.is_scored and other.facts.is_scored):
        return Difference(why_none="no predictions out of fold")
    one, two = first.facts.task, other.facts.task
    if (one.metric, one.classes) != (two.metric, two.classes):
        return Difference(why_none="another metric or other classes")
    (ids, true, said), (other_ids, other_true, other_said) = first.pooled, other.pooled
    place = {id_: row for row, id_ in enumerate(other_ids)}
    named = [(row, place[id_]) for row, id_ in enumerate(ids) if id_ in place]
    known = first.identities.items() & other.identities.items()
    alike = [(row, other_row) for row, other_row in named if (ids[row], first.identities.get(ids[row])) in known]
    pairs = [(row, other_row) for row, other_row in alike if np.array_equal(true[row], other_true[other_row])]
    left_out = len(named) - len(alike), len(alike) - len(pairs)
    if not pairs:
        return Difference(0, None, None, *left_out, why_none="no image in common")
    rows, other_rows = np.array(pairs, np.int64).T
    both = said[rows], other_said[other_rows]
    scores = [metrics.score(one.metric, true[rows], predicted) for predicted in both]
    value = None if scores[0] is None or scores[1] is None else scores[1] - scores[0]
    assert first.facts.labelled is not None
    groups = first.facts.labelled.samples.groups
    group_of = dict(zip(first.facts.labelled.samples.ids, groups, strict=True)) if groups else {}
    own = [group_of[ids[row]] for row in rows] if groups else None
    return Difference(len(rows), value, difference(one.metric, true[rows], both, own), *left_out)


def settings_that_differ(runs: Sequence[Run]) -> list[tuple[str, ...]]:
    """Names of settings that are not alike in all runs, each with its value in every run, as the config writes it."""
    dumps: list[Mapping[str, Any]] = [run.facts.cfg.model_dump(mode="json") for run in runs]
    rows = []
    for section, kind in sections():
        for key in kind.model_fields:
            values = [json.dumps(dump[section][key], ensure_ascii=False) for dump in dumps]
            if len(set(values)) > 1:
                rows.append((f"{section}.{key}", *values))
    return rows


def in_short(runs: Sequence[Run], differences: Sequence[Difference]) -> list[str]:
    """The comparison in lines of a terminal: a table of the runs, then what settings differ."""
    better = metrics.get(runs[0].facts.task.metric).higher_is_better
    rows = []
    for run, found in zip(runs, [None, *differences], strict=True):
        low, high = run.interval
        interval = "" if low is None or high is None else f"{low:.4f} to {high:.4f}"
        score = f"{run.facts.task.metric} {_said(run.cv, '.5f')}"
        rows.append(
            [run.name, score, interval, f"{run.minutes:.1f}", _said(run.leaderboard, "g"), _against(found, better)]
        )
    columns = ("run", "CV", "95 % of resamples", "minutes", "leaderboard", f"less that of {runs[0].name}")
    lines = text_table(columns, rows)
    for setting, first, *others in settings_that_differ(runs):
        changed = [f"{value} in {run.name}" for run, value in zip(runs[1:], others, strict=True) if value != first]
        lines.append(f"{setting}: {first} in {runs[0].name}, {', '.join(changed)}")
    return [*lines, *(f"warning: {line}" for line in _warnings(runs, differences))]


def _warnings(runs: Sequence[Run], differences: Sequence[Difference]) -> list[str]:
    """What speaks against the comparison: images that are not compared, and what has changed since a run was made."""
    pairs = zip(runs[1:], differences, strict=True)
    left_out = [f"{run.name} against {runs[0].name}: {found.left_out}" for run, found in pairs if found.left_out]
    return [*left_out, *(f"{run.name}: {line}" for run in runs for line in run.warnings)]


def _against(found: Difference | None, better: bool) -> str:
    if found is None or found.value is None:
        return "" if found is None else found.verdict(better)
    interval = f" ({found.interval.low:+.4f} to {found.interval.high:+.4f})" if found.interval else ""
    return f"{found.value:+.5f}{interval}, {found.verdict(better)}"


def _said(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def comparison(runs: Sequence[Run], differences: Sequence[Difference]) -> list[Section]:
    """The sections of the page that compares runs.

    Args:
        runs: each is compared with the first.
        differences: of all but the first.
    """
    return [_scores(runs, differences), _differences(runs, differences), _settings(runs), _time(runs)]


def _scores(runs: Sequence[Run], differences: Sequence[Difference]) -> Section:
    metric = runs[0].facts.task.metric
    blocks: list[Block] = [Text(line, is_warning=True) for line in _warnings(runs, differences)]
    if same := {
        run.name: (run.cv, *run.interval) for run in runs if run.facts.task.metric == metric and run.cv is not None
    }:
        caption = f"CV {metric}; {_way(metric)}; 95 % of resamples"
        blocks.append(Chart(caption, charts.dots(same, metric), f"CV {metric} of {len(same)} runs, as in the table"))
    rows: list[Sequence[Cell]] = [
        (run.name, run.facts.task.metric, run.cv, *run.interval, run.leaderboard, run.minutes) for run in runs
    ]
    columns = ("run", "metric", "CV", "95 % from", "to", "leaderboard", "minutes")
    blocks.append(Table("", columns, rows, {"minutes": 1}))
    known = [
        run for run in runs if run.leaderboard is not None and run.cv is not None and run.facts.task.metric == metric
    ]
    if len(known) > 1:
        x, y = (np.array(values, float) for values in ([run.cv for run in known], [run.leaderboard for run in known]))
        drawn = charts.scatter(x, y, f"CV {metric}", "leaderboard")
        blocks.append(Chart("CV against leaderboard", drawn, "CV against leaderboard, as in the table"))
    elif not known:
        blocks.append(Text("What the leaderboard says is noted by: python -m pipeline.ledger RUN SCORE"))
    return Section("scores", "Scores", blocks)


def _differences(runs: Sequence[Run], differences: Sequence[Difference]) -> Section:
    first, metric = runs[0], runs[0].facts.task.metric
    better = metrics.get(metric).higher_is_better
    blocks: list[Block] = []
    pairs = list(zip(runs[1:], differences, strict=True))
    shown = {
        run.name: (found.value, found.interval.low, found.interval.high)
        for run, found in pairs
        if found.value is not None and found.interval is not None
    }
    if shown:
        drawn = charts.dots(shown, f"{metric} less that of {charts.short(first.name)}", zero=True)
        caption = "The same images are drawn for both runs, whole groups where there are groups; 95 % of resamples"
        blocks.append(Chart(caption, drawn, f"differences from {first.name}, as in the table"))
    rows: list[Sequence[Cell]] = [
        (
            run.name,
            found.num_images,
            found.value,
            found.interval.low if found.interval else None,
            found.interval.high if found.interval else None,
            found.verdict(better),
        )
        for run, found in pairs
    ]
    columns = ("run", "images in common", "difference", "95 % from", "to", "verdict")
    blocks.append(Table("", columns, rows))
    return Section("differences", f"Against {first.name}", blocks)


def _settings(runs: Sequence[Run]) -> Section:
    rows = settings_that_differ(runs)
    table = Table("", ("setting", *(run.name for run in runs)), rows)
    return Section("settings", "Settings that differ", [table] if rows else [Text("None.")])


def _time(runs: Sequence[Run]) -> Section:
    seconds = [seconds_by_stage(run.facts.cfg) for run in runs]
    stages = list(dict.fromkeys(stage for own in seconds for stage in own))
    rows: list[Sequence[Cell]] = [(stage, *(own.get(stage) for own in seconds)) for stage in stages]
    columns = ("stage", *(run.name for run in runs))
    table = Table("Seconds of every stage, all calls together", columns, rows, dict.fromkeys(columns, 1))
    return Section("time", "Time", [table] if rows else [])


def _way(metric: str) -> str:
    return "higher is better" if metrics.get(metric).higher_is_better else "lower is better"
