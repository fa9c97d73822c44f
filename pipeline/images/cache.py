"""Decoded images: uint8 arrays in shards, memory-mapped, shared by folds, epochs, runs, validation and inference.

A folder holds `00000.npy` (num_images, height, width, channels) and `00000.parquet`, its index: a row per image with
path, size, time (a quick check), sha256 of the file's bytes (its identity) and where its pixels are. A shard counts
once its index is there. A changed file gets a new row and rows that others have mapped are never overwritten; a file
that was only touched, moved or copied gets a new entry for its old pixels.

Where the disk or `image.cache_limit` has no room for all, the pixels of the rest are not kept: such an image is
decoded, by threads, whenever it is asked for, to the same pixels.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import Config, ImageConfig
from pipeline.cores import num_cores
from pipeline.files import InputError, digest, safe_name
from pipeline.images.decode import VERSION, decode
from pipeline.images.grey import FULL, GreyRange, known_range
from pipeline.images.index import NOT_STORED, Entry, Index, map_shard
from pipeline.paths import data_dir

Array = np.ndarray[Any, Any]


def decode_pool(num_threads: int = 0) -> ThreadPoolExecutor:
    """Start threads that decode; by default one for each core."""
    return ThreadPoolExecutor(num_threads or num_cores(), "decode")


@dataclass(frozen=True)
class Images:
    """The images of some paths, in their order, mapped and not read.

    table: a row per image, of the columns of `Entry` those that are needed.
    shard: int64 (num_images,), which shard has its pixels, or NOT_STORED; row: where in it.
    """

    root: Path
    settings: ImageConfig
    table: pa.Table
    shards: dict[int, Array]
    shard: Array
    row: Array
    grey: GreyRange = FULL
    pool: ThreadPoolExecutor = field(default_factory=decode_pool, repr=False)

    def __len__(self) -> int:
        return len(self.shard)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        return self.settings.stored, self.settings.stored, self.settings.channels

    @cached_property
    def num_stored(self) -> int:
        """Images whose pixels are kept."""
        return int((self.shard != NOT_STORED).sum())

    def gather(self, indices: Array) -> Array:
        """Gather the pixels of images by their indices: uint8 (len(indices), height, width, channels), in memory.

        Raises:
            InputError: a file whose pixels are not kept has changed since it was prepared.
        """
        shards, rows = self.shard[indices], self.row[indices]
        if len(self.shards) == 1 and self.num_stored == len(self):
            return np.take(next(iter(self.shards.values())), rows, axis=0)
        pixels = np.empty((len(indices), *self.shape), np.uint8)
        for shard in np.unique(shards):
            here = np.flatnonzero(shards == shard)
            if shard == NOT_STORED:
                for place, decoded in zip(here, self.pool.map(self._decode, indices[here]), strict=True):
                    pixels[place] = decoded
            else:
                pixels[here] = self.shards[shard][rows[here]]
        return pixels

    def _decode(self, index: int) -> Array:
        """Decode a file whose pixels are not kept; zeros for one that cannot be read, as in a shard."""
        path, sha256, bad = (self.table[name][int(index)].as_py() for name in ("path", "sha256", "bad"))
        if bad:
            return np.zeros(self.shape, np.uint8)
        file, box = file_and_box(path)
        data = (self.root / file).read_bytes()
        if identity_of(hashlib.sha256(data).hexdigest(), box) != sha256:
            raise InputError(f"{self.root / file} has changed. Run: python -m pipeline.prepare")
        return decode(data, self.settings, box, self.grey)[0]

    def files(self, folder: Path) -> dict[str, int]:
        """List name and size of the shards and of the index files in the cache's folder."""
        names = [str(shard.filename) for shard in self.shards.values() if isinstance(shard, np.memmap)]
        names += map(str, folder.glob("[0-9]*.parquet"))
        return {os.path.relpath(name): os.stat(name).st_size for name in names}

    @property
    def readable(self) -> Array:
        """Which images can be read: bool (num_images,)."""
        return np.asarray(pc.equal(self.table["bad"], ""))

    @property
    def bad(self) -> dict[int, str]:
        """Index and reason of each image that cannot be read."""
        indices = np.flatnonzero(~self.readable)
        return dict(zip(indices.tolist(), self.table["bad"].take(indices).to_pylist(), strict=True))

    def identity(self, indices: Iterable[int], names: Sequence[str]) -> str:
        """Hash some images' ids and bytes, whatever their order, and the range of their grey values."""
        hashes = self.table["sha256"].combine_chunks()
        total = hashlib.sha256(b"" if self.grey.is_full else f"{self.grey}\n".encode())
        for index in sorted(indices, key=lambda index: names[index]):
            total.update(f"{json.dumps(names[index])} {hashes[index]}\n".encode())
        return total.hexdigest()


def cache_dir(cfg: Config, split: str, grey: GreyRange | None = None) -> Path:
    """Name the folder of a split's decoded images (`train` or `test`) of one root and one set of `[image]` settings.

    Args:
        cfg: the settings.
        split: `train` or `test`.
        grey: the range of 16-bit values; None: what `prepare` found.
    """
    grey = grey or known_range(cfg)
    image = {"stored": cfg.image.stored, "channels": cfg.image.channels, "fit": cfg.image.fit, "reader": VERSION}
    key = digest({"root": str(cfg.root.resolve()), **image, **grey.notes})[:8]
    name = f"{safe_name(cfg.competition)}-{cfg.image.stored}px-{key}"
    return Path("output") / "cache" / name / split


def open_images(
    cfg: Config, split: str, paths: Sequence[str], grey: GreyRange | None = None, *, described: bool = False
) -> Images:
    """Map the decoded images of paths relative to the root.

    Args:
        cfg: the settings.
        split: `train` or `test`.
        paths: of the images, in their order.
        grey: the range of 16-bit values; None: what `prepare` found.
        described: with all that is known of each file, not only what it takes to read its pixels.

    Raises:
        InputError: some are not in the cache, or a shard was changed.
    """
    grey = grey or known_range(cfg)
    folder = cache_dir(cfg, split, grey)
    index = Index(folder, Entry._fields if described else ("path", "sha256", "shard", "row", "bad"))
    rows = index.find(paths)
    missing = int((rows < 0).sum())
    if missing:
        raise InputError(
            f"{missing:,} of {len(paths):,} {split} images are not in {folder}. "
            f"They are decoded by: python -m pipeline.prepare {cfg.options}"
        )
    table = index.table.take(rows)
    shard, row = table["shard"].to_numpy(), table["row"].to_numpy()
    if not described:
        table = table.select(["path", "sha256", "bad"] if NOT_STORED in shard else ["bad"])
    shards = {number: map_shard(folder, number) for number in np.unique(shard).tolist() if number != NOT_STORED}
    return Images(data_dir(cfg), cfg.image, table, shards, shard, row, grey)


def file_and_box(key: str) -> tuple[str, str]:
    """Cut a key of the cache, see `Samples.keys`, into the file's path and the box, "" for none."""
    file, _, box = key.partition("\0")
    return file, box


def identity_of(sha256: str, box: str) -> str:
    """Hash that the pixels of a file, or of a box in it, are known by."""
    return hashlib.sha256(f"{sha256} {box}".encode()).hexdigest() if box else sha256
