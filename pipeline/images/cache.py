"""Decoded images: uint8 arrays in shards, memory-mapped, shared by folds, epochs, runs, validation and inference.

A folder holds `00000.npy` (num_images, height, width, channels) and `00000.parquet`, its index: a row per image with
path, size, time (a quick check), sha256 of the file's bytes (its identity) and where its pixels are. A shard counts
once its index is there. Indices are read in order and a later entry for a path replaces an earlier one, so a changed
file gets a new row and rows that others have mapped are never overwritten; a file that was only touched, moved or
copied gets a new entry for its old pixels.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from pipeline.config import Config
from pipeline.files import InputError, atomic_write, cache_dir, digest_file, lock
from pipeline.images.decode import BadImage, Info, decode

Array = np.ndarray[Any, Any]

SHARD_BYTES = 128 * 2**20
SHARD_IMAGES = 16_384
# Images that a thread decodes before it reports: handing over each would cost as much as decoding a small one.
_JOB_IMAGES = 16


class Entry(NamedTuple):
    """What the index knows of one file. `bad` says why it cannot be read; its pixels are then zeros."""

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


@dataclass(frozen=True)
class Images:
    """The images of some paths, in their order, mapped and not read."""

    entries: list[Entry]
    shards: dict[int, Array]
    shard: Array
    row: Array

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        height, width, channels = next(iter(self.shards.values())).shape[1:]
        return height, width, channels

    def gather(self, numbers: Array) -> Array:
        """Pixels of the images with these numbers: uint8 (len(numbers), height, width, channels), in memory."""
        shards, rows = self.shard[numbers], self.row[numbers]
        if len(self.shards) == 1:
            return np.take(next(iter(self.shards.values())), rows, axis=0)
        pixels = np.empty((len(numbers), *self.shape), np.uint8)
        for number in np.unique(shards):
            here = np.flatnonzero(shards == number)
            pixels[here] = self.shards[number][rows[here]]
        return pixels

    def files(self) -> dict[str, int]:
        """Name and size of the shards."""
        names = [str(shard.filename) for shard in self.shards.values() if isinstance(shard, np.memmap)]
        return {os.path.relpath(name): os.stat(name).st_size for name in names}

    @property
    def bad(self) -> dict[int, str]:
        """Number and reason of each image that cannot be read."""
        return {number: entry.bad for number, entry in enumerate(self.entries) if entry.bad}

    def identity(self, numbers: Iterable[int], names: Sequence[str]) -> str:
        """Hash of some images' ids and bytes, whatever their order."""
        pairs = sorted((names[number], self.entries[number].sha256) for number in numbers)
        return hashlib.sha256(json.dumps(pairs).encode()).hexdigest()


def open_images(cfg: Config, part: str, paths: Sequence[str]) -> Images:
    """Map the decoded images of paths relative to the root.

    Raises:
        InputError: some are not in the cache, or a shard was changed.
    """
    folder = cache_dir(cfg, part)
    index = _read_index(folder)
    missing = sum(path not in index for path in paths)
    if missing:
        raise InputError(
            f"{missing:,} of {len(paths):,} {part} images are not in {folder}. "
            f"They are decoded by: python -m pipeline.prepare --config {cfg.path}"
        )
    entries = [index[path] for path in paths]
    shard = np.array([entry.shard for entry in entries], np.int32)
    shards = {int(number): _map(folder, int(number)) for number in np.unique(shard)}
    return Images(entries, shards, shard, np.array([entry.row for entry in entries], np.int64))


def build(cfg: Config, part: str, paths: Sequence[str]) -> Images:
    """Decode what is not decoded yet, on all cores, and map the images of these paths.

    A file that cannot be read is an entry with a reason; nothing replaces it.
    """
    folder = cache_dir(cfg, part)
    with lock(folder / "lock", f"the cache {folder}"):
        for leftover in folder.glob(".*.tmp"):
            leftover.unlink()
        index = _read_index(folder)
        threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        with ThreadPoolExecutor(threads) as pool:
            moved, new = _sort_out(cfg.root, list(dict.fromkeys(paths)), index, pool)
            if moved:
                _write_index(folder, _next_number(folder), moved, None)
            if new:
                _decode_all(cfg, folder, new, pool)
    return open_images(cfg, part, paths)


