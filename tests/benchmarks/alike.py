"""Seconds of the processor to find the pairs of images that are alike to a network, among many.

Of all its threads together, which wait for each other where another job takes a core: OMP_NUM_THREADS=1 says most.
"""

import sys
import time
from typing import Any

import numpy as np
from measure import machine_line

from pipeline.audit.alike import find_alike

Array = np.ndarray[Any, Any]
NUM_FEATURES = 1280
_ROWS = 10_000


def some_features(num_images: int) -> Array:
    """Features of images of which every twentieth is nearly the one before."""
    generator = np.random.default_rng(0)
    directions = generator.normal(size=(256, NUM_FEATURES)).astype(np.float32) / 16
    features = np.empty((num_images, NUM_FEATURES), np.float16)
    for start in range(0, num_images, _ROWS):
        rows = features[start : start + _ROWS]
        rows[:] = np.maximum(generator.normal(size=(len(rows), 256)).astype(np.float32) @ directions, 0)
    copies = features[1::20]
    copies[:] = features[::20][: len(copies)] + 0.02 * generator.normal(size=copies.shape)
    return features


def measure(name: str, features: Array) -> None:
    """Print the seconds."""
    begun = time.process_time()
    found = find_alike(features)
    seconds = time.process_time() - begun
    print(f"{name}: {len(features):,} images, {seconds:.1f} s; {len(found):,} pairs, {found.num_crowded:,} of crowds")


def main() -> None:
    """Measure both."""
    features = some_features(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
    print(machine_line())
    measure("photos", features)
    features[: len(features) // 5] = features[0]
    measure("photos, a fifth of them black", features)


if __name__ == "__main__":
    main()
