"""How long reading and decoding files took, on all threads: `decoding.csv` of a run."""

import csv
import threading
from collections.abc import Mapping
from pathlib import Path

from pipeline.files import atomic_write

_COLUMNS = ("split", "files", "megabytes", "seconds", "reading", "decoding")


class Decoding:
    """Counts files, their bytes, and the seconds that all threads together read and decoded.

    `seconds` are those that passed meanwhile.
    """

    def __init__(self) -> None:
        self.files = self.bytes = 0
        self.seconds = self.reading = self.decoding = 0.0
        self.lock = threading.Lock()

    def add(self, num_bytes: int, reading: float, decoding: float) -> None:
        """Count a file; called by any thread."""
        with self.lock:
            self.files += 1
            self.bytes += num_bytes
            self.reading += reading
            self.decoding += decoding


def write_decoding(path: Path, decodings: Mapping[str, Decoding]) -> None:
    """Write a row for each split of which files were decoded; where there is none what is there stays."""
    rows = [
        (
            split,
            own.files,
            f"{own.bytes / 1e6:.3f}",
            *(f"{value:.3f}" for value in (own.seconds, own.reading, own.decoding)),
        )
        for split, own in decodings.items()
        if own.files
    ]
    if not rows:
        return
    with atomic_write(path, "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows(rows)