def _sort_out(
    root: Path, paths: list[str], index: dict[str, Entry], pool: ThreadPoolExecutor
) -> tuple[list[Entry], list[str]]:
    """Files whose bytes are known under another name or time, and files to decode."""
    suspects, new = [], []
    stats = dict(zip(paths, pool.map(lambda path: (root / path).stat(), paths), strict=True))
    for path, status in stats.items():
        entry = index.get(path)
        if (entry is None and not index) or (entry is not None and entry.bad):
            # What could not be read is tried again: memory may have lacked, or the reader may be a newer one.
            new.append(path)
        elif entry is None or (entry.size, entry.mtime_ns) != (status.st_size, status.st_mtime_ns):
            suspects.append(path)
    by_hash = {entry.sha256: entry for entry in index.values()}
    moved = []
    for path, sha256 in zip(suspects, pool.map(lambda path: digest_file(root / path), suspects), strict=True):
        if sha256 in by_hash:
            status = stats[path]
            moved.append(by_hash[sha256]._replace(path=path, size=status.st_size, mtime_ns=status.st_mtime_ns))
        else:
            new.append(path)
    return moved, new


def _decode_all(cfg: Config, folder: Path, paths: list[str], pool: ThreadPoolExecutor) -> None:
    side, channels = cfg.image.stored, cfg.image.channels
    per_shard = max(1, min(SHARD_IMAGES, SHARD_BYTES // (side * side * channels)))
    with tqdm(total=len(paths), desc="decode", unit="img", disable=None, smoothing=0.1, delay=1) as bar:
        for start in range(0, len(paths), per_shard):
            _decode_shard(cfg, folder, paths[start : start + per_shard], pool, bar)


def _decode_shard(cfg: Config, folder: Path, paths: list[str], pool: ThreadPoolExecutor, bar: "tqdm[None]") -> None:
    """Decode some files into one shard; it has its name and index only when it is whole."""
    number = _next_number(folder)
    file = folder / f"{number:05d}.npy"
    shape = (len(paths), cfg.image.stored, cfg.image.stored, cfg.image.channels)
    with atomic_write(file, "w+b") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
        stream.flush()
        offset = stream.tell()
        num_bytes = int(np.prod(shape))
        if hasattr(os, "posix_fallocate"):
            # A full disk is an error here, not a dead process when the map is written.
            os.posix_fallocate(stream.fileno(), offset, num_bytes)
        else:
            stream.truncate(offset + num_bytes)
        pixels = np.memmap(stream, np.uint8, "r+", offset, shape)

        def decode_some(start: int) -> list[Entry]:
            rows = range(start, min(start + _JOB_IMAGES, len(paths)))
            return [_decode_one(cfg, pixels, paths[row], number, row) for row in rows]

        entries = []
        for done in pool.map(decode_some, range(0, len(paths), _JOB_IMAGES)):
            entries += done
            bar.update(len(done))
        pixels.flush()
    _write_index(folder, number, entries, file)


def _decode_one(cfg: Config, pixels: Array, path: str, shard: int, row: int) -> Entry:
    """Read, hash and decode one file into its row."""
    file = cfg.root / path
    status = file.stat()
    data = file.read_bytes()
    info, bad = Info(), ""
    try:
        pixels[row], info = decode(data, cfg.image)
    except BadImage as error:
        bad = str(error)
    sha256 = hashlib.sha256(data).hexdigest()
    what = (info.format, info.mode, info.width, info.height)
    return Entry(path, status.st_size, status.st_mtime_ns, sha256, shard, row, *what, bad)


def _next_number(folder: Path) -> int:
    numbers = [int(file.stem) for file in folder.glob("*.parquet") if file.stem.isdigit()]
    return max(numbers, default=-1) + 1


def _write_index(folder: Path, number: int, entries: list[Entry], shard: Path | None) -> None:
    columns = dict(zip(Entry._fields, zip(*entries, strict=True), strict=True))
    table = pa.table({name: pa.array(values) for name, values in columns.items()})
    check = {}
    if shard is not None:
        status = shard.stat()
        check = {"size": str(status.st_size), "mtime_ns": str(status.st_mtime_ns), "sha256": digest_file(shard)}
    with atomic_write(folder / f"{number:05d}.parquet") as stream:
        pq.write_table(table.replace_schema_metadata(check), stream)


def _read_index(folder: Path) -> dict[str, Entry]:
    index: dict[str, Entry] = {}
    for file in sorted(folder.glob("[0-9]*.parquet")):
        columns = pq.read_table(file, memory_map=True).to_pydict()
        for values in zip(*(columns[name] for name in Entry._fields), strict=True):
            index[values[0]] = Entry(*values)
    return index


def _map(folder: Path, number: int) -> Array:
    """Map a shard after a quick check of its size and time, and of its hash where these differ."""
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
