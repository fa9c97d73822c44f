"""The competition's score of predictions: of the folds', and of the test images' where the answers are known."""

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.competition import metrics
from pipeline.competition.csv_table import read_csv, require_columns
from pipeline.competition.decide import decide
from pipeline.competition.predictions import Predictions, in_order
from pipeline.competition.table import test_id
from pipeline.competition.task import Task
from pipeline.config import Config
from pipeline.files import InputError

Array = np.ndarray[Any, Any]


def score(task: Task, targets: Array, probs: Array) -> float | None:
    """The task's metric on decided predictions; None where it is undefined.

    Args:
        task: kind, classes and metric.
        targets: as `Task.encode` gives them.
        probs: float (num_images, num_outputs).
    """
    needs_probs = metrics.get(task.metric).needs == "probs"
    return metrics.score(task.metric, targets, probs if needs_probs else decide(task, probs))


def cross_validation(task: Task, targets: Array, oof: dict[str, tuple[Array, Array]]) -> dict[str, Any]:
    """The metric over all pooled out-of-fold predictions, per fold, and the standard deviation over the folds.

    Args:
        task: kind, classes and metric.
        targets: of every train image, as `Task.encode` gives them.
        oof: for each fold int64 numbers of its images and their float (num_images, num_outputs) probabilities.

    Returns:
        `cv`, `std` and `folds`; None where there is no fold (for `std`: fewer than two) or the metric is undefined,
        never NaN.
    """
    folds = {part: score(task, targets[numbers], probs) for part, (numbers, probs) in oof.items()}
    pooled = None
    if oof:
        numbers, probs = (np.concatenate(arrays) for arrays in zip(*oof.values(), strict=True))
        pooled = score(task, targets[numbers], probs)
    defined = [value for value in folds.values() if value is not None]
    return {"cv": pooled, "std": float(np.std(defined)) if len(defined) > 1 else None, "folds": folds}


def answers_score(cfg: Config, task: Task, path: Path, predictions: Predictions) -> float | None:
    """The metric of test predictions on a table of answers, with the train table's label columns.

    Raises:
        InputError: the table has other columns, ids or labels.
    """
    frame = read_csv(path).frame
    if problems := require_columns(str(path), frame, [test_id(cfg), *task.labels]):
        raise InputError("; ".join(problems))
    advice = "data.answers must have the test images' ids, each once"
    ids = [str(id_) for id_ in frame[test_id(cfg)]]
    return score(task, task.encode(frame[list(task.labels)], str(path)), in_order(predictions, ids, str(path), advice))
