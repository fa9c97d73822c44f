"""Several models' predictions -> one."""

from typing import Any

import numpy as np

from pipeline.competition.task import Task

Array = np.ndarray[Any, Any]


def combine(rows: list[Array], method: str, task: Task) -> Array:
    """Combine predictions of the same images.

    Args:
        rows: each float (num_images, num_outputs), in one order of images.
        method: `mean` of the probabilities; `rank`: mean of each class's ranks over the images, scaled to (0, 1), ties
            at their mean rank, so that models that are sure of themselves do not outvote others. For one class of
            many the rows are scaled to sum to 1.
        task: kind of the labels; numbers are always averaged.

    Returns:
        float32 (num_images, num_outputs).
    """
    if method == "rank" and task.kind != "number":
        rows = [ranks(probs) for probs in rows]
    combined = np.mean(np.stack(rows).astype(np.float64), axis=0)
    if method == "rank" and task.activation == "softmax":
        combined /= combined.sum(1, keepdims=True)
    return combined.astype(np.float32)


def ranks(probs: Array) -> Array:
    """Ranks over the images of each column, in (0, 1), ties at their mean rank: float64 (num_images, num_outputs)."""
    columns = []
    for column in probs.T:
        _, inverse, counts = np.unique(column, return_inverse=True, return_counts=True)
        columns.append((np.cumsum(counts) - (counts - 1) / 2)[inverse] / (len(column) + 1))
    return np.stack(columns, axis=1)
