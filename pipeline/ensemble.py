"""oof.parquet, test.parquet of every fold -> output/<run>/{oof,test}.parquet, scores.json, submission.csv."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli import run_stage
from pipeline.config import Config
from pipeline.files import InputError, inside, lock, read_json, write_json
from pipeline.freshness import (
    Inputs,
    ensemble_stamp,
    ensembled_from,
    infer_stamp,
    must_be_ready,
    read_inputs,
    said_in_training,
    train_stamp,
    unpredicted,
)
from pipeline.log import log
from pipeline.paths import all_folds, data_dir, fold_dir, run_dir
from pipeline.stamps import note, stale, stamped, write_stamp

if TYPE_CHECKING:
    from pipeline.competition.answers.decide import Decision
    from pipeline.competition.answers.predictions import Predictions
    from pipeline.competition.answers.task import Task
    from pipeline.competition.folds.fold_table import Labelled

PRODUCTS = ("test.parquet", "submission.csv")


def ensemble(cfg: Config) -> None:
    """Pool the folds' predictions, score them, write the submission, and say where it is.

    Raises:
        InputError: no fold is ready, the folds do not fit each other, or the submission would be refused.
    """
    inputs = read_inputs(cfg)
    if any(infer_stamp(cfg, fold).is_file() for fold in all_folds(cfg)):
        must_be_ready(cfg, inputs)
    reasons = {fold: unpredicted(cfg, fold, inputs) for fold in all_folds(cfg)}
    ready = [fold for fold, reason in reasons.items() if reason is None]
    for fold, reason in reasons.items():
        if reason not in (None, "not made yet"):
            log.info("ensemble: predictions of fold %s are left out, they are not current; %s", fold, reason)
    if not ready:
        # What is there is of other settings.
        (run_dir(cfg) / "submission.csv").unlink(missing_ok=True)
        raise InputError(
            f"no current predictions of this run are there, and so no submission. They are made by: python -m "
            f"pipeline.infer {cfg.options}"
        )
    stamp, made_from = ensemble_stamp(cfg), ensembled_from(cfg, ready)
    if stale(stamp, made_from) is not None:
        from pipeline.competition.answers import metrics

        # Before the old submission is gone.
        metrics.must_allow(cfg.ensemble.method, metrics.get(cfg.task.metric))
        with lock(run_dir(cfg) / "ensemble.lock", f"the ensemble of {cfg.name}"):
            (run_dir(cfg) / "submission.csv").unlink(missing_ok=True)
            products = _combine(cfg, ready, inputs)
            write_stamp(stamp, made_from, [run_dir(cfg) / name for name in products])
    _report(cfg, ready, inputs)


def _combine(cfg: Config, ready: list[int | str], inputs: Inputs) -> list[str]:
    """Make the run's tables, scores and submission; returns their names."""
    from pipeline.competition.answers import submission
    from pipeline.competition.answers.ensembling import combine
    from pipeline.competition.answers.form import read_form
    from pipeline.competition.answers.predictions import Predictions, in_order, read_predictions, write_predictions
    from pipeline.competition.folds.fold_table import read_labelled
    from pipeline.competition.tables.table import read_test

    folder, made_by = run_dir(cfg), f"python -m pipeline.infer {cfg.options}"
    labelled = read_labelled(cfg) if inputs.has_train else None
    task, test = labelled.task if labelled else _known_task(cfg), read_test(cfg)
    tables = [read_predictions(fold_dir(cfg, fold) / "test.parquet", made_by) for fold in ready]
    for fold, table in zip(ready, tables, strict=True):
        _same_classes(table, task, f"{fold_dir(cfg, fold)}/test.parquet")
    advice = f"Delete it and run: {made_by}"
    rows = [
        in_order(table, test.ids, f"{fold_dir(cfg, fold)}/test.parquet", advice)
        for fold, table in zip(ready, tables, strict=True)
    ]
    combined = Predictions(test.ids, task.classes, combine(rows, cfg.ensemble.method, task, cfg.infer.keep_top))
    write_predictions(folder / "test.parquet", combined)

    products = [*PRODUCTS, _scores_path(cfg, inputs).name]
    weights = {str(fold): stamped(train_stamp(cfg, fold), "model.safetensors") for fold in ready}
    asked = {"infer": cfg.infer.model_dump(mode="json"), **cfg.ensemble.model_dump(mode="json")}
    models = {"metric": task.metric, "models": list(weights), "num_models": len(all_folds(cfg))}
    models |= {"weights": weights, "settings": asked}
    if labelled:
        scores, has_oof = _measure(cfg, labelled, [fold for fold in ready if fold != "full"])
        products += ["oof.parquet"] if has_oof else []
    else:
        scores = _measured_before(cfg, models)
    write_json(_scores_path(cfg, inputs), {**scores, **models})
    form = read_form(cfg, task, test.ids)
    if cfg.ensemble.method == "rank" and form.answer == "columns" and task.kind != "multi":
        log.info(
            "ensemble: ranks are written, whose rows do not sum to 1; ensemble.method = 'mean' gives probabilities"
        )
    frame = submission.fill(form, task, test.ids, combined.probs, _decision(scores))
    submission.write(folder / "submission.csv", form, task, frame)
    return products


