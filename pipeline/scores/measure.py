"""What a run's predictions are worth: measured on its folds, brought from where that was done, on hidden answers."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.audit.alike_table import alike_in_other_folds
from pipeline.competition.answers import metrics
from pipeline.competition.answers.blending import blend, mixed
from pipeline.competition.answers.decide import PLAIN, Decision
from pipeline.competition.answers.ensembling import combine_stored
from pipeline.competition.answers.mirrors import doubts_of_flips
from pipeline.competition.answers.predictions import (
    Predictions,
    Stored,
    read_predictions,
    stored_predictions,
    write_predictions,
)
from pipeline.competition.answers.probs import Probs
from pipeline.competition.answers.scoring import Folds, answers_score, cross_validation, fitted, prior_score
from pipeline.competition.answers.task import Task, make_task, scored_by
from pipeline.competition.folds.fold_table import Labelled
from pipeline.competition.folds.versions import in_several_folds
from pipeline.competition.tables.conflicts import duplicates_of
from pipeline.competition.tables.table import read_train
from pipeline.config import Config
from pipeline.files import InputError, read_json
from pipeline.freshness import Inputs, infer_stamp, probe_stamp, train_stamp
from pipeline.log import log
from pipeline.paths import alike_path, all_folds, fold_dir, probe_dir, run_dir
from pipeline.scores.interval import cv_interval
from pipeline.stamps import note

Array = np.ndarray[Any, Any]


def stored(cfg: Config, fold: int | str, name: str, task: Task) -> Stored:
    """A model's table of predictions, or the `probe`'s.

    Raises:
        InputError: it is not there or broken, or of other classes.
    """
    path, made_by = fold_dir(cfg, fold) / name, f"python -m pipeline.infer {cfg.options}"
    if fold == "probe":
        path, made_by = probe_dir(cfg) / name, f"python -m pipeline.probe {cfg.options}"
    table = stored_predictions(path, made_by)
    if table.classes != task.classes:
        raise InputError(
            f"{path} must have the train table's {len(task.classes)} classes. Got {len(table.classes)}, or another "
            f"order; delete it and run: {made_by}"
        )
    return table


def known_task(cfg: Config) -> Task:
    """What is predicted where there is no train table: what it was when a model was trained, or the probe made.

    Raises:
        InputError: no stamp says it.
    """
    stamps = [*(train_stamp(cfg, fold) for fold in all_folds(cfg)), probe_stamp(cfg)]
    known = [task for stamp in stamps if (task := note(stamp, "task"))]
    if not known:
        raise InputError(f"{stamps[0]} must say what its model predicts. It does not: bring it as training wrote it")
    return scored_by(Task.of(known[0]), cfg.task.metric, cfg.task.order)


@dataclass(frozen=True)
class Measured:
    """What the folds' models say of images that they have not seen: int64 (num_images,), rising, and a row for each."""

    indices: Array
    probs: Probs


def measured(
    cfg: Config, labelled: Labelled, folds: list[int | str], *, probed: bool
) -> tuple[dict[str, Any], Measured | None]:
    """Pool what the models, and the probe, say of the folds that they have not seen.

    Args:
        cfg: the settings.
        labelled: the labelled images with their folds.
        folds: those whose models are ready.
        probed: whether the probe is.

    Returns:
        The scores, with the share of the probe, and what they are of; None where nothing measures them.
    """
    task = labelled.task
    networks = said_of(cfg, labelled, folds)
    probe = _said_of_by_probe(cfg, labelled, folds or list(range(cfg.folds.num_folds))) if probed else {}
    blended = blend(cfg, task, labelled.targets, networks, probe)
    oof, pooled = blended.oof, None
    if oof:
        indices = np.concatenate([indices for indices, _ in oof.values()])
        order = np.argsort(indices)
        pooled = Measured(indices[order], Probs.stack([probs for _, probs in oof.values()])[order])
        said = Predictions(labelled.ids(pooled.indices), task.classes, pooled.probs)
        write_predictions(run_dir(cfg) / "oof.parquet", said)
    if cfg.ensemble.method == "mean":
        by_view = {fold: note(infer_stamp(cfg, int(fold)), "scores") for fold in networks}
        for line in doubts_of_flips(cfg, task, labelled.targets, networks, by_view):
            log.info("ensemble: %s", line)
    share = {"probe": {"share": blended.share if oof else None, "cv": blended.cv}} if probed else {}
    # It takes a second or so, and is of no use before all folds are there.
    whole = len(oof) == cfg.folds.num_folds
    found = cv_interval(task, labelled.targets, oof, labelled.samples.groups or None) if whole else None
    interval = {"interval": [found.low, found.high]} if found else {}
    more = _no_better(task, labelled.targets, oof, blended.scores["cv"])
    more |= _without_seen(cfg, labelled, oof, probed=probed)
    return {
        **blended.scores,
        "decision": asdict(fitted(task, labelled.targets, oof)),
        **share,
        **interval,
        **more,
    }, pooled


def _without_seen(cfg: Config, labelled: Labelled, oof: Folds, *, probed: bool) -> dict[str, Any]:
    """The score of the images of which no version lies in another fold, as `without_versions`, and of those of them
    to which none is alike either, as `without_alike`; each where it leaves out images that the other does not.
    """
    ids, folds = labelled.samples.ids, labelled.folds
    is_seen = in_several_folds(list(duplicates_of(cfg, ids).values()), folds)
    found = {"without_versions": _score_without(labelled, oof, is_seen)}
    if probed:
        is_alike = alike_in_other_folds(alike_path(cfg), ids, folds)
        if (is_alike & ~is_seen).any():
            found["without_alike"] = _score_without(labelled, oof, is_seen | is_alike)
    return {name: score for name, score in found.items() if score}


