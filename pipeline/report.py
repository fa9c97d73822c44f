"""everything that a run has made -> output/<run>/report.html, a page to look at; also of a run that is not finished."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.cli import run_stage
from pipeline.config import Config
from pipeline.files import atomic_write
from pipeline.freshness import read_inputs, report_stamp, reported_from
from pipeline.log import log
from pipeline.paths import all_folds, run_dir
from pipeline.stamps import stale, write_stamp

if TYPE_CHECKING:
    from pipeline.page.facts import Facts


def report(cfg: Config) -> None:
    """Write the page of a run.

    Raises:
        InputError: nothing of the run is there yet.
    """
    made_from = reported_from(cfg)
    stamp = report_stamp(cfg)
    if stale(stamp, made_from) is None:
        log.info("report: up to date (%s)", run_dir(cfg) / "report.html")
        return
    from pipeline.page.classes import balance_section, classes_section
    from pipeline.page.data import data_section, folds_section, shift_section
    from pipeline.page.facts import read_facts
    from pipeline.page.galleries import images_section, versions_section
    from pipeline.page.making import making_section, speed_section
    from pipeline.page.network import network_section
    from pipeline.page.render import render
    from pipeline.page.score import score_section, sureness_section, training_section

    facts = read_facts(cfg, read_inputs(cfg))
    sections = [
        make(facts)
        for make in (
            *(score_section, training_section, classes_section, sureness_section, images_section),
            *(network_section, versions_section, data_section, folds_section, shift_section, balance_section),
            *(speed_section, making_section),
        )
    ]
    path = run_dir(cfg) / "report.html"
    with atomic_write(path, "w", encoding="utf-8") as stream:
        stream.write(render(cfg.name, _headline(cfg, facts), sections))
    write_stamp(stamp, made_from, [path])
    log.info("report: %s", path)


def _headline(cfg: Config, facts: "Facts") -> list[tuple[str, str]]:
    """What stands on top of the page."""
    scores = facts.scores
    lines = []
    if scores.get("cv") is not None:
        interval = " ({:.4f} to {:.4f})".format(*scores["interval"]) if "interval" in scores else ""
        lines.append((f"CV {facts.task.metric}", f"{scores['cv']:.5f}{interval}"))
    lines.append(("models", f"{len(scores.get('models', []))} of {len(all_folds(cfg))}"))
    lines.append(("network", f"{cfg.model.name}, {cfg.image.size} px"))
    if facts.labelled is not None:
        lines.append(("train images", f"{len(facts.labelled.samples):,}"))
    if facts.test is not None:
        lines.append(("test images", f"{len(facts.test.ids):,}"))
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage."""
    return run_stage("report", __doc__ or "", lambda cfg, fold: report(cfg), argv)


if __name__ == "__main__":
    sys.exit(main())
