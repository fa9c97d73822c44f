"""Seconds of the processor to find versions of one image among many: photos, thousands of equal ones, all of one kind.

Seconds of the processor, all threads together, so that a busy neighbour does not spoil them; hashing uses all cores.
"""

import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from measure import machine_line, smooth_images

from pipeline.audit.duplicates import first_versions
from pipeline.audit.hashes import Hashes, hash_pixels
from pipeline.cores import num_cores

Array = np.ndarray[Any, Any]
SIDE = 64
NUM_PICTURES = 512
# Of a hundred images so many are versions of the one before, a level brighter.
NUM_VERSIONS = 5


def different(number: int, pictures: Array) -> Array:
    """A photo like no other: two of the pictures, one of them moved, blended."""
    other = np.roll(pictures[(number // NUM_PICTURES) % NUM_PICTURES], number % (SIDE - 3), 1)
    return (pictures[number % NUM_PICTURES] >> 1) + (other >> 1)


def of_one_kind(number: int, pictures: Array) -> Array:
    """An image as all others of its kind, as X-rays are: one picture, and a little of another."""
    return pictures[0] - (pictures[0] >> 2) + (different(number, pictures) >> 2)


def with_versions(make: Callable[[int, Array], Array], num_equal: int, pictures: Array) -> Callable[[Array], Array]:
    """Make a function that gathers images by their indices: the first `num_equal` of them are black."""

    def image(index: int) -> Array:
        if index < num_equal:
            return np.zeros((SIDE, SIDE, 3), np.uint8)
        if index % 100 < NUM_VERSIONS:
            return np.minimum(make(index - index % 100 + 99, pictures), 254) + np.uint8(1)
        return make(index, pictures)

    return lambda indices: np.stack([image(int(index)) for index in indices])


def measure(name: str, num_images: int, gather: Callable[[Array], Array]) -> None:
    """Print the seconds of hashing, and of grouping by the hashes; making the images is not counted in the first."""
    hashing, rows = 0.0, []
    with ThreadPoolExecutor(num_cores()) as pool:
        for start in range(0, num_images, 4096):
            images = gather(np.arange(start, min(start + 4096, num_images)))
            begun = time.process_time()
            rows += list(pool.map(lambda part: [hash_pixels(image) for image in part], np.array_split(images, 8)))
            hashing += time.process_time() - begun
    pixels, looks, are_plain = zip(*(row for part in rows for row in part), strict=True)
    hashes = Hashes(np.array(pixels), np.array(looks, np.uint64), np.array(are_plain))
    gathering = 0.0

    def timed(indices: Array) -> Array:
        nonlocal gathering
        begun = time.process_time()
        pixels = gather(indices)
        gathering += time.process_time() - begun
        return pixels

    begun, own = time.process_time(), np.arange(num_images)
    first, num_crowded = first_versions(hashes, np.ones(num_images, np.bool_), timed, own)
    grouping = time.process_time() - begun - gathering
    print(
        f"{name}: {num_images:,} images, {hashing:.1f} s of hashing, {grouping:.1f} s of grouping; "
        f"{int((first != own).sum()):,} are versions of others, {num_crowded:,} of crowds",
        flush=True,
    )


def main() -> None:
    """Measure all."""
    num_images = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    pictures = smooth_images(NUM_PICTURES, SIDE).numpy()
    print(machine_line())
    measure("photos", num_images, with_versions(different, 0, pictures))
    measure("photos, a fifth of them black", num_images, with_versions(different, num_images // 5, pictures))
    measure("of one kind", num_images, with_versions(of_one_kind, 0, pictures))


if __name__ == "__main__":
    main()
