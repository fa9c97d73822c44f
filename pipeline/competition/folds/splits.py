"""Which fold each train image validates: stratified, groups whole, the same whatever the order of the table.

Everything is decided on the images in the order of a hash of (seed, id), with classes and groups indexed as they
first appear there. So neither the order of the rows nor the names of classes and groups move an image to another fold.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.competition.folds.greedy_split import assign_units, quotas
from pipeline.files import InputError

Array = np.ndarray[Any, Any]
Rare = list[tuple[str | int, int]]

# Groups whose fold sizes scikit-learn leaves further off than this fraction of an equal share are assigned again by us.
_TOLERANCE = 0.1
# StratifiedGroupKFold takes about 1e-8 s for each of num_groups * num_folds * (num_folds * num_classes + 4,000) steps,
# and holds num_groups * num_classes numbers: what would take more than a second goes to our own assignment.
_MOST_STEPS = 1e8
# Numbers whose groups must stay whole are stratified on at most so many quantiles.
_NUM_QUANTILES = 10


@dataclass(frozen=True)
class FoldAssignment:
    """Folds of images: `fold` int64 (num_images,), 0 to num_folds - 1, in the order in which the ids were given.

    `method` is a few words for the log. `rare` lists the classes with fewer images than folds and how many they have,
    fewest first: they are in as many folds as they have images, or groups. A class is its label; for tags, the index
    of its column.
    """

    fold: Array
    method: str
    rare: Rare


def assign_folds(
    ids: Sequence[str], labels: Array, kind: str, num_folds: int, seed: int, groups: Sequence[str] | None = None
) -> FoldAssignment:
    """Assign every image to one fold.

    Without groups fold sizes differ by at most 1. One class of many: so do the images of each class, as in
    scikit-learn's StratifiedKFold. Numbers: in any range of values the folds' counts differ by at most 2. Tags: see
    `greedy_split.assign_units`. With groups, a group larger than an equal share of the images has a fold of its own, and the
    others differ from an equal share of the rest by at most the largest group among them or a tenth of that share.

    Args:
        ids: unique.
        labels: (num_images,) text for kinds `single` and `ordinal`, (num_images, num_classes) bool for `multi`,
            (num_images,) finite float for `number`.
        kind: `single`, `ordinal`, `multi` or `number`.
        num_folds: at least 2.
        seed: 0 to 2**32 - 1; 0 is a seed like any other.
        groups: images of one group are in one fold.

    Raises:
        InputError: there are fewer images, or groups, than folds.
    """
    assert len(ids) == len(labels) == len(set(ids)), "ids must be unique, with a label each"
    _require(len(ids), "images", num_folds)
    order = _canonical_order(ids, seed)
    group_of = None if groups is None else _grouped(groups, order, num_folds)
    by_kind = {"number": _stratify_numbers, "multi": _stratify_tags}.get(kind, _stratify_classes)
    in_order, method, rare = by_kind(labels[order], num_folds, group_of)
    fold = np.empty(len(ids), np.int64)
    fold[order] = in_order
    return FoldAssignment(fold, method, rare)


# What follows has its rows in the canonical order.


def _stratify_classes(labels: Array, num_folds: int, groups: Array | None) -> tuple[Array, str, Rare]:
    """Stratify one class of many."""
    codes, names = _indexed(labels.tolist())
    counts = np.bincount(codes)
    few = np.flatnonzero(counts < num_folds)
    rare: Rare = sorted(((names[code], int(counts[code])) for code in few), key=lambda pair: (pair[1], pair[0]))
    if groups is None:
        # Dealt out class after class. StratifiedKFold allocates likewise, but warns of rare classes or refuses them.
        fold = np.empty(len(codes), np.int64)
        fold[np.argsort(codes, kind="stable")] = np.arange(len(codes)) % num_folds
        return fold, "stratified", rare
    fold, note = _stratified_groups(codes, groups, num_folds)
    return fold, f"stratified-grouped{note}", rare


def _stratify_tags(labels: Array, num_folds: int, groups: Array | None) -> tuple[Array, str, Rare]:
    """Stratify any number of tags."""
    counts = np.count_nonzero(labels, axis=0)
    rare: Rare = [
        (int(column), int(counts[column])) for column in np.argsort(counts, kind="stable") if counts[column] < num_folds
    ]
    # Columns are told apart by what they hold: renaming tags may change their order.
    bits = np.packbits(labels.astype(bool), axis=0)
    columns = sorted(range(labels.shape[1]), key=lambda column: bits[:, column].tobytes())
    rows, codes = np.nonzero(labels[:, columns])
    if groups is None:
        return assign_units(rows, codes, np.ones(len(labels), np.int64), num_folds), "multi-label stratified", rare
    fold_of_group = assign_units(groups[rows], codes, np.bincount(groups), num_folds)
    return fold_of_group[groups], "multi-label stratified-grouped", rare


def _stratify_numbers(values: Array, num_folds: int, groups: Array | None) -> tuple[Array, str, Rare]:
    """Stratify numbers by their quantiles."""
    by_value = np.argsort(values, kind="stable")
    if groups is None:
        # Every num_folds neighbours in value go to different folds, in the order of their hashes.
        num_blocks = -(-len(values) // num_folds)
        blocks = np.full(num_blocks * num_folds, len(values))
        blocks[: len(values)] = by_value
        ranks = blocks.reshape(num_blocks, num_folds).argsort(1, kind="stable").argsort(1, kind="stable")
        fold = np.empty(len(values), np.int64)
        fold[by_value] = ranks.ravel()[: len(values)]
        return fold, "stratified on quantiles", []
    # Equal values share a quantile: that of the first of them.
    first = np.searchsorted(values[by_value], values, side="left")
    num_quantiles = min(_NUM_QUANTILES, len(values) // num_folds)
    quantiles, _ = _indexed((first * num_quantiles // len(values)).tolist())
    fold, note = _stratified_groups(quantiles, groups, num_folds)
    return fold, f"stratified-grouped on quantiles{note}", []


def _stratified_groups(codes: Array, groups: Array, num_folds: int) -> tuple[Array, str]:
    """Assign whole groups with one class per image: as scikit-learn does, or where it does not serve our own, and why."""
    sizes, counts = np.bincount(groups), np.bincount(codes)
    steps = len(sizes) * num_folds * (num_folds * len(counts) + 4000)
    if counts.min() < num_folds:
        # It would warn, or stop where all are so.
        note = "a class has fewer images than folds"
    elif steps > _MOST_STEPS:
        note = "groups or classes are many"
    else:
        fold = _by_scikit_learn(codes, groups, num_folds)
        if _even(np.bincount(fold, minlength=num_folds), sizes):
            return fold, ""
        note = "scikit-learn's folds were uneven"
    return assign_units(groups, codes, sizes, num_folds)[groups], f" (greedy: {note})"


def _by_scikit_learn(codes: Array, groups: Array, num_folds: int) -> Array:
    """Assign folds by StratifiedGroupKFold. Not shuffled: the canonical order is random already.

    They may be uneven, even empty (scikit-learn issues 33085 and 34828).
    """
    from sklearn.model_selection import StratifiedGroupKFold

    folds = np.empty(len(codes), np.int64)
    splits = StratifiedGroupKFold(num_folds).split(np.zeros(len(codes)), codes, groups)
    for fold, (_, valid) in enumerate(splits):
        folds[valid] = fold
    return folds


def _even(fold_sizes: Array, group_sizes: Array) -> bool:
    """Whether no fold is empty and sizes are within the bound that `assign_folds` documents."""
    wanted = quotas(group_sizes, len(fold_sizes))
    shared = group_sizes[group_sizes <= wanted.min()]
    tolerance = max(shared.max(initial=0), _TOLERANCE * wanted.min())
    return bool(fold_sizes.min() > 0 and (np.abs(np.sort(fold_sizes) - np.sort(wanted)) <= tolerance).all())


def _grouped(groups: Sequence[str], order: Array, num_folds: int) -> Array:
    """Index the groups in the canonical order: int64 (num_images,)."""
    indices, names = _indexed([groups[row] for row in order.tolist()])
    _require(len(names), "groups of images", num_folds)
    return indices


def _require(count: int, what: str, num_folds: int) -> None:
    if count < num_folds:
        raise InputError(
            f"There must be at least as many {what} as folds. Got {count} {what} and {num_folds} folds; "
            f"lower folds.num_folds, or set it to 0 with folds.full_fit = true for no validation"
        )


def _canonical_order(ids: Sequence[str], seed: int) -> Array:
    """Order rows by a hash of (seed, id): int64 (num_images,)."""
    salt = seed.to_bytes(8, "little")
    digests = b"".join(
        hashlib.blake2b(id_.encode("utf-8", "surrogatepass"), digest_size=16, salt=salt).digest() for id_ in ids
    )
    words = np.frombuffer(digests, ">u8").reshape(len(ids), 2)
    return np.lexsort((words[:, 1], words[:, 0]))


def _indexed(names: list[Any]) -> tuple[Array, list[Any]]:
    """Index names in the order of their first appearance: int64 (num_images,); and the names."""
    indices: dict[Any, int] = {}
    codes = np.fromiter((indices.setdefault(name, len(indices)) for name in names), np.int64, len(names))
    return codes, list(indices)
