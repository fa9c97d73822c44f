"""The competition's score of predictions: of the folds', and of the test images' where the answers are known."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.competition.answers import metrics
from pipeline.competition.answers.decide import PLAIN, Decision, decide, fit_decision, is_fitted
from pipeline.competition.answers.predictions import Predictions
from pipeline.competition.answers.probs import Probs
from pipeline.competition.answers.spelling import same_among
from pipeline.competition.answers.task import MANY, Task
from pipeline.competition.tables.csv_table import counted, duplicates, require_columns
from pipeline.competition.tables.table import test_id, wide_frame
from pipeline.config import Config
from pipeline.files import InputError
from pipeline.log import log
from pipeline.quoting import shown

Array = np.ndarray[Any, Any]
# For each fold int64 indices of its images, and their probabilities.
Folds = Mapping[str, tuple[Array, Probs]]


def score(task: Task, targets: Array, probs: Probs, decision: Decision = PLAIN) -> float | None:
    """The task's metric on decided predictions; None where it is undefined.

    Args:
        task: kind, classes and metric.
        targets: as `Task.encode` gives them.
        probs: of the same images.
        decision: thresholds or cuts that were found on other images.
    """
    return metrics.score(task.metric, _true(task, targets), _scored(task, [(probs, decision)]))


def _true(task: Task, targets: Array) -> Array:
    """Targets as the metric takes them."""
    return task.grades[targets] if metrics.get(task.metric).needs == "grades" else targets


def _scored(task: Task, parts: Sequence[tuple[Probs, Decision]]) -> metrics.Predicted:
    """Predictions as the metric takes them, part below part, each decided in its own way."""
    if metrics.get(task.metric).needs == "probs":
        return Probs.stack([probs for probs, _ in parts])
    return _true(task, np.concatenate([decide(task, probs, decision) for probs, decision in parts]))


def cross_validation(task: Task, targets: Array, oof: Folds) -> dict[str, Any]:
    """The metric over all pooled out-of-fold predictions, per fold, and the standard deviation over the folds.

    Thresholds and cuts are cross-fitted: each fold is decided by what was found on the others.

    Args:
        task: kind, classes and metric.
        targets: of every train image, as `Task.encode` gives them.
        oof: what was said of each fold by a model that has not seen it.

    Returns:
        `cv`, `std` and `folds`; None where there is no fold (for `std`: fewer than two) or the metric is undefined,
        never NaN.
    """
    if not oof:
        return {"cv": None, "std": None, "folds": {}}
    true, scored = pooled_predictions(task, targets, oof)
    pooled = metrics.score(task.metric, true, scored)
    bounds = np.cumsum([0, *(len(indices) for indices, _ in oof.values())])
    folds = {
        fold: metrics.score(task.metric, true[start:stop], scored[start:stop])
        for fold, start, stop in zip(oof, bounds[:-1], bounds[1:], strict=True)
    }
    defined = [value for value in folds.values() if value is not None]
    return {"cv": pooled, "std": float(np.std(defined)) if len(defined) > 1 else None, "folds": folds}


def pooled_predictions(task: Task, targets: Array, oof: Folds) -> tuple[Array, metrics.Predicted]:
    """What the metric is computed on: the truth and the decided predictions, a row for each image, fold below fold.

    Args:
        task: kind, classes and metric.
        targets: of every train image.
        oof: as for `cross_validation`; at least one fold.
    """
    true = _true(task, targets[np.concatenate([indices for indices, _ in oof.values()])])
    return true, _scored(task, [(probs, fitted(task, targets, oof, fold)) for fold, (_, probs) in oof.items()])


def fitted(task: Task, targets: Array, oof: Folds, without: str = "") -> Decision:
    """The decision found on all out-of-fold predictions but one fold's; the plain one where there is no other.

    Args:
        task: kind, classes and metric.
        targets: of every train image.
        oof: as for `cross_validation`.
        without: the fold to leave out; "" for none, as test images are decided.
    """
    others = [rows for fold, rows in oof.items() if fold != without]
    if not others or not is_fitted(task):
        return PLAIN
    indices, probs = zip(*others, strict=True)
    return fit_decision(task, targets[np.concatenate(indices)], Probs.stack(probs))


def prior_score(task: Task, targets: Array, oof: Folds) -> float | None:
    """What always saying the same scores on these images: the classes' shares, the commonest class, the mean of
    numbers; None where it is undefined.

    Args:
        task: kind, classes and metric.
        targets: of every train image.
        oof: as for `cross_validation`.
    """
    if not oof:
        return None
    own = targets[np.concatenate([indices for indices, _ in oof.values()])]
    prior = np.bincount(own, minlength=task.num_outputs) / len(own) if own.ndim == 1 else own.mean(0)
    known = next(probs for _, probs in oof.values())
    probs = known[:0].filled(prior.astype(np.float32), np.zeros(len(own), np.bool_), MANY)
    return score(task, own, probs)


def answers_score(cfg: Config, task: Task, path: Path, predictions: Predictions, decision: Decision) -> float | None:
    """The metric of test predictions on a table of answers, with the train table's label columns.

    Images of which a label is no train class are left out, which is said.

    Raises:
        InputError: the table has other columns or ids, or no label that is a class.
    """
    frame = wide_frame(cfg, path)
    if problems := require_columns(str(path), frame, [test_id(cfg), *task.labels]):
        raise InputError("; ".join(problems))
    ids, labels = [str(id_) for id_ in frame[test_id(cfg)]], frame[list(task.labels)]
    asked, own = set(predictions.ids), set(ids)
    others, lacking = [id_ for id_ in ids if id_ not in asked], [id_ for id_ in predictions.ids if id_ not in own]
    problems = duplicates(str(path), ids)
    problems += [f"{path}: {counted('ids are of no test image', others)}"] if others else []
    problems += [f"{path}: {counted('test images have no answer', lacking)}"] if lacking else []
    if problems:
        raise InputError(f"data.answers must have the test images' ids, each once. Got {'; '.join(problems)}")
    probs = predictions.aligned(ids, str(path), "")
    labels = _as_in_train(task, labels)
    unknown = task.unknown(labels)
    known = np.flatnonzero([not row for row in unknown])
    if 0 < len(known) < len(labels):
        name = shown(next(row[0] for row in unknown if row))
        log.info("answers: images with a label that train lacks (%s) are left out: %s", name, len(labels) - len(known))
        labels, probs = labels.iloc[known], probs[known]
    return score(task, task.encode(labels, str(path)), probs, decision)


def _as_in_train(task: Task, labels: pd.DataFrame) -> pd.DataFrame:
    """Labels of one column of classes as the train table writes them: `4.0` as `4`."""
    if task.kind not in ("single", "ordinal") or len(task.labels) > 1:
        return labels
    alike = same_among(task.classes)
    names = {alike(name): name for name in task.classes}
    column = labels[task.labels[0]]
    return column.map({cell: names.get(alike(cell), cell) for cell in column.unique()}).to_frame()
