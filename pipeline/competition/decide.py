"""Probabilities -> answers: what a metric scores and a submission holds."""

from typing import Any

import numpy as np

from pipeline.competition.task import Task

Array = np.ndarray[Any, Any]


def decide(task: Task, probs: Array) -> Array:
    """Answers of the task's kind.

    Args:
        task: kind and classes.
        probs: float (num_images, num_outputs).

    Returns:
        int64 (num_images,) classes for `single` and `ordinal`; float32 (num_images, num_classes) flags for `multi`,
        those above one half, and the likeliest where none is; float (num_images,) numbers.
    """
    if task.kind == "number":
        return probs[:, 0]
    if task.kind == "multi":
        flags = probs > 0.5
        none = ~flags.any(1)
        flags[none, probs[none].argmax(1)] = True
        return flags.astype(np.float32)
    return probs.argmax(1)


def best(probs: Array, top: int) -> Array:
    """The `top` likeliest classes, int64 (num_images, top), likeliest first; ties by class number."""
    return np.argsort(-probs, axis=1, kind="stable")[:, :top]
