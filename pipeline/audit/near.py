"""Which images look alike: pairs of near hashes, found without comparing each with each, then judged by their pixels.

Two hashes that differ in at most MOST_BITS bits agree in at least one of MOST_BITS + 1 bands of bits (the pigeonhole
principle; Manku, Jain and Das Sarma 2007, Detecting near-duplicates for web crawling, section 3). So for each band the
hashes are sorted by it, then by their other bits, and each is compared with those behind it that agree in the band, at
most WINDOW of them: with all where few agree, with the nearest where thousands do. The work grows as n log n.

A pair of near hashes is a version of one image only where a strict check of the pixels says so. Compared are the
details of both, all channels: averages of SIDE x SIDE px, without what a blur leaves of them, in standard deviations.
Brightness and contrast do not change them, and a common background (white paper, the light of a lamp) makes no two
images one. They must correlate, and nowhere differ by much, as two handwritten digits of one class do where a stroke
ends.

The limits were chosen on photos, X-rays, CIFAR-10 and handwritten digits, where pairs were looked at, and on copies
made of them; tests/benchmarks/README.md has the figures.
"""

from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Array = np.ndarray[Any, Any]

MOST_BITS = 8
WINDOW = 64
SIDE = 16
LEAST_CORRELATION = 0.95
MOST_DIFFERENCE = 1.5
# Side of the blur, in the pixels of the averaged image.
_BLUR = 5
# Pairs that are judged at a time.
_BATCH = 8192


def pairs_of_near_hashes(looks: Array) -> Iterator[tuple[Array, Array]]:
    """Find the pairs of hashes that differ in at most MOST_BITS bits, band by band; a pair may come again.

    Args:
        looks: uint64 (num_images,).

    Yields:
        Two arrays of indices, int64 (num_pairs,).
    """
    bits = np.unpackbits(looks.astype(">u8").view(np.uint8).reshape(-1, 8), axis=1)
    num_bands = MOST_BITS + 1
    for band in range(num_bands):
        # Each band has bits from all over the image: the border alone is often the same in all of them.
        own = np.arange(band, 64, num_bands)
        in_order = bits[:, [*own, *np.setdiff1d(np.arange(64), own)]]
        keys = np.ascontiguousarray(np.packbits(in_order, axis=1)).view(">u8").ravel()
        order = np.argsort(keys, kind="stable")
        in_band = keys[order].astype(np.uint64) >> np.uint64(64 - len(own))
        ends = np.searchsorted(in_band, in_band, side="right")
        sorted_looks, left = looks[order], np.arange(len(looks))
        found = []
        for offset in range(1, WINDOW + 1):
            left = left[left + offset < ends[left]]
            if not len(left):
                break
            near = left[count_bits(sorted_looks[left] ^ sorted_looks[left + offset]) <= MOST_BITS]
            found.append((order[near], order[near + offset]))
        if found:
            first, second = zip(*found, strict=True)
            yield np.concatenate(first), np.concatenate(second)


def count_bits(values: Array) -> Array:
    """Count the bits that are set: uint64 (num_values,), of as many uint64."""
    # By pairs, fours and bytes (H. S. Warren, Hacker's Delight, figure 5-2), as numpy 1 has no function for it.
    pairs, fours, bytes_ = (np.uint64(mask) for mask in (0x5555555555555555, 0x3333333333333333, 0x0F0F0F0F0F0F0F0F))
    one, two, four = np.uint64(1), np.uint64(2), np.uint64(4)
    values = values - ((values >> one) & pairs)
    values = (values & fours) + ((values >> two) & fours)
    values = (values + (values >> four)) & bytes_
    return np.asarray((values * np.uint64(0x0101010101010101)) >> np.uint64(56))


def join_alike(looks: Array, gather: Callable[[Array], Array], start: Array, num_done: int = 0) -> Array:
    """Join images that are versions of one: connected components of the pairs that pass both checks.

    Args:
        looks: uint64 (num_images,).
        gather: gives the pixels of some of the images by their indices: uint8 (num, height, width, channels).
        start: int64 (num_images,), a number for each image, the same where images are known to be of one group.
        num_done: among the first so many images no pairs are looked for, as `start` says all of them.

    Returns:
        int64 (num_images,), the same number for all images of a group.
    """
    labels, details = start, Details(gather, len(looks))
    for first, second in pairs_of_near_hashes(looks):
        is_due = np.maximum(first, second) >= num_done
        first, second = first[is_due], second[is_due]
        for begin in range(0, len(first), _BATCH):
            one, other = first[begin : begin + _BATCH], second[begin : begin + _BATCH]
            # Thousands of versions of one image are joined after few of their pairs.
            apart = labels[one] != labels[other]
            one, other = one[apart], other[apart]
            correlation, difference = compare(details(one), details(other))
            alike = (correlation >= LEAST_CORRELATION) & (difference <= MOST_DIFFERENCE)
            labels = joined(labels, one[alike], other[alike])
    return labels


def joined(labels: Array, first: Array, second: Array) -> Array:
    """Join the groups of some pairs: int64 (num_images,), numbers of groups, from the numbers before."""
    if not len(first):
        return labels
    size = int(labels.max()) + 1
    graph = coo_array((np.ones(len(first), np.bool_), (labels[first], labels[second])), shape=(size, size))
    return np.asarray(connected_components(graph, directed=False)[1][labels]).astype(np.int64)


class Details:
    """Details of images, each taken when it is first asked for."""

    def __init__(self, gather: Callable[[Array], Array], num_images: int) -> None:
        self._gather = gather
        self._is_known = np.zeros(num_images, np.bool_)
        self._values = np.zeros((num_images, 0), np.float16)

    def __call__(self, indices: Array) -> Array:
        """Give the details of some images: float32 (len(indices), values)."""
        new = np.unique(indices[~self._is_known[indices]])
        for part in np.array_split(new, 1 + len(new) // 512):
            if len(part):
                values = np.stack([details_of(pixels) for pixels in self._gather(part)])
                if not self._values.shape[1]:
                    self._values = np.zeros((len(self._is_known), values.shape[1]), np.float16)
                self._values[part] = values
        self._is_known[new] = True
        return self._values[indices].astype(np.float32)


def details_of(pixels: Array) -> Array:
    """Take the details of an image, uint8 (height, width, channels): float32 (SIDE * SIDE * channels,), of mean 0 and
    standard deviation 1.
    """
    small = cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    fine = (small - cv2.blur(small, (_BLUR, _BLUR), borderType=cv2.BORDER_REPLICATE)).ravel()
    return np.asarray((fine - fine.mean()) / max(float(fine.std()), 1e-6))


def compare(one: Array, other: Array) -> tuple[Array, Array]:
    """Compare the details of pairs of images, each float32 (num_pairs, values).

    Returns:
        Their correlation, -1 to 1, and their largest difference, in standard deviations: each float32 (num_pairs,).
    """
    correlation = np.einsum("ij,ij->i", one, other) / max(1, one.shape[1])
    return correlation, np.abs(one - other).max(1, initial=0)
