"""The run's tables, scores and submission, made of what its models and the probe say."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.audit.doubts import labels_in_doubt, learnt
from pipeline.audit.drift import find_drift
from pipeline.competition.answers import submission
from pipeline.competition.answers.form import Form, read_form
from pipeline.competition.answers.predictions import Predictions, write_predictions
from pipeline.competition.answers.probs import Probs
from pipeline.competition.folds.fold_table import Labelled, read_labelled
from pipeline.competition.tables.table import read_test
from pipeline.config import Config
from pipeline.files import InputError, atomic_write, write_json
from pipeline.freshness import Inputs, train_stamp
from pipeline.log import log
from pipeline.model.checkpoint import read_checkpoint
from pipeline.paths import all_folds, fold_dir, run_dir
from pipeline.scores.advice import gather, next_steps
from pipeline.scores.measure import (
    Measured,
    decision_of,
    known_task,
    measured,
    measured_before,
    share_of_probe,
    test_probs,
    warnings_of,
)
from pipeline.stamps import stamped

DOUBTS = ("id", "label", "likelier", "said")


def make(cfg: Config, ready: list[int | str], inputs: Inputs, scores_path: Path, *, probed: bool) -> list[str]:
    """Make the run's tables, scores and submission.

    Args:
        cfg: the settings.
        ready: the models whose predictions are there.
        inputs: what is here.
        scores_path: where scores and decision are written.
        probed: whether the probe's predictions are there.

    Returns:
        The names of what was made, in the run's folder.

    Raises:
        InputError: the folds do not fit each other, or the submission would be refused.
    """
    folder = run_dir(cfg)
    labelled = read_labelled(cfg) if inputs.has_train else None
    task, test = labelled.task if labelled else known_task(cfg), read_test(cfg)
    form = read_form(cfg, task, test.ids)  # before predictions take memory: a sample has a cell for each

    products = ["test.parquet", "submission.csv", scores_path.name]
    weights = {str(fold): stamped(train_stamp(cfg, fold), "model.safetensors") for fold in ready}
    asked = {"infer": cfg.infer.model_dump(mode="json"), **cfg.ensemble.model_dump(mode="json")}
    models = {"metric": task.metric, "models": list(weights), "num_models": len(all_folds(cfg))}
    models |= {"weights": weights, "settings": asked}
    oof: Measured | None = None
    if labelled:
        folds = [fold for fold in ready if fold != "full"]
        # Beside the model of all images alone, which no fold measures, the probe's score would be of something else.
        scores, oof = measured(cfg, labelled, folds, probed=probed and bool(folds or not ready))
        if oof:
            products += ["oof.parquet", "doubts.csv"]
            scores |= _write_doubts(folder / "doubts.csv", labelled, oof)
            scores["next"] = next_steps(gather(cfg, task, labelled.targets[oof.indices], oof.probs, ready))
    else:
        scores = measured_before(cfg, models, probed=probed)
    share = share_of_probe(scores, ready) if probed else 0.0
    if probed:
        scores = {**scores, "probe": {"cv": {}, **scores.get("probe", {}), "share": share}}
    probs = test_probs(cfg, task, test.ids, ready, share)
    write_predictions(folder / "test.parquet", Predictions(test.ids, task.classes, probs))
    if cfg.ensemble.method == "rank" and form.answer == "columns" and task.kind != "multi":
        log.info(
            "ensemble: ranks are written, whose rows do not sum to 1; ensemble.method = 'mean' gives probabilities"
        )
    answered = _with_prior(cfg, form, test.ids, probs, labelled, ready)
    rows = partial(submission.fill, form, task, *answered, decision_of(scores))
    # Ranks, and the likeliest classes alone, are of their own kind: they are compared as they are.
    drift = find_drift(task, oof.probs, probs) if oof and cfg.ensemble.method == "mean" else []
    warnings = [*drift, *warnings_of(scores, task.metric, submission.one_answer(form, rows()))]
    write_json(scores_path, {**scores, **models, **({"warnings": warnings} if warnings else {})})
    submission.write(folder / "submission.csv", form, task, rows())
    return products


def _with_prior(
    cfg: Config, form: Form, ids: list[str], probs: Probs, labelled: Labelled | None, ready: Sequence[int | str]
) -> tuple[list[str], Probs]:
    """The test images with what is said of them, and behind them rows of the sample that have no test image, of which
    the prior is said.
    """
    known = set(ids)
    more = [id_ for id_ in form.ids if id_ not in known]
    if not more:
        return ids, probs
    prior = labelled.prior(np.arange(len(labelled.samples))) if labelled else _prior_of_models(cfg, ready)
    usable = np.arange(len(known) + len(more)) < len(known)
    return [*ids, *more], probs.filled(np.array(prior, np.float32), usable, cfg.infer.keep_top)


def _prior_of_models(cfg: Config, ready: Sequence[int | str]) -> tuple[float, ...]:
    """The shares of the train classes (a number's mean), where the train images are not here.

    Raises:
        InputError: no model is here either.
    """
    if not ready:
        raise InputError(
            "rows of the sample that have no test image get the shares of the train classes, which the trained models "
            "say. None is here: bring them, or the train images"
        )
    return read_checkpoint(fold_dir(cfg, ready[0]) / "model.safetensors").prior


def _write_doubts(path: Path, labelled: Labelled, oof: Measured) -> dict[str, int]:
    """Write the labels in doubt, the most doubtful first: what the table says, what is likelier, and how likely the
    label is; of tags whether it is said to be there; of numbers how far what is said is away. Count them, those that
    were judged, and all.
    """
    task, targets = labelled.task, labelled.targets[oof.indices]
    is_learnt = learnt(task, labelled.targets, labelled.folds)[oof.indices]
    found = labels_in_doubt(task, targets, oof.probs, is_learnt)
    ids = labelled.ids(oof.indices[found.image])
    if task.kind == "number":
        label = [f"{value:g}" for value in targets[found.image, 0]]
        likelier = [f"{value:g}" for value in oof.probs.array[found.image, 0]]
    elif task.kind == "multi":
        label = [task.classes[tag] for tag in found.label]
        likelier = ["not there" if there else "there" for there in targets[found.image, found.label] > 0]
    else:
        label, likelier = ([task.classes[index] for index in column] for column in (found.label, found.likelier))
    columns = (ids, label, likelier, [f"{value:.4f}" for value in found.said])
    with atomic_write(path, "w", encoding="utf-8", newline="") as stream:
        pd.DataFrame(dict(zip(DOUBTS, columns, strict=True))).to_csv(stream, index=False, lineterminator="\n")
    return {"doubts": len(found), "judged": found.num_judged, "labels": targets.size}
