"""Probabilities of many classes: of each image the likeliest alone are kept, in scipy's compressed rows.

Twenty thousand classes and a million images would be 80 GB. What is not kept counts as 0; equal probabilities are in
the order of the classes, as where all are kept.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from scipy import sparse

Array = np.ndarray[Any, Any]
# An array (num_images, num_classes), or scipy's csr_array, which has no types yet.
Probs: TypeAlias = Any

# Above this many classes (one of many for each image) the likeliest alone are kept.
MANY = 1000


def from_pairs(values: Array, classes: Array, num_classes: int) -> sparse.csr_array:
    """Rows of kept probabilities.

    Args:
        values: float32 (num_images, num_kept).
        classes: int (num_images, num_kept), the class of each; where a class is there twice, its first value counts.
        num_classes: how many classes there are.
    """
    order = np.argsort(classes, axis=1, kind="stable")
    values, classes = np.take_along_axis(values, order, 1), np.take_along_axis(classes, order, 1)
    first = np.ones(classes.shape, bool)
    first[:, 1:] = classes[:, 1:] != classes[:, :-1]
    bounds = np.concatenate([[0], first.sum(1).cumsum()])
    flat = values[first].astype(np.float32), classes[first].astype(np.int32), bounds
    return sparse.csr_array(flat, shape=(len(values), num_classes))


def stack(parts: Sequence[Probs]) -> Probs:
    """Rows below rows."""
    if any(sparse.issparse(part) for part in parts):
        return sparse.csr_array(sparse.vstack(parts, format="csr"))
    return np.concatenate(parts)


def mean(parts: Sequence[sparse.csr_array], keep: int) -> sparse.csr_array:
    """The mean over models, in float64, of which `keep` classes of each image are kept."""
    rows = []
    for start in range(0, parts[0].shape[0], 4096):
        total = sum(part[start : start + 4096].astype(np.float64) for part in parts) / len(parts)
        classes = best(sparse.csr_array(total), keep)
        values = at(sparse.csr_array(total), classes)
        rows.append(from_pairs(values.astype(np.float32), classes, parts[0].shape[1]))
    return sparse.csr_array(sparse.vstack(rows, format="csr"))


def best(probs: Probs, top: int) -> Array:
    """The `top` likeliest classes, int64 (num_images, top), likeliest first; ties by class number."""
    if not sparse.issparse(probs):
        return np.argsort(-probs, axis=1, kind="stable")[:, :top]
    num_images, num_classes = probs.shape
    counts = np.diff(probs.indptr)
    rows = np.repeat(np.arange(num_images), counts)
    order = np.lexsort((probs.indices, -probs.data, rows))
    place = np.arange(len(rows)) - np.repeat(probs.indptr[:-1], counts)
    found = np.full((num_images, min(top, num_classes)), -1, np.int64)
    wanted = place < found.shape[1]
    found[rows[wanted], place[wanted]] = probs.indices[order][wanted]
    for row in np.flatnonzero(found[:, -1] < 0):
        # Fewer are kept than asked for: the first of the others, which all count as 0.
        missing = found[row] < 0
        found[row, missing] = np.setdiff1d(np.arange(num_classes), found[row][~missing])[: missing.sum()]
    return found


def at(probs: Probs, classes: Array) -> Array:
    """The probabilities of some classes of each image: classes int (num_images,) or (num_images, count)."""
    columns = classes if classes.ndim == 2 else classes[:, None]
    if not sparse.issparse(probs):
        values = np.take_along_axis(probs, columns, 1)
    else:
        rows = np.repeat(np.arange(len(columns)), columns.shape[1])
        values = np.asarray(probs[rows, columns.reshape(-1)]).reshape(columns.shape)
    return values if classes.ndim == 2 else values[:, 0]


def places(probs: Probs, classes: Array) -> Array:
    """How many classes stand before one class of each image: int64 (num_images,); ties as in `best`."""
    own = at(probs, classes)
    if not sparse.issparse(probs):
        earlier = (probs == own[:, None]) & (np.arange(probs.shape[1]) < classes[:, None])
        return np.asarray(((probs > own[:, None]) | earlier).sum(1))
    rows = np.repeat(np.arange(len(classes)), np.diff(probs.indptr))
    before = (probs.data > own[rows]) | ((probs.data == own[rows]) & (probs.indices < classes[rows]))
    counts = np.bincount(rows, before, len(classes)).astype(np.int64)
    # Where the class is not kept, it stands behind the others of probability 0 that come before it.
    kept = np.bincount(rows, probs.indices < classes[rows], len(classes)).astype(np.int64)
    return counts + np.where(own == 0, classes - kept, 0)


def dense(probs: Probs) -> Array:
    """All probabilities, float64; what the kept ones leave of 1 is spread evenly over the others."""
    if not sparse.issparse(probs):
        return probs.astype(np.float64)
    full = probs.toarray().astype(np.float64)
    num_left = full.shape[1] - (full > 0).sum(1)
    share = np.clip(1 - full.sum(1), 0, None) / np.maximum(num_left, 1)
    return np.where(full > 0, full, share[:, None])
