"""Several models' predictions -> one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse

from pipeline.competition.answers.likeliest import MANY, Probs, mean
from pipeline.competition.answers.task import Task
from pipeline.config import ConfigError

Array = np.ndarray[Any, Any]


def combine(rows: Sequence[Probs], method: str, task: Task, keep: int = MANY) -> Probs:
    """Combine predictions of the same images.

    Args:
        rows: each float (num_images, num_outputs), in one order of images.
        method: `mean` of the probabilities; `rank`: mean of each class's ranks over the images, scaled to (0, 1), ties
            at their mean rank, so that models that are sure of themselves do not outvote others. Ranks are in order
            within a column; rows need not sum to 1.
        task: kind of the labels; numbers are always averaged.
        keep: of many classes, how many of each image are kept.

    Returns:
        float32 (num_images, num_outputs).

    Raises:
        ConfigError: ranks of many classes are asked for, of which the likeliest alone are known.
    """
    if any(sparse.issparse(probs) for probs in rows):
        if method == "rank":
            raise ConfigError(
                f"ensemble.method must be 'mean' where there are more than {MANY:,} classes: the likeliest alone are "
                f"kept. Got 'rank' and {len(task.classes):,} classes"
            )
        return mean([probs for probs in rows if sparse.issparse(probs)], keep)
    if method == "rank" and task.kind != "number":
        rows = [ranks(probs) for probs in rows]
    return np.mean(np.stack(rows).astype(np.float64), axis=0).astype(np.float32)


def ranks(probs: Array) -> Array:
    """Ranks over the images of each column, in (0, 1), ties at their mean rank: float64 (num_images, num_outputs)."""
    from scipy.stats import rankdata  # it takes a second

    return np.asarray(rankdata(probs, axis=0) / (len(probs) + 1))
