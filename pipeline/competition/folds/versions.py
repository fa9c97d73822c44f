"""Groups of images that must share a fold: the user's, and versions of one image."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline.competition.tables.table import Samples
from pipeline.config import Config
from pipeline.files import InputError

Array = np.ndarray[Any, Any]


def with_versions(cfg: Config, samples: Samples, duplicates: Mapping[str, str]) -> Samples:
    """Unite the groups of images with versions of one image, where these share a fold.

    Args:
        cfg: the settings.
        samples: the train images.
        duplicates: the name of each image's group of versions by its id, "" for none.

    Raises:
        InputError: then there are fewer groups than folds.
    """
    if not cfg.folds.num_folds or cfg.folds.column or cfg.folds.duplicates == "apart":
        return samples
    names = [duplicates[id_] for id_ in samples.ids]
    counts = Counter(names)
    versions = [name if counts[name] > 1 else "" for name in names]
    if not any(versions):
        return samples
    groups = united(samples.groups or [f"image {id_}" for id_ in samples.ids], versions)
    if len(set(groups)) < cfg.folds.num_folds:
        raise InputError(
            f"images that are no versions of each other must be at least as many as folds. Got {len(set(groups))}, of "
            f"{len(samples):,} images, and {cfg.folds.num_folds} folds; set folds.duplicates = 'apart', or lower "
            f"folds.num_folds"
        )
    return replace(samples, groups=groups)


def united(groups: Sequence[str], versions: Sequence[str]) -> list[str]:
    """Unite groups that share a name of the second kind: connected components.

    Args:
        groups: the name of each image's group.
        versions: a second name, "" for none.

    Returns:
        The name of each image's group, that of the first image of those which are united.
    """
    _, of_group = np.unique(groups, return_inverse=True)
    _, of_version = np.unique(versions, return_inverse=True)
    has_version = np.array([name != "" for name in versions])
    num_groups = int(of_group.max()) + 1
    edges = of_group[has_version], num_groups + of_version[has_version]
    size = num_groups + int(of_version.max()) + 1
    graph = coo_array((np.ones(len(edges[0]), np.bool_), edges), shape=(size, size))
    components = connected_components(graph, directed=False)[1][of_group]
    _, first, place = np.unique(components, return_index=True, return_inverse=True)
    return [groups[row] for row in first[place].tolist()]


def in_several_folds(names: Sequence[str], folds: Array) -> Array:
    """Mark the images whose group has images in other folds too: bool (num_images,).

    Args:
        names: of the images' groups, "" for none.
        folds: int64 (num_images,).
    """
    found: dict[str, set[int]] = {}
    for name, fold in zip(names, folds.tolist(), strict=True):
        found.setdefault(name, set()).add(fold)
    return np.array([name != "" and len(found[name]) > 1 for name in names], np.bool_)
