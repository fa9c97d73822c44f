"""Several models' predictions -> one."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.competition.answers.predictions import Stored
from pipeline.competition.answers.probs import Probs
from pipeline.competition.answers.task import MANY, Task
from pipeline.config import ConfigError

Array = np.ndarray[Any, Any]


def combine(rows: Sequence[Probs], method: str, task: Task, keep: int) -> Probs:
    """Combine predictions of the same images.

    Args:
        rows: of each model, in one order of images.
        method: `mean` of the probabilities; `rank`: mean of each class's ranks over the images, scaled to (0, 1), ties
            at their mean rank, so that models that are sure of themselves do not outvote others. Ranks are in order
            within a column; rows need not sum to 1.
        task: kind of the labels; numbers are always averaged.
        keep: of many classes, how many of each image are kept.

    Returns:
        The same images' probabilities, or ranks, float32.

    Raises:
        ConfigError: ranks of many classes are asked for, of which the likeliest alone are known.
    """
    if method == "rank" and task.kind != "number":
        if not all(probs.is_dense for probs in rows):
            raise ConfigError(
                f"ensemble.method must be 'mean' where there are more than {MANY:,} classes: the likeliest alone are "
                f"kept. Got 'rank' and {len(task.classes):,} classes"
            )
        rows = [Probs.dense(ranks(probs.array)) for probs in rows]
    return Probs.mean(rows, keep)


def combine_stored(tables: Sequence[Stored], ids: list[str], method: str, task: Task, keep: int) -> Probs:
    """Combine predictions of these ids in files, as `combine` does: of a mean no more than the result is held.

    Raises:
        ConfigError: see `combine`.
        InputError: a file is broken, or of other ids.
    """
    if method == "rank" and task.kind != "number":  # which are among all images
        return combine([table.aligned(ids) for table in tables], method, task, keep)
    blocks = zip(*(table.blocks_of(ids) for table in tables), strict=True)
    return Probs.gathered((Probs.mean(parts, keep) for parts in blocks), len(ids))


def ranks(probs: Array) -> Array:
    """Ranks over the images of each column, in (0, 1), ties at their mean rank: float64 (num_images, num_outputs)."""
    from scipy.stats import rankdata  # it takes a second

    return np.asarray(rankdata(probs, axis=0) / (len(probs) + 1))
