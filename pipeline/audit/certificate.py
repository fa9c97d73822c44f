"""The certificate of a table of folds: what each fold holds, and what is on both sides of the split.

It stands beside the table, as a stamp that says what it was made from; its notes are the certificate.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.competition.answers.task import Task
from pipeline.competition.tables.conflicts import conflicting
from pipeline.competition.tables.table import Samples
from pipeline.config import Config
from pipeline.freshness import certificate_path, certified_from
from pipeline.paths import folds_path
from pipeline.stamps import write_stamp

Array = np.ndarray[Any, Any]

# Groups that are named in the certificate of those that lie in several folds: the first so many.
_MOST_NAMED = 1000


def write_certificate(
    cfg: Config, every: Samples, duplicates: Mapping[str, str], task: Task, folds: Mapping[str, int]
) -> None:
    """Write what a split holds and what it splits.

    Its notes: `contents`, of each fold the number of images, and of each class those that have it, of numbers their
    mean; `groups` and `duplicates`, how many lie in several folds, how many images these have, and where each lies;
    `conflicts`, versions of one image with different labels, each image's id with its label.

    Args:
        cfg: the settings.
        every: all train images.
        duplicates: the name of each one's group of versions of one image by its id, "" for none.
        task: kind and classes.
        folds: the fold of each image that is split, by its id.
    """
    is_split = np.array([id_ in folds for id_ in every.ids])
    samples = every.without(~is_split)
    of_images = np.array([folds[id_] for id_ in samples.ids], np.int64)
    targets = task.encode(samples.labels)
    notes = {
        "contents": {str(fold): _content(task, targets[of_images == fold]) for fold in np.unique(of_images).tolist()},
        "groups": _split(samples.groups or [""] * len(samples), of_images),
        "duplicates": _split([duplicates[id_] for id_ in samples.ids], of_images),
        "conflicts": _conflicts(every, duplicates, cfg.data.tag_separator),
    }
    write_stamp(certificate_path(cfg), certified_from(cfg), [folds_path(cfg)], **notes)


def _content(task: Task, targets: Array) -> dict[str, Any]:
    """Count the images of a fold, and those of each class; take the mean of numbers."""
    if task.kind == "number":
        return {"images": len(targets), "mean": float(targets.mean())}
    counts = np.bincount(targets, minlength=len(task.classes)) if targets.ndim == 1 else (targets > 0).sum(0)
    return {"images": len(targets), "classes": dict(zip(task.classes, counts.tolist(), strict=True))}


def _split(names: Sequence[str], folds: Array) -> dict[str, Any]:
    """Find the groups whose images lie in several folds."""
    folds_of: dict[str, dict[int, int]] = {}
    for name, fold in zip(names, folds.tolist(), strict=True):
        if name:
            counts = folds_of.setdefault(name, {})
            counts[fold] = counts.get(fold, 0) + 1
    across = {name: counts for name, counts in folds_of.items() if len(counts) > 1}
    named = {name: sorted(counts) for name, counts in list(across.items())[:_MOST_NAMED]}
    num_images = sum(sum(counts.values()) for counts in across.values())
    return {"across": len(across), "images": num_images, "named": named}


def _conflicts(samples: Samples, duplicates: Mapping[str, str], tag_separator: str) -> dict[str, dict[str, str]]:
    """List the groups of versions of one image whose labels differ: for each its images' ids and labels."""
    found: dict[str, dict[str, str]] = {}
    differ = conflicting(samples.labels, duplicates, tag_separator)
    for id_, cells in samples.labels[differ].iterrows():
        found.setdefault(duplicates[str(id_)], {})[str(id_)] = " ".join(map(str, cells))
    return found
