"""Pairs of images that a network takes for one: what hashes of pixels do not find, as crops and mirror images.

Features of any two images have much in common. What tells them apart are their principal components, each in units of
its spread (whitening; Jegou and Chum 2012, "Negative evidences and co-occurrences in image retrieval: the benefit of
PCA and whitening", section 3), the small ones less than that, as they are noise. Compared is the cosine of these: every
image with every other, block by block, so that memory does not grow with the square of the images.

The limit was chosen on copies made of photos, X-rays and CIFAR-10, and on what is no copy there;
tests/benchmarks/README.md has the figures.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

LEAST_COSINE = 0.85
# An image that is so near to more than this many others is one of a crowd, in which each is like the next.
MOST_NEAR = 20
_NUM_COMPONENTS = 128
# Rows that are turned at a time, and sides of the blocks of cosines, which the processor's caches hold.
ROWS = 8192
BLOCK_HEIGHT, BLOCK_WIDTH = 512, 2048


@dataclass(frozen=True)
class Pairs:
    """Pairs of images, the nearest first: arrays of one length.

    first, second: int64, the indices of the images, first < second.
    cosine: float32, of their components, at least LEAST_COSINE.
    num_crowded: how many images are of crowds, of which there are no pairs.
    """

    first: Array
    second: Array
    cosine: Array
    num_crowded: int

    def __len__(self) -> int:
        return len(self.first)


def find_alike(features: Array) -> Pairs:
    """Find the pairs of images whose features are nearer than those of any two different images should be.

    Args:
        features: float (num_images, num_features), finite.
    """
    units = _components(features)
    num_near = np.zeros(len(units), np.int64)
    found = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))]
    for top in range(0, len(units), BLOCK_HEIGHT):
        rows = units[top : top + BLOCK_HEIGHT]
        for left in range(top, len(units), BLOCK_WIDTH):
            cosines = rows @ units[left : left + BLOCK_WIDTH].T
            if cosines.max() < LEAST_COSINE:
                continue
            is_near = cosines >= LEAST_COSINE
            # Each pair once, and no image with itself.
            is_near &= top + np.arange(len(rows))[:, None] < left + np.arange(cosines.shape[1])
            num_near[top : top + len(rows)] += is_near.sum(1)
            num_near[left : left + cosines.shape[1]] += is_near.sum(0)
            # What is known to be of a crowd is not kept, as its pairs would not fit into memory.
            is_near &= (num_near[top : top + len(rows)] <= MOST_NEAR)[:, None]
            is_near &= num_near[left : left + cosines.shape[1]] <= MOST_NEAR
            first, second = np.nonzero(is_near)
            found.append((first + top, second + left, cosines[first, second]))
    first, second, cosine = (np.concatenate(column) for column in zip(*found, strict=True))
    is_crowded = num_near > MOST_NEAR
    is_kept = ~(is_crowded[first] | is_crowded[second])
    first, second, cosine = first[is_kept], second[is_kept], cosine[is_kept]
    order = np.lexsort((second, first, -cosine))
    return Pairs(first[order], second[order], cosine[order], int(is_crowded.sum()))


def _components(features: Array) -> Array:
    """Turn features onto their principal components: float32 (num_images, at most _NUM_COMPONENTS), of length 1 each;
    0 where an image is like the mean of all.
    """
    num_images, num_features = features.shape
    centre = features.mean(0, dtype=np.float64).astype(np.float32)
    covariance = np.zeros((num_features, num_features))
    for start in range(0, num_images, ROWS):
        rows = features[start : start + ROWS].astype(np.float32) - centre
        covariance += rows.T @ rows
    variances, axes = np.linalg.eigh(covariance / max(1, num_images))
    variances, axes = np.maximum(variances[::-1][:_NUM_COMPONENTS], 0), axes[:, ::-1][:, :_NUM_COMPONENTS]
    scaled = (axes / np.sqrt(variances + max(variances.mean(), 1e-12))).astype(np.float32)
    units = np.empty((num_images, scaled.shape[1]), np.float32)
    for start in range(0, num_images, ROWS):
        rows = (features[start : start + ROWS].astype(np.float32) - centre) @ scaled
        units[start : start + ROWS] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return units
