"""Small things that tests make: pictures and tables."""

import csv
from pathlib import Path

import numpy as np


def picture(label: int, seed: int, side: int = 12) -> np.ndarray:
    """A noisy uint8 (side, side, 3) picture whose brightest corner shows its label, 0 to 3."""
    pixels = np.random.default_rng(seed).integers(0, 120, (side, side, 3))
    half = side // 2
    top, left = divmod(label % 4, 2)
    pixels[top * half : (top + 1) * half, left * half : (left + 1) * half] += 120
    return pixels.astype(np.uint8)


def write_table(path: Path, header: list[str], rows: list[list[object]], encoding: str = "utf-8") -> None:
    """Write a csv."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding=encoding, newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
