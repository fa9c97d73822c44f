"""The table of images that are alike to a network, what is said of it, and whom it concerns in the folds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.audit.alike import find_alike
from pipeline.competition.folds.fold_table import Labelled
from pipeline.config import Config
from pipeline.files import atomic_write, read_rows
from pipeline.freshness import audited
from pipeline.log import log

Array = np.ndarray[Any, Any]


def tell_alike(
    cfg: Config, path: Path, labelled: Labelled, ids: Mapping[str, Sequence[str]], features: Mapping[str, Array]
) -> None:
    """Write the pairs of images that are alike and that the audit does not know for versions of one image, the nearest
    first, and say how many there are. Test images have neither label nor fold.

    Args:
        cfg: the settings.
        path: the table.
        labelled: the train images.
        ids: by split, of the images that can be read.
        features: by split, of these images, finite.
    """
    images = [(split, id_) for split in ids for id_ in ids[split]]
    pairs = find_alike(np.concatenate([features[split] for split in ids if len(ids[split])]))
    version = {(split, id_): name for split, id_, name in audited(cfg, "split", "id", "duplicates") if name}
    texts = labelled.samples.labels.apply(" ".join, axis=1).tolist()
    label = {("train", id_): text for id_, text in zip(labelled.samples.ids, texts, strict=True)}
    fold = {("train", id_): fold for id_, fold in zip(labelled.samples.ids, labelled.folds.tolist(), strict=True)}
    rows = []
    for first, second, cosine in zip(pairs.first.tolist(), pairs.second.tolist(), pairs.cosine.tolist(), strict=True):
        one, other = images[first], images[second]
        if one not in version or version[one] != version.get(other):
            told = [[*image, label.get(image, ""), fold.get(image, "")] for image in (one, other)]
            rows.append([f"{cosine:.4f}", *told[0], *told[1]])
    columns = ("cosine", "split", "id", "label", "fold", "other_split", "other", "other_label", "other_fold")
    table = pd.DataFrame(rows, columns=columns)
    with atomic_write(path, "w", encoding="utf-8", newline="") as stream:
        table.to_csv(stream, index=False, lineterminator="\n")
    _say(table, path, pairs.num_crowded, has_classes=labelled.task.kind != "number")


def _say(table: pd.DataFrame, path: Path, num_crowded: int, *, has_classes: bool) -> None:
    """Say how many pairs there are, and of which kinds."""
    if num_crowded:
        log.info("probe: %s images are a crowd that the network hardly tells apart: no pairs", f"{num_crowded:,}")
    if table.empty:
        return
    in_train = (table["split"] == "train") & (table["other_split"] == "train")
    across = in_train & (table["fold"] != table["other_fold"])
    said = [
        f"{across.sum():,} lie in two folds",
        f"{(table['split'] != table['other_split']).sum():,} are a train and a test image",
    ]
    if has_classes:
        said.insert(1, f"{(in_train & (table['label'] != table['other_label'])).sum():,} have different labels")
    log.info(
        "probe: %s pairs of images are alike to the network, %s: look at them in %s, as they may be parts, mirror "
        "images or other shots of one thing",
        f"{len(table):,}",
        ", ".join(said),
        path,
    )
    if across.any():
        log.info(
            "probe: where they are, the CV score may be too good: name what they show in a column of the train table, "
            "and set data.group to it"
        )


def alike_in_other_folds(path: Path, ids: Sequence[str], folds: Array) -> Array:
    """Mark the train images that are alike to one in another fold: bool (num_images,).

    Args:
        path: the table, with what `tell_alike` wrote; where there is none, no image is.
        ids: of the images.
        folds: int64 (num_images,).
    """
    fold = dict(zip(ids, folds.tolist(), strict=True))
    marked: set[str] = set()
    for row in read_rows(path):
        if row["split"] == row["other_split"] == "train":
            pair = [id_ for id_ in (row["id"], row["other"]) if id_ in fold]
            if len({fold[id_] for id_ in pair}) > 1:
                marked.update(pair)
    return np.array([id_ in marked for id_ in ids], np.bool_)