def _scores_path(cfg: Config, inputs: Inputs) -> Path:
    """Where scores and decision are written: without train images not over what was measured where these are."""
    return run_dir(cfg) / ("scores.json" if inputs.has_train else "scores_elsewhere.json")


def _known_task(cfg: Config) -> "Task":
    """What is predicted where there is no train table: what it was when a model was trained."""
    from pipeline.competition.answers.task import Task, scored_by

    stamps = [train_stamp(cfg, fold) for fold in all_folds(cfg)]
    known = [task for stamp in stamps if (task := note(stamp, "task"))]
    if not known:
        raise InputError(f"{stamps[0]} must say what its model predicts. It does not: bring it as training wrote it")
    return scored_by(Task.of(known[0]), cfg.task.metric, cfg.task.order)


def _measure(cfg: Config, labelled: "Labelled", folds: list[int | str]) -> tuple[dict[str, Any], bool]:
    """Pool what the models say of the folds that they have not seen; their scores, and whether there are any."""
    import numpy as np

    from pipeline.competition.answers.ensembling import combine
    from pipeline.competition.answers.likeliest import stack
    from pipeline.competition.answers.mirrors import doubts_of_flips
    from pipeline.competition.answers.predictions import Predictions, in_order, read_predictions, write_predictions
    from pipeline.competition.answers.scoring import cross_validation, fitted

    made_by = f"python -m pipeline.infer {cfg.options}"
    task, advice = labelled.task, f"Delete it and run: {made_by}"
    oof: dict[str, Any] = {}
    for fold in folds:
        _, indices = labelled.split(fold)
        source = fold_dir(cfg, fold) / "oof.parquet"
        table = read_predictions(source, made_by)
        _same_classes(table, task, str(source))
        probs = in_order(table, labelled.ids(indices), str(source), advice)
        if cfg.ensemble.method == "rank":
            # As the test images are ranked: by one model's predictions at a time.
            probs = combine([probs], "rank", task)
        oof[str(fold)] = (indices, probs)
    if oof:
        indices = np.concatenate([indices for indices, _ in oof.values()])
        probs = stack([probs for _, probs in oof.values()])
        order = np.argsort(indices)
        ids = labelled.ids(indices[order])
        write_predictions(run_dir(cfg) / "oof.parquet", Predictions(ids, task.classes, probs[order]))
    scores = cross_validation(task, labelled.targets, oof)
    if cfg.ensemble.method == "mean":
        plain = {fold: said for fold in oof if (said := _without_views(cfg, labelled, fold))}
        for line in doubts_of_flips(cfg, task, labelled.targets, oof, plain, scores):
            log.info("ensemble: %s", line)
    return {**scores, "decision": asdict(fitted(task, labelled.targets, oof))}, bool(oof)


