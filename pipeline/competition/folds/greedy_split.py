"""Assigning images or whole groups to folds, rarest classes first."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def quotas(sizes: Array, num_folds: int) -> Array:
    """Count the images that each fold should have, given that units stay whole.

    A unit larger than an equal share of what is left has a fold of its own; the other folds share the rest.

    Args:
        sizes: (num_units,) images of each unit, at least num_folds units.

    Returns:
        int64 (num_folds,), largest first, with the sum of the sizes.
    """
    largest = np.sort(sizes)[::-1]
    own: list[int] = []
    left = int(sizes.sum())
    while len(own) < num_folds - 1 and int(largest[len(own)]) * (num_folds - len(own)) > left:
        own.append(int(largest[len(own)]))
        left -= own[-1]
    num_sharing = num_folds - len(own)
    return np.array([*own, *((left + num_sharing - 1 - place) // num_sharing for place in range(num_sharing))])


def assign_units(units: Array, codes: Array, sizes: Array, num_folds: int) -> Array:
    """Assign units (images, or groups that stay whole) to folds so that each class is spread and sizes are even.

    Greedy, after iterative stratification (Sechidis, Tsoumakas, Vlahavas: On the Stratification of Multi-Label Data,
    ECML PKDD 2011, LNAI 6913, p. 145-158, algorithm 1): units with the rarest classes come first, as a frequent class
    can be evened out later; each goes to the fold that lacks its classes most. Differently from there, all classes of
    a unit count, a rare one more (by 1 / its images), larger units come first (by powers of two), and the size of a
    fold is bounded: it differs from its quota by less than the largest unit that has no fold of its own. (A unit goes
    over a quota only when every fold lacks fewer images than it has, and room never grows.) So images are spread
    within 1, and no fold is empty. The package iterative-stratification has no such bound: 50 images came out as folds
    of 9 to 11, and a class with fewer images than folds was twice in one.

    Args:
        units: int64 (num_entries,) and
        codes: int64 (num_entries,) say that an image of this unit has this class; a pair may come many times.
        sizes: int64 (num_units,) images of each unit, at least num_folds units.

    Returns:
        int64 (num_units,), 0 to num_folds - 1. It depends on the order of the units and the class indices,
        and on nothing else: whole numbers only, so that it is the same on every machine.
    """
    num_units, num_classes = len(sizes), int(codes.max(initial=0)) + 1
    pairs, counts = np.unique(units * num_classes + codes, return_counts=True)
    unit_of, class_of = np.divmod(pairs, num_classes)
    totals = np.bincount(class_of, counts, num_classes).astype(np.int64)
    weights = 2**32 // np.maximum(totals, 1)
    starts = np.searchsorted(unit_of, np.arange(num_units + 1)).tolist()

    room = quotas(sizes, num_folds)
    in_fold = np.zeros((num_folds, num_classes), np.int64)
    fold = np.empty(num_units, np.int64)
    order = _hardest_first(unit_of, class_of, totals, sizes, int(room.min()))
    for unit in order.tolist():
        classes = class_of[starts[unit] : starts[unit + 1]]
        images = counts[starts[unit] : starts[unit + 1]]
        size = sizes[unit]
        allowed = room >= size
        if not allowed.any():
            allowed = room == room.max()
        has_already = (in_fold[:, classes] * (weights[classes] * images)).sum(1)
        candidates = np.flatnonzero(allowed)
        best = int(candidates[np.lexsort((-room[candidates], has_already[candidates]))[0]])
        fold[unit] = best
        room[best] -= size
        in_fold[best, classes] += images
    return fold


def _hardest_first(unit_of: Array, class_of: Array, totals: Array, sizes: Array, share: int) -> Array:
    """Order units as they are placed: int64 (num_units,)."""
    # A unit's rarest class: classes ranked by images, the lowest rank among the unit's; none: last.
    rank = np.empty(len(totals), np.int64)
    rank[np.argsort(totals, kind="stable")] = np.arange(len(totals))
    rarest = np.full(len(sizes), len(totals))
    np.minimum.at(rarest, unit_of, rank[class_of])
    # Only roughly by size, that different seeds may differ. Those with a fold of their own come before all others and
    # take it: a size is larger than the binary exponent of any smaller one.
    magnitude = np.where(sizes > share, sizes, np.frexp(sizes)[1])
    return np.lexsort((rarest, -magnitude))