def _score_without(labelled: Labelled, oof: Folds, is_seen: Array) -> dict[str, Any]:
    """The score without some images, bool (num_images,), and how many were left out; nothing where none was."""
    kept = {fold: ~is_seen[indices] for fold, (indices, _) in oof.items()}
    num_seen = sum(int((~rows).sum()) for rows in kept.values())
    if not num_seen:
        return {}
    rest = {fold: (oof[fold][0][rows], oof[fold][1][rows]) for fold, rows in kept.items() if rows.any()}
    cv = cross_validation(labelled.task, labelled.targets, rest)["cv"]
    return {"cv": cv, "left_out": num_seen}


def _no_better(task: Task, targets: Array, oof: Folds, cv: float | None) -> dict[str, float]:
    """The score of always saying the same, as `prior`, where the models' is no better; else nothing."""
    prior = prior_score(task, targets, oof)
    sign = 1 if metrics.get(task.metric).higher_is_better else -1
    return {"prior": prior} if cv is not None and prior is not None and sign * cv <= sign * prior else {}


def warnings_of(scores: Mapping[str, Any], metric: str, one_answer: str | None) -> list[str]:
    """What speaks against a submission, in a sentence; none where nothing does.

    Args:
        scores: as `measured` gives them.
        metric: `task.metric`.
        one_answer: what every row of the submission says; None where they differ.
    """
    found = []
    if one_answer is not None:
        found.append(f"every row of the submission says the same, {one_answer}")
    if "prior" in scores:
        found.append(
            f"the CV {metric} of {scores['cv']:.5f} is no better than always saying the commonest class, or how often "
            f"each is ({scores['prior']:.5f})"
        )
    way_out = "look at labels and images, train longer or with another train.lr, or set task.metric to what is scored"
    return [f"{'; '.join(found)}: {way_out}"] if found else []


def said_of(cfg: Config, labelled: Labelled, folds: Sequence[int | str]) -> dict[str, tuple[Array, Probs]]:
    """Read what models say of the folds that they have not seen.

    Raises:
        InputError: a table of predictions is not there or broken, or of other ids or classes.
    """
    said = {}
    for fold in folds:
        _, indices = labelled.split(fold)
        said[str(fold)] = (indices, stored(cfg, fold, "oof.parquet", labelled.task).aligned(labelled.ids(indices)))
    return said


def _said_of_by_probe(cfg: Config, labelled: Labelled, folds: list[int | str]) -> dict[str, tuple[Array, Probs]]:
    """Read what the probe says of folds, each by the classifier that has not seen it."""
    if not folds:
        return {}
    ids = labelled.samples.ids
    probs = stored(cfg, "probe", "oof.parquet", labelled.task).aligned(ids)
    held_out = {str(fold): labelled.split(fold)[1] for fold in folds}
    return {fold: (indices, probs[indices]) for fold, indices in held_out.items()}


def measured_before(cfg: Config, models: Mapping[str, Any], *, probed: bool) -> dict[str, Any]:
    """Without train images: scores and decision as they were where these are, if they are of these models.

    Some of them are enough: what was found on the predictions of five models serves three of them as well.
    """
    known, wanted = read_json(run_dir(cfg) / "scores.json"), ("cv", "std", "folds", "decision")
    whole = isinstance(known, dict) and {*wanted, *models} <= set(known)
    if whole and all(known[key] == models[key] for key in ("metric", "settings")):
        same = [known["weights"].get(fold) == weights for fold, weights in models["weights"].items()]
        if all(same) and known.get("probe", {}).get("share") and not probed:
            log.info("ensemble: the CV score was measured with the probe, which is not here")
            return {"cv": None, "std": None, "folds": {}, "decision": known["decision"]}
        if all(same):
            return {key: known[key] for key in (*wanted, "probe", "prior", "interval") if key in known}
    log.info(
        "ensemble: there are no train images and no scores.json of these models and settings: there is no CV score, "
        "and labels are decided plainly"
    )
    return {"cv": None, "std": None, "folds": {}, "decision": asdict(PLAIN)}


def share_of_probe(scores: Mapping[str, Any], ready: Sequence[int | str]) -> float:
    """The share of the probe as scores.json holds it, all where there is no network, none where nothing measures it."""
    if not ready:
        return 1.0
    return float(scores.get("probe", {}).get("share") or 0.0)


def test_probs(cfg: Config, task: Task, ids: list[str], ready: Sequence[int | str], share: float) -> Probs:
    """Combine what is said of the test images: by the models that are ready, and by the probe, to its share.

    Raises:
        InputError: a table of predictions is not there or broken, or of other ids or classes.
    """
    method, keep = cfg.ensemble.method, cfg.infer.keep_top

    def combined(names: Sequence[int | str]) -> Probs:
        return combine_stored([stored(cfg, name, "test.parquet", task) for name in names], ids, method, task, keep)

    if share in (0, 1):
        return combined(["probe"] if share else ready)
    return mixed(combined(ready), combined(["probe"]), share, keep)


def decision_of(scores: Mapping[str, Any]) -> Decision:
    """Thresholds and cuts as scores.json holds them."""
    return Decision(tuple(scores["decision"]["thresholds"]), tuple(scores["decision"]["cuts"]))


def score_on_answers(cfg: Config, inputs: Inputs, answers: Path, scores: Mapping[str, Any]) -> float | None:
    """The metric of the run's predictions of the test images on a table of answers; None where it is undefined."""
    predictions = read_predictions(run_dir(cfg) / "test.parquet", f"python -m pipeline.ensemble {cfg.options}")
    task = make_task(cfg, read_train(cfg)) if inputs.has_train else known_task(cfg)
    return answers_score(cfg, task, answers, predictions, decision_of(scores))
