"""oof.parquet, test.parquet of every fold -> output/<run>/{oof,test}.parquet, scores.json, submission.csv."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import stamps
from pipeline.cli import run_stage
from pipeline.config import Config, ConfigError
from pipeline.files import InputError, lock, read_json, write_json
from pipeline.freshness import (
    Inputs,
    ensemble_stamp,
    ensembled_from,
    has_probe,
    infer_stamp,
    must_be_ready,
    probe_stamp,
    read_inputs,
    train_stamp,
    unpredicted,
    unprobed,
)
from pipeline.log import log
from pipeline.paths import all_folds, fold_dir, run_dir
from pipeline.scores import summary
from pipeline.stamps import stale, stamped, write_stamp

PRODUCTS = ("test.parquet", "submission.csv")
LOCKED = (*PRODUCTS, ".submission.csv.checking", "oof.parquet", "scores.json", "scores_elsewhere.json", "ensemble.json")


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
    without_probe = unprobed(cfg, inputs)
    probed = has_probe(cfg) and without_probe is None
    if without_probe not in (None, "not made yet"):
        log.info("ensemble: the probe is left out, it is not current; %s", without_probe)
    if not ready and not probed:
        # What is there is of other settings.
        (run_dir(cfg) / "submission.csv").unlink(missing_ok=True)
        raise InputError(
            f"no current predictions of this run are there, and so no submission. They are made by: python -m "
            f"pipeline.infer {cfg.options}"
        )
    stamp, made_from = ensemble_stamp(cfg), ensembled_from(cfg, ready, probed=probed)
    # A submission made where the train images were, or were not, has its scores under the other name.
    if stale(stamp, made_from) is not None or not stamped(stamp, _scores_path(cfg, inputs).name):
        from pipeline.competition.answers import metrics

        # Before an old submission is gone.
        metrics.must_allow(cfg.ensemble.method, metrics.get(cfg.task.metric))
        with lock(run_dir(cfg) / "ensemble.lock", f"the ensemble of {cfg.name}", LOCKED):
            submission = run_dir(cfg) / "submission.csv"
            if not _adds_models(stamps.made_from(stamp), made_from):
                submission.unlink(missing_ok=True)
            try:
                products = _combine(cfg, ready, inputs, probed=probed)
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


def _combine(cfg: Config, ready: list[int | str], inputs: Inputs, *, probed: bool) -> list[str]:
    """Make the run's tables, scores and submission; returns their names.

    Args:
        cfg: the settings.
        ready: the models whose predictions are there.
        inputs: what is here.
        probed: whether the probe's are.
    """
    import numpy as np

    from pipeline.competition.answers import submission
    from pipeline.competition.answers.form import read_form
    from pipeline.competition.answers.predictions import Predictions, write_predictions
    from pipeline.competition.folds.fold_table import read_labelled
    from pipeline.competition.tables.table import read_test
    from pipeline.scores.measure import (
        decision_of,
        known_task,
        measured,
        measured_before,
        share_of_probe,
        test_probs,
        warning_of,
    )

    folder = run_dir(cfg)
    labelled = read_labelled(cfg) if inputs.has_train else None
    task, test = labelled.task if labelled else known_task(cfg), read_test(cfg)

    products = [*PRODUCTS, _scores_path(cfg, inputs).name]
    weights = {str(fold): stamped(train_stamp(cfg, fold), "model.safetensors") for fold in ready}
    asked = {"infer": cfg.infer.model_dump(mode="json"), **cfg.ensemble.model_dump(mode="json")}
    models = {"metric": task.metric, "models": list(weights), "num_models": len(all_folds(cfg))}
    models |= {"weights": weights, "settings": asked}
    if labelled:
        folds = [fold for fold in ready if fold != "full"]
        # Beside the model of all images alone, which no fold measures, the probe's score would be of something else.
        scores, has_oof = measured(cfg, labelled, folds, probed=probed and bool(folds or not ready))
        products += ["oof.parquet"] if has_oof else []
    else:
        scores = measured_before(cfg, models, probed=probed)
    share = share_of_probe(scores, ready) if probed else 0.0
    if probed:
        scores = {**scores, "probe": {"cv": {}, **scores.get("probe", {}), "share": share}}
    probs = test_probs(cfg, task, test.ids, ready, share)
    write_predictions(folder / "test.parquet", Predictions(test.ids, task.classes, probs))
    write_json(_scores_path(cfg, inputs), {**scores, **models})
    form = read_form(cfg, task, test.ids)
    if cfg.ensemble.method == "rank" and form.answer == "columns" and task.kind != "multi":
        log.info(
            "ensemble: ranks are written, whose rows do not sum to 1; ensemble.method = 'mean' gives probabilities"
        )
    known = set(test.ids)
    more = [id_ for id_ in form.ids if id_ not in known]
    if more:
        prior = labelled.prior(np.arange(len(labelled.samples))) if labelled else _prior_of_models(cfg, ready)
        usable = np.arange(len(known) + len(more)) < len(known)
        probs = probs.filled(np.array(prior, np.float32), usable, cfg.infer.keep_top)
    frame = submission.fill(form, task, [*test.ids, *more], probs, decision_of(scores))
    if warning := warning_of(scores, task.metric, submission.one_answer(form, frame)):
        write_json(_scores_path(cfg, inputs), {**scores, **models, "warning": warning})
    submission.write(folder / "submission.csv", form, task, frame)
    return products


def _prior_of_models(cfg: Config, ready: list[int | str]) -> tuple[float, ...]:
    """The shares of the train classes (a number's mean), where the train images are not here.

    Raises:
        InputError: no model is here either.
    """
    from pipeline.model.checkpoint import read_checkpoint

    if not ready:
        raise InputError(
            "rows of the sample that have no test image get the shares of the train classes, which the trained models "
            "say. None is here: bring them, or the train images"
        )
    return read_checkpoint(fold_dir(cfg, ready[0]) / "model.safetensors").prior


def _scores_path(cfg: Config, inputs: Inputs) -> Path:
    """Where scores and decision are written: without train images not over what was measured where these are."""
    return run_dir(cfg) / ("scores.json" if inputs.has_train else "scores_elsewhere.json")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage."""
    return run_stage("ensemble", __doc__ or "", lambda cfg, fold: ensemble(cfg), argv)


if __name__ == "__main__":
    sys.exit(main())
