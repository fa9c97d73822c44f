"""The index of decoded images: what is known of each file, and where its pixels are.

An index file `00000.parquet` belongs to the shard `00000.npy`, or to no shard where its entries point to earlier ones
or to no pixels. It is renamed into place when all of it is true, and never changed: later files replace entries for
the same path. Kept as columns, so that a hundred thousand images take few megabytes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.files import InputError, atomic_write, digest_file

Array = np.ndarray[Any, Any]

NOT_STORED = -1


class Entry(NamedTuple):
    """The index's row of one file. `bad` says why it cannot be read; its pixels are then zeros.

    `shard` is NOT_STORED where the pixels are not kept and the file is decoded whenever it is asked for.
    """

    path: str
    size: int
    mtime_ns: int
    sha256: str
    shard: int
    row: int
    format: str
    mode: str
    width: int
    height: int
    bad: str


_SCHEMA = pa.schema(
    [(name, pa.string() if kind is str else pa.int64()) for name, kind in Entry.__annotations__.items()]
)


def _read(file: Path, columns: Sequence[str]) -> pa.Table | None:
    """Read an index file; None where it is broken: what it told of is decoded again."""
    try:
        return pq.read_table(file, columns=list(columns), memory_map=True).replace_schema_metadata(None)
    except (pa.ArrowException, OSError):
        return None


class Index:
    """All entries of a folder, the newest first; some of their columns, where not all are asked for."""

    def __init__(self, folder: Path, columns: Sequence[str] = Entry._fields) -> None:
        self.folder = folder
        tables = [
            table for file in sorted(folder.glob("[0-9]*.parquet"), reverse=True) if (table := _read(file, columns))
        ]
        self.table = pa.concat_tables(tables) if tables else _SCHEMA.empty_table().select(list(columns))

    def __len__(self) -> int:
        return len(self.table)

    def find(self, values: Sequence[str], column: str = "path") -> Array:
        """Find the row of the newest entry for each value: int64, -1 where there is none."""
        found = pc.index_in(pa.array(values, pa.string()), value_set=self.table[column].combine_chunks())
        return np.asarray(pc.fill_null(found, -1)).astype(np.int64)

    def entry(self, row: int) -> Entry:
        """Read one entry."""
        values = self.table.slice(row, 1).to_pylist()[0]
        return Entry(**{name: values[name] for name in Entry._fields})

    def next_number(self) -> int:
        """Choose the number of the next index file."""
        numbers = [int(file.stem) for file in self.folder.glob("*.parquet") if file.stem.isdigit()]
        return max(numbers, default=-1) + 1


def write_index(
    folder: Path, number: int, entries: Sequence[Entry], shard: Path | None = None, sha256: str = ""
) -> None:
    """Write entries into the index file of a number, with the checksum of the shard that they fill."""
    columns = zip(*entries, strict=True)
    table = pa.table([pa.array(values, field.type) for values, field in zip(columns, _SCHEMA, strict=True)], _SCHEMA)
    check = {}
    if shard is not None:
        status = shard.stat()
        check = {"size": str(status.st_size), "mtime_ns": str(status.st_mtime_ns), "sha256": sha256}
    with atomic_write(folder / f"{number:05d}.parquet") as stream:
        pq.write_table(table.replace_schema_metadata(check), stream)


def map_shard(folder: Path, number: int) -> Array:
    """Map a shard after a quick check of its size and time, and of its hash where these differ.

    Raises:
        InputError: it is missing or was changed.
    """
    file = folder / f"{number:05d}.npy"
    check = {
        key.decode(): value.decode()
        for key, value in (pq.read_schema(file.with_suffix(".parquet")).metadata or {}).items()
    }
    if not file.is_file():
        raise InputError(f"{file} is missing. Delete {folder} and run: python -m pipeline.prepare")
    status = file.stat()
    same = (str(status.st_size), str(status.st_mtime_ns)) == (check.get("size"), check.get("mtime_ns"))
    if not same and digest_file(file) != check.get("sha256"):
        raise InputError(f"{file} is not what was written. Delete {folder} and run: python -m pipeline.prepare")
    return np.load(file, mmap_mode="r")
