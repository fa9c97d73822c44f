"""What an epoch gave: its row of the history, and its line of the log."""

from typing import Any

import numpy as np

from pipeline.competition.answers import scoring
from pipeline.competition.folds.fold_table import Labelled
from pipeline.engine.predict import probabilities
from pipeline.engine.run_model import Result

Array = np.ndarray[Any, Any]


def scores(result: Result, labelled: Labelled, indices: Array) -> dict[str, float | None]:
    """Loss and metric over every image of a pass, whose indices are given in its order."""
    score = scoring.score(labelled.task, labelled.targets[indices], probabilities(result.outputs, labelled.task))
    return {f"{result.mode}_loss": result.loss, f"{result.mode}_score": score}


def line(name: str, row: dict[str, Any], metric: str) -> str:
    """One epoch in a line; train's figures are of augmented images, before each step."""
    text = f"{name}: train loss {row['train_loss']:.4f}"
    for mode in ("train", "valid"):
        if mode == "valid" and "valid_loss" in row:
            text += f", valid loss {row['valid_loss']:.4f}"
        score = row.get(f"{mode}_score")
        if score is not None:
            text += f" {metric} {score:.4f}"
    return text
