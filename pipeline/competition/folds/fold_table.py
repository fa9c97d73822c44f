"""The table of folds on disk, `id, labels, group, fold`, and the labelled images with their folds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.competition.tables.csv_table import duplicates, read_csv, require_columns, counted
from pipeline.competition.tables.table import Samples, read_train
from pipeline.competition.answers.task import Task, make_task
from pipeline.config import Config
from pipeline.files import InputError, atomic_write
from pipeline.paths import folds_path

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Labelled:
    """The labelled images in the order of their ids: targets as `Task.encode` gives them, fold int64 (num_images,)."""

    samples: Samples
    task: Task
    targets: Array
    folds: Array

    def split(self, fold: int | str) -> tuple[Array, Array]:
        """Give the indices of the images that a model trains on and of those that validate it: none for `full`."""
        if fold == "full":
            return np.arange(len(self.samples)), np.zeros(0, np.int64)
        return np.flatnonzero(self.folds != fold), np.flatnonzero(self.folds == fold)

    def prior(self, indices: Array) -> tuple[float, ...]:
        """Compute the classes' shares in some images (a number's mean): what is said of one that cannot be read."""
        targets = self.targets[indices]
        if targets.ndim == 1:
            targets = np.bincount(targets, minlength=self.task.num_outputs)[None] / len(targets)
        return tuple(float(share) for share in targets.mean(0))

    def ids(self, indices: Array) -> list[str]:
        """Give the ids of some images."""
        return [self.samples.ids[index] for index in indices]


def read_labelled(cfg: Config) -> Labelled:
    """Read the train table and its folds.

    Raises:
        InputError: either is missing or they do not fit each other.
    """
    samples = read_train(cfg)
    task = make_task(cfg, samples)
    made_by = f"python -m pipeline.folds {cfg.options}"
    folds = read_folds(folds_path(cfg), samples.ids, cfg.folds.num_folds, made_by)
    return Labelled(samples, task, task.encode(samples.labels), folds)


def write_folds(path: Path, samples: Samples, folds: Array) -> None:
    """Write a row per train image, sorted by id: equal splits are equal bytes."""
    labels = samples.labels.reset_index(drop=True)
    frame = pd.DataFrame(
        {
            "id": samples.ids,
            "labels": labels.iloc[:, 0] if labels.shape[1] == 1 else labels.apply(" ".join, axis=1),
            "group": samples.groups or [""] * len(samples),
            "fold": folds,
        }
    ).sort_values("id", kind="stable")
    with atomic_write(path, "w", encoding="utf-8", newline="") as stream:
        frame.to_csv(stream, index=False, lineterminator="\n")


def read_folds(path: Path, ids: list[str], num_folds: int, made_by: str) -> Array:
    """Read the fold of each train image: int64 (num_images,), in the order of `ids`.

    Raises:
        InputError: the table is missing, or does not cover the train ids once each.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist. It is made by: {made_by}")
    frame = read_csv(path).frame
    problems = require_columns(str(path), frame, ["id", "fold"])
    if problems:
        raise InputError("; ".join(problems))
    listed = [str(id_) for id_ in frame["id"]]
    folds = pd.to_numeric(frame["fold"], errors="coerce")
    known, wanted = set(listed), set(ids)
    problems = duplicates(str(path), listed)
    if missing := [id_ for id_ in ids if id_ not in known]:
        problems.append(f"{path}: {counted('train ids are missing', missing)}")
    if extra := [id_ for id_ in listed if id_ not in wanted]:
        problems.append(f"{path}: {counted('ids are not in the train table', extra)}")
    if not folds.isin(range(max(num_folds, 1))).all():
        problems.append(f"{path}: folds must be 0 to {num_folds - 1}")
    if problems:
        raise InputError("; ".join(problems) + f". Delete it and run: {made_by}")
    fold_of = dict(zip(listed, folds.astype(np.int64), strict=True))
    return np.array([fold_of[id_] for id_ in ids], np.int64)
