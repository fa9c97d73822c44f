"""oof.parquet, test.parquet of every fold -> output/<run>/{oof,test}.parquet, scores.json, submission.csv."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import stamps
from pipeline.cli import run_stage
from pipeline.config import Config, ConfigError
from pipeline.files import InputError, lock, read_json
from pipeline.freshness import (
    Inputs,
    ensemble_stamp,
    ensembled_from,
    has_probe,
    infer_stamp,
    must_be_ready,
    probe_stamp,
    read_inputs,
    unpredicted,
    unprobed,
)
from pipeline.log import log
from pipeline.others import count
from pipeline.paths import all_folds, run_dir
from pipeline.processes import team
from pipeline.scores import summary
from pipeline.stamps import stale, stamped, write_stamp

LOCKED = (
    *("test.parquet", "submission.csv", ".submission.csv.checking", "oof.parquet", "doubts.csv"),
    *("scores.json", "scores_elsewhere.json", "ensemble.json"),
)


def ensemble(cfg: Config) -> None:
    """Pool the folds' predictions, score them, write the submission, and say where it is.

    Raises:
        InputError: no fold is ready, the folds do not fit each other, or the submission would be refused.
    """
    inputs = read_inputs(cfg)
    if any(stamp.is_file() for stamp in (probe_stamp(cfg), *(infer_stamp(cfg, fold) for fold in all_folds(cfg)))):
        must_be_ready(cfg, inputs)
    reasons = {fold: unpredicted(cfg, fold, inputs) for fold in all_folds(cfg)}
    ready = [fold for fold, reason in reasons.items() if reason is None]
    for fold, reason in reasons.items():
        if reason not in (None, "not made yet"):
            log.info("ensemble: predictions of fold %s are left out, they are not current; %s", fold, reason)
    if len(ready) == len(reasons) and team().size < count():
        return  # all models are there, and so all processes make it together
    without_probe = unprobed(cfg, inputs)
    probed = has_probe(cfg) and without_probe is None
    if without_probe not in (None, "not made yet"):
        log.info("ensemble: the probe is left out, it is not current; %s", without_probe)
    if not ready and not probed:
        (run_dir(cfg) / "submission.csv").unlink(missing_ok=True)
        others = next((reason for reason in reasons.values() if reason not in (None, "not made yet")), "")
        way_out = f" What is there is of other settings ({others}): undo that change, or make" if others else " Make"
        raise InputError(
            f"predictions of this run must be there and current. There are none, and so no submission.{way_out} them: "
            f"python -m pipeline.infer {cfg.options}"
        )
    stamp, made_from = ensemble_stamp(cfg), ensembled_from(cfg, ready, probed=probed)
    # A submission made where the train images were, or were not, has its scores under the other name.
    if stale(stamp, made_from) is not None or not stamped(stamp, _scores_path(cfg, inputs).name):
        from pipeline.competition.answers import metrics
        from pipeline.scores.products import make

        # Before an old submission is gone.
        metrics.must_allow(cfg.ensemble.method, metrics.get(cfg.task.metric))
        with lock(run_dir(cfg) / "ensemble.lock", f"the ensemble of {cfg.name}", LOCKED, wait=count() > 1):
            submission = run_dir(cfg) / "submission.csv"
            if not _adds_models(stamps.made_from(stamp), made_from):
                submission.unlink(missing_ok=True)
            try:
                products = make(cfg, ready, inputs, _scores_path(cfg, inputs), probed=probed)
            except (ConfigError, InputError):
                submission.unlink(missing_ok=True)
                raise
            write_stamp(stamp, made_from, [run_dir(cfg) / name for name in products])
    summary.say(cfg, ready, read_json(_scores_path(cfg, inputs)), inputs)


def _adds_models(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether a submission differs from the one before by more models alone: then that is worth keeping until it is
    replaced, whatever stops this.
    """
    parts, more = old.get("parts", {}), new["parts"]
    same_models = all(more.get(fold) == made for fold, made in parts.items())
    same_probe = old.get("probe") in (None, new.get("probe"))
    others = [{key: made[key] for key in made if key not in ("parts", "probe")} for made in (old, new)]
    return same_models and same_probe and others[0] == others[1]


def _scores_path(cfg: Config, inputs: Inputs) -> Path:
    """Where scores and decision are written: without train images not over what was measured where these are."""
    return run_dir(cfg) / ("scores.json" if inputs.has_train else "scores_elsewhere.json")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage."""
    return run_stage("ensemble", __doc__ or "", lambda cfg, fold: ensemble(cfg), argv)


if __name__ == "__main__":
    sys.exit(main())
