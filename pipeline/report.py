"""everything that a run has made -> output/<run>/report.html, a page to look at; also of a run that is not finished.

python -m pipeline.report [--config configs/x.toml] [--set KEY=VALUE ...]
python -m pipeline.report RUN RUN ...    runs by name beside each other -> output/compare.html, and a short table
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.as_made import changed_since, settings_as_made
from pipeline.cli import Parser, guarded, run_stage
from pipeline.config import Config
from pipeline.files import InputError, atomic_write, inside, read_json
from pipeline.freshness import Inputs, is_whole, read_inputs, report_stamp, reported_from
from pipeline.log import log
from pipeline.paths import all_folds, data_dir, run_dir
from pipeline.scores.ledger import enter, leaderboard_of
from pipeline.stamps import stale, write_stamp

if TYPE_CHECKING:
    from pipeline.page.facts import Facts

COMPARED = Path("output") / "compare.html"


def report(cfg: Config) -> None:
    """Write the page of a run.

    Raises:
        InputError: nothing of the run is there yet.
    """
    inputs, stamp = read_inputs(cfg), report_stamp(cfg)
    changed = changed_since(cfg, inputs)
    leaderboard = _leaderboard(cfg)
    made_from = {**reported_from(cfg), **({"changed since": changed} if changed else {})}
    made_from |= {"leaderboard": leaderboard} if leaderboard is not None else {}
    for line in changed:
        log.warning("report: warning: %s", line)
    if not changed and inputs.has_train and is_whole(cfg, inputs):
        try:
            enter(cfg, read_json(run_dir(cfg) / "scores.json"))
        except (InputError, OSError) as error:  # a table that everybody edits, or has open, stops no page
            log.warning("report: warning: the run is not in the ledger. %s", error)
    if stale(stamp, made_from) is None:
        log.info("report: up to date (%s)", run_dir(cfg) / "report.html")
        return
    from pipeline.page.blocks import Section, Text
    from pipeline.page.classes import balance_section, classes_section
    from pipeline.page.data import data_section, folds_section, shift_section
    from pipeline.page.facts import read_facts
    from pipeline.page.galleries import images_section
    from pipeline.page.making import making_section, speed_section
    from pipeline.page.network import network_section
    from pipeline.page.render import render
    from pipeline.page.score import score_section, sureness_section, training_section
    from pipeline.page.versions import leaks_section, versions_section

    facts = read_facts(settings_as_made(cfg), inputs)
    sections = [Section("changed", "Changed since it was made", [Text(line, is_warning=True) for line in changed])]
    sections += [
        make(facts)
        for make in (
            *(leaks_section, score_section, training_section, classes_section, sureness_section, images_section),
            *(network_section, versions_section, data_section, folds_section, shift_section, balance_section),
            *(speed_section, making_section),
        )
    ]
    path = run_dir(cfg) / "report.html"
    with atomic_write(path, "w", encoding="utf-8") as stream:
        stream.write(render(cfg.name, _headline(facts, _on_answers(facts, inputs), leaderboard), sections))
    write_stamp(stamp, made_from, [path])
    if not facts.scores.get("models"):
        for step in facts.scores.get("next", []):
            log.info("next: %s", step)
    log.info("report: %s", path)


def _leaderboard(cfg: Config) -> float | None:
    """What is noted of the run on the leaderboard; None where nothing is, or what is there is no ledger."""
    try:
        return leaderboard_of(settings_as_made(cfg))
    except InputError as error:  # a table that everybody edits stops no page
        log.warning("report: warning: %s", error)
        return None


def _on_answers(facts: "Facts", inputs: Inputs) -> float | None:
    """The score on the hidden answers; None where there are none, or nothing that they score."""
    from pipeline.scores.measure import score_on_answers

    cfg = facts.cfg
    path = inside(data_dir(cfg), cfg.data.answers, "data.answers") if cfg.data.answers else None
    if path is None or not path.is_file() or facts.test is None or "decision" not in facts.scores:
        return None
    try:
        return score_on_answers(cfg, inputs, path, facts.scores)
    except InputError as error:  # a table that no other stage needs stops no page
        log.warning("report: warning: %s", error)
        return None


def _headline(facts: "Facts", on_answers: float | None, leaderboard: float | None) -> list[tuple[str, str]]:
    """What stands on top of the page."""
    cfg, scores = facts.cfg, facts.scores
    lines = []
    if scores.get("cv") is not None:
        interval = " ({:.4f} to {:.4f})".format(*scores["interval"]) if "interval" in scores else ""
        lines.append((f"CV {scores.get('metric', facts.task.metric)}", f"{scores['cv']:.5f}{interval}"))
    if on_answers is not None:
        lines.append(("on the hidden answers", f"{on_answers:.5f}"))
    if leaderboard is not None:
        lines.append(("on the leaderboard", f"{leaderboard:.10g}"))
    lines.append(("models", f"{len(scores.get('models', []))} of {len(all_folds(cfg))}"))
    lines.append(("network", f"{cfg.model.name}, {cfg.image.size} px"))
    if facts.labelled is not None:
        lines.append(("train images", f"{len(facts.labelled.samples):,}"))
    if facts.test is not None:
        lines.append(("test images", f"{len(facts.test.ids):,}"))
    return lines


def compare(names: Sequence[str]) -> None:
    """Write the page that compares runs with the first of them, and say the same in short.

    Raises:
        InputError: a run has no page, or another config by now.
    """
    if len(set(names)) < max(2, len(names)):
        raise InputError(
            f"two runs or more must be named to be compared, each once. Got: {', '.join(names)}. A run's own page is "
            "made by: python -m pipeline.report --config configs/RUN.toml"
        )
    from pipeline.page.compare import compared, comparison, in_short, read_run
    from pipeline.page.render import render

    runs = [read_run(name) for name in names]
    differences = [compared(runs[0], run) for run in runs[1:]]
    for line in in_short(runs, differences):
        log.info("%s", line)
    with atomic_write(COMPARED, "w", encoding="utf-8") as stream:
        stream.write(render(" / ".join(names), [], comparison(runs, differences)))
    log.info("report: %s", COMPARED)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # Options have two dashes; what has one is meant to be a name.
    if arguments and arguments[0] != "-h" and (arguments[0] == "--" or not arguments[0].startswith("--")):
        parser = Parser("report", __doc__ or "", "RUN RUN ...")
        parser.add_argument("runs", nargs="+", metavar="RUN", help="names of runs")
        runs = parser.parse_args(arguments).runs
        return guarded("report", lambda: compare(runs), None)
    return run_stage("report", __doc__ or "", lambda cfg, fold: report(cfg), argv)


if __name__ == "__main__":
    sys.exit(main())
