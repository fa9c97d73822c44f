"""Versions of one train image, as `prepare` found them, and those whose labels differ."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pipeline.config import Config
from pipeline.freshness import audited

Array = np.ndarray[Any, Any]


def duplicates_of(cfg: Config, ids: Sequence[str]) -> dict[str, str]:
    """Name by its id for each train image the group of versions of one image, as the run's audit does; "" for none.

    Before `prepare` has run there are none.
    """
    columns = audited(cfg, "split", "id", "duplicates")
    known = {id_: name for split, id_, name in columns if split == "train"}
    return {id_: known.get(id_, "") for id_ in ids}


def conflicting(labels: pd.DataFrame, duplicates: Mapping[str, str], tag_separator: str = "") -> Array:
    """Mark the images that have another version with another label: bool (num_images,).

    Args:
        labels: the label columns as text, a row for each image, by its id.
        duplicates: the name of each image's group by its id, "" for none.
        tag_separator: what separates several tags in a cell, whose order means nothing; "" for one label.
    """
    names = [duplicates[id_] for id_ in labels.index]
    answers = [
        tuple(frozenset(cell.split(tag_separator)) if tag_separator else cell for cell in cells)
        for cells in labels.itertuples(index=False, name=None)
    ]
    found: dict[str, set[Any]] = {}
    for name, answer in zip(names, answers, strict=True):
        found.setdefault(name, set()).add(answer)
    return np.array([name != "" and len(found[name]) > 1 for name in names], np.bool_)
