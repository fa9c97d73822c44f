"""What the epochs of a training gave: a line of the log each, and `history.csv`."""

import csv
from pathlib import Path

from pipeline.engine.state import Row
from pipeline.files import atomic_write


def line(name: str, row: Row, metric: str) -> str:
    """Say one epoch in a line; train's figures are of augmented images, before each step."""
    text = f"{name}: train loss {row['train_loss']:.4f}"
    for mode in ("train", "valid"):
        if mode == "valid" and "valid_loss" in row:
            text += f", valid loss {row['valid_loss']:.4f}"
        score = row.get(f"{mode}_score")
        if score is not None:
            text += f" {metric} {score:.4f}"
    return text


def write_history(path: Path, history: list[Row]) -> None:
    """Write a row per epoch."""
    with atomic_write(path, "w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