def _without_views(cfg: Config, labelled: "Labelled", fold: str) -> "tuple[Any, Any] | None":
    """Numbers and probabilities of a fold's images as they are, by what training said; None where that is not there."""
    from pipeline.competition.answers.predictions import in_order, read_predictions

    path = said_in_training(cfg, fold)
    if path is None:
        return None
    _, indices = labelled.split(int(fold))
    table = read_predictions(path, f"python -m pipeline.train {cfg.options}")
    return indices, in_order(table, labelled.ids(indices), str(path), "Delete it")


def _measured_before(cfg: Config, models: dict[str, Any]) -> dict[str, Any]:
    """Without train images: scores and decision as they were where these are, if they are of these models.

    Some of them are enough: what was found on the predictions of five models serves three of them as well.
    """
    known, wanted = read_json(run_dir(cfg) / "scores.json"), ("cv", "std", "folds", "decision")
    whole = isinstance(known, dict) and {*wanted, *models} <= set(known)
    if whole and all(known[key] == models[key] for key in ("metric", "settings")):
        same = [known["weights"].get(fold) == weights for fold, weights in models["weights"].items()]
        if all(same):
            return {key: known[key] for key in wanted}
    from pipeline.competition.answers.decide import PLAIN

    log.info(
        "ensemble: there are no train images and no scores.json of these models and settings: there is no CV score, "
        "and labels are decided plainly"
    )
    return {"cv": None, "std": None, "folds": {}, "decision": asdict(PLAIN)}


def _decision(scores: dict[str, Any]) -> "Decision":
    from pipeline.competition.answers.decide import Decision

    return Decision(tuple(scores["decision"]["thresholds"]), tuple(scores["decision"]["cuts"]))


def _same_classes(table: "Predictions", task: "Task", source: str) -> None:
    if table.classes != task.classes:
        raise InputError(
            f"{source} must have the train table's {len(task.classes)} classes. Got {len(table.classes)}, or another "
            "order; delete it and run: python -m pipeline.infer"
        )


def _report(cfg: Config, ready: list[int | str], inputs: Inputs) -> None:
    """Say what there is: models, CV score and spread, the submission, and its score where answers are known."""
    scores = read_json(_scores_path(cfg, inputs))
    if len(ready) < len(all_folds(cfg)):
        log.info("ensemble: %s of %s models are ready; run it again later", len(ready), len(all_folds(cfg)))
    for fold, value in scores["folds"].items():
        if value is None:
            log.info("ensemble: %s is undefined on fold %s", scores["metric"], fold)
    if scores["cv"] is not None:
        spread = "one fold: no spread" if scores["std"] is None else f"std over folds {scores['std']:.5f}"
        log.info("CV %s: %.5f (%s)", scores["metric"], scores["cv"], spread)
    elif not scores["folds"]:
        why = "no fold is ready yet" if cfg.folds.num_folds else "folds.num_folds is 0"
        why = why if inputs.has_train else "there are no train images"
        log.info("CV %s: none, %s", scores["metric"], why)
    value = _answers_score(cfg, inputs) if cfg.data.answers else None
    if value is not None:
        log.info("score on the hidden answers: %.5f", value)
    log.info("submission: %s", run_dir(cfg) / "submission.csv")


def _answers_score(cfg: Config, inputs: Inputs) -> float | None:
    """The score of the submission on `data.answers`; None where there is no such file.

    Answers are read here and nowhere else, after the submission is written.
    """
    path = inside(data_dir(cfg), cfg.data.answers, "data.answers")
    if not path.is_file():
        log.info("answers: %s is not there, so the test score is unknown", path)
        return None
    from pipeline.competition.answers.predictions import read_predictions
    from pipeline.competition.answers.scoring import answers_score
    from pipeline.competition.answers.task import make_task
    from pipeline.competition.tables.table import read_train

    predictions = read_predictions(run_dir(cfg) / "test.parquet", "python -m pipeline.ensemble")
    decision = _decision(read_json(_scores_path(cfg, inputs)))
    task = make_task(cfg, read_train(cfg)) if inputs.has_train else _known_task(cfg)
    return answers_score(cfg, task, path, predictions, decision)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage."""
    return run_stage("ensemble", __doc__ or "", lambda cfg, fold: ensemble(cfg), argv)


if __name__ == "__main__":
    sys.exit(main())
