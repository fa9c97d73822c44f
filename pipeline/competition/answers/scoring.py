"""The competition's score of predictions: of the folds', and of the test images' where the answers are known."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.competition.answers import metrics
from pipeline.competition.answers.decide import PLAIN, Decision, decide, fit_decision
from pipeline.competition.answers.likeliest import Probs, stack
from pipeline.competition.answers.predictions import Predictions, in_order
from pipeline.competition.answers.task import Task
from pipeline.competition.tables.csv_table import require_columns
from pipeline.competition.tables.table import test_id, wide_frame
from pipeline.config import Config
from pipeline.files import InputError

Array = np.ndarray[Any, Any]


def score(task: Task, targets: Array, probs: Probs, decision: Decision = PLAIN) -> float | None:
    """The task's metric on decided predictions; None where it is undefined.

    Args:
        task: kind, classes and metric.
        targets: as `Task.encode` gives them.
        probs: float (num_images, num_outputs).
        decision: thresholds or cuts that were found on other images.
    """
    return metrics.score(task.metric, _true(task, targets), _scored(task, probs, decision))


def _true(task: Task, targets: Array) -> Array:
    """Targets as the metric takes them."""
    return task.grades[targets] if metrics.get(task.metric).needs == "grades" else targets


def _scored(task: Task, probs: Probs, decision: Decision) -> Probs:
    """Predictions as the metric takes them."""
    if metrics.get(task.metric).needs == "probs":
        return probs
    return _true(task, decide(task, probs, decision))


def cross_validation(task: Task, targets: Array, oof: Mapping[str, tuple[Array, Probs]]) -> dict[str, Any]:
    """The metric over all pooled out-of-fold predictions, per fold, and the standard deviation over the folds.

    Thresholds and cuts are cross-fitted: each fold is decided by what was found on the others.

    Args:
        task: kind, classes and metric.
        targets: of every train image, as `Task.encode` gives them.
        oof: for each fold int64 indices of its images and their float (num_images, num_outputs) probabilities.

    Returns:
        `cv`, `std` and `folds`; None where there is no fold (for `std`: fewer than two) or the metric is undefined,
        never NaN.
    """
    true = _true(task, targets)
    scored = {fold: _scored(task, probs, fitted(task, targets, oof, fold)) for fold, (_, probs) in oof.items()}
    folds = {fold: metrics.score(task.metric, true[oof[fold][0]], values) for fold, values in scored.items()}
    pooled = None
    if oof:
        indices = np.concatenate([indices for indices, _ in oof.values()])
        pooled = metrics.score(task.metric, true[indices], stack(list(scored.values())))
    defined = [value for value in folds.values() if value is not None]
    return {"cv": pooled, "std": float(np.std(defined)) if len(defined) > 1 else None, "folds": folds}


def fitted(task: Task, targets: Array, oof: Mapping[str, tuple[Array, Probs]], without: str = "") -> Decision:
    """The decision found on all out-of-fold predictions but one fold's; the plain one where there is no other.

    Args:
        task: kind, classes and metric.
        targets: of every train image.
        oof: as for `cross_validation`.
        without: the fold to leave out; "" for none, as test images are decided.
    """
    others = [rows for fold, rows in oof.items() if fold != without]
    if not others:
        return PLAIN
    indices, probs = zip(*others, strict=True)
    return fit_decision(task, targets[np.concatenate(indices)], stack(probs))


def answers_score(cfg: Config, task: Task, path: Path, predictions: Predictions, decision: Decision) -> float | None:
    """The metric of test predictions on a table of answers, with the train table's label columns.

    Raises:
        InputError: the table has other columns, ids or labels.
    """
    frame = wide_frame(cfg, path)
    if problems := require_columns(str(path), frame, [test_id(cfg), *task.labels]):
        raise InputError("; ".join(problems))
    advice = "data.answers must have the test images' ids, each once"
    ids = [str(id_) for id_ in frame[test_id(cfg)]]
    targets = task.encode(frame[list(task.labels)], str(path))
    return score(task, targets, in_order(predictions, ids, str(path), advice), decision)
