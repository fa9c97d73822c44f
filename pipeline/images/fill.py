"""Filling the cache: every image that is not decoded yet is decoded, on all cores, into shards of its own."""

import hashlib
import io
import itertools
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.bars import bar
from pipeline.config import Config
from pipeline.cores import num_cores
from pipeline.files import (
    DISK_RESERVE,
    atomic_write,
    changed_ns,
    digest_file,
    lock,
    read_json,
    says_missing,
    write_json,
)
from pipeline.images.cache import Images, cache_dir, decode_pool, file_and_box, identity_of, open_images
from pipeline.images.decode import BadImage, ImageInfo, crop_and_resize, read_pixels
from pipeline.images.decoding import Decoding
from pipeline.images.grey import FULL, GreyRange
from pipeline.images.index import NOT_STORED, Entry, Index, write_index
from pipeline.log import log
from pipeline.paths import data_dir
from pipeline.processes import team

if TYPE_CHECKING:
    from tqdm import tqdm

Array = np.ndarray[Any, Any]

SHARD_BYTES = 128 * 2**20
SHARD_IMAGES = 16_384
# Mean bytes of a file from which on decoding takes longer than handing it to a thread.
SMALL_FILE = 8_000
# Images that a thread decodes before it reports: handing over each would cost as much as decoding a small one.
_JOB_IMAGES = 16
# Size and time of a file that is not there.
_MISSING = (0, 0)


class Source:
    """Where files are read and how they are decoded.

    Args:
        cfg: the settings.
        grey: the range of 16-bit values.
        decoding: takes note of the time that it takes.
    """

    def __init__(self, cfg: Config, grey: GreyRange, decoding: Decoding) -> None:
        self.root, self.settings, self.grey, self.decoding = data_dir(cfg), cfg.image, grey, decoding


def decode_missing(
    cfg: Config, split: str, paths: Sequence[str], grey: GreyRange = FULL, decoding: Decoding | None = None
) -> Images:
    """Decode what is not decoded yet, on all cores, and map the images of these paths.

    A file that cannot be read, or is not there, is an entry with a reason; nothing replaces it. Of several processes
    the first calls this, and the others `help_decode`.

    Args:
        cfg: the settings.
        split: `train` or `test`.
        paths: of the images.
        grey: the range of 16-bit values.
        decoding: takes note of the time that it takes.
    """
    decoding = decoding or Decoding()
    folder = cache_dir(cfg, split, grey)
    with lock(folder / "lock", f"the cache {folder}"):
        index = Index(folder)
        root = data_dir(cfg)
        with decode_pool(_num_threads(root, paths)) as pool:
            moved, new, known = _sort_out(root, list(dict.fromkeys(paths)), index, pool)
            if moved:
                write_index(folder, index.next_number(), moved)
            room = _room(cfg, folder)
            if new or (known and room):
                # What is known and was not kept is decoded for keeping where there is room by now.
                new = _by_file(new)
                due = _Due(grey, index.next_number(), [*new, *known][:room], new[room:])
                _share(due, folder)
                began = time.perf_counter()
                _decode_all(Source(cfg, grey, decoding), due, folder, pool)
                decoding.seconds += time.perf_counter() - began
                team().meet()
    return open_images(cfg, split, paths, grey, described=True)


@dataclass(frozen=True)
class _Due:
    """Files to decode.

    grey: the range of 16-bit values.
    number: of the first index file that is written.
    kept: files whose pixels are kept, a shard for so many.
    rest: files that are decoded only to know that they can be read.
    """

    grey: GreyRange
    number: int
    kept: list[str]
    rest: list[str]


# What one process has others decode, in the cache's folder: too much for a message.
_SHARED = ".due.json"


def _share(due: _Due, folder: Path) -> None:
    """Have the other processes of the team decode their part."""
    if team().size > 1:
        write_json(folder / _SHARED, asdict(due))
        team().first(lambda: str(folder / _SHARED))


def help_decode(cfg: Config) -> None:
    """Decode what the first process of the team gives out, until it is `decoded`."""
    while path := team().first(str):
        values = read_json(Path(path))
        due = _Due(**{**values, "grey": GreyRange(**values["grey"])})
        with decode_pool(_num_threads(data_dir(cfg), due.kept or due.rest)) as pool:
            _decode_all(Source(cfg, due.grey, Decoding()), due, Path(path).parent, pool)
        team().meet()


def decoded() -> None:
    """Let the other processes of the team go: there is nothing more to decode."""
    team().first(str)


def _room(cfg: Config, folder: Path) -> int:
    """Count the images that may still be stored: what `image.cache_limit` and the disk allow."""
    room = shutil.disk_usage(folder).free - DISK_RESERVE
    if cfg.image.cache_limit:
        taken = sum(file.stat().st_size for file in folder.parent.glob("*/*.npy"))
        room = min(room, int(cfg.image.cache_limit * 1e9) - taken)
    return max(0, room // (cfg.image.stored**2 * cfg.image.channels))


def _sort_out(
    root: Path, paths: list[str], cache_index: Index, pool: ThreadPoolExecutor
) -> tuple[list[Entry], list[str], list[str]]:
    """Sort files into entries of those whose bytes are known under another name or time, files to decode, and files
    whose entry is current but whose pixels are not kept.
    """
    rows = cache_index.find(paths)
    entries = cache_index.table.take(np.maximum(rows, 0)) if len(cache_index) else None
    states, bad, shards = [], [], []
    if entries is not None:
        states = list(zip(entries["size"].to_pylist(), entries["mtime_ns"].to_pylist(), strict=True))
        bad, shards = entries["bad"].to_pylist(), entries["shard"].to_pylist()
    suspects, new, known = [], [], []
    stats = [_size_time(f"{root}/{file_and_box(path)[0]}") for path in paths]
    for index, path in enumerate(paths):
        if entries is None or (rows[index] >= 0 and bad[index]) or stats[index] == _MISSING:
            # What could not be read is tried again: memory may have lacked, or the reader may be a newer one.
            new.append(path)
        elif rows[index] < 0 or states[index] != stats[index]:
            suspects.append(index)
        elif shards[index] == NOT_STORED:
            known.append(path)

    def digested(index: int) -> str:
        file, box = file_and_box(paths[index])
        return identity_of(digest_file(root / file), box)

    hashes = list(pool.map(digested, suspects))
    moved = []
    for index, same in zip(suspects, cache_index.find(hashes, "sha256"), strict=True):
        if same >= 0:
            size, mtime_ns = stats[index]
            moved.append(cache_index.entry(int(same))._replace(path=paths[index], size=size, mtime_ns=mtime_ns))
            known += [paths[index]] if moved[-1].shard == NOT_STORED else []
        else:
            new.append(paths[index])
    return moved, new, known


def _size_time(path: str) -> tuple[int, int]:
    """Size and time of a file, as an entry holds them."""
    try:
        status = os.stat(path)
    except OSError as error:
        if says_missing(error):
            return _MISSING
        raise
    return status.st_size, changed_ns(status)


def _decode_all(source: Source, due: _Due, folder: Path, pool: ThreadPoolExecutor) -> None:
    """Decode files, the first into shards, the rest only to know that they can be read.

    Index files and shards have numbers, and each process of the team makes every so many of them.
    """
    side, channels, members = source.settings.stored, source.settings.channels, team()
    per_shard = max(1, min(SHARD_IMAGES, SHARD_BYTES // (side * side * channels)))
    # As many for each process, and in a team of one as many as there is room for.
    per_shard = min(per_shard, max(1, -(-len(due.kept) // members.size)))
    kept, rest = (
        [paths[start : start + most] for start in range(0, len(paths), most)]
        for paths, most in ((due.kept, per_shard), (due.rest, SHARD_IMAGES))
    )
    if rest:
        log.info("prepare: no room to keep %s of them: they are decoded whenever they are needed", f"{len(due.rest):,}")
    own = list(enumerate([*kept, *rest]))[members.rank :: members.size]
    with bar(sum(len(paths) for _, paths in own), "decode") as shown:
        for number, paths in own:
            if number < len(kept):
                _decode_shard(source, folder, due.number + number, paths, pool, shown)
            else:
                entries = _in_jobs(partial(decode_file, source, None, NOT_STORED), paths, pool, shown)
                write_index(folder, due.number + number, list(entries))


def _by_file(paths: Sequence[str]) -> list[str]:
    """Sort several boxes of one image side by side, so that it is decoded once for all of them."""
    place: dict[str, int] = {}
    for path in paths:
        place.setdefault(file_and_box(path)[0], len(place))
    return sorted(paths, key=lambda path: place[file_and_box(path)[0]])


def _in_jobs(
    work: Callable[[str, list[tuple[int, str]]], list[Entry]],
    paths: Sequence[str],
    pool: ThreadPoolExecutor,
    shown: "tqdm[None]",
) -> Iterator[Entry]:
    """Call a function for every file with its rows and boxes, on all threads, some at a time; results in order."""
    keys = ((row, *file_and_box(path)) for row, path in enumerate(paths))
    files = [
        (file, [(row, box) for row, _, box in boxes]) for file, boxes in itertools.groupby(keys, key=lambda key: key[1])
    ]

    def job(start: int) -> list[Entry]:
        return [entry for file in files[start : start + _JOB_IMAGES] for entry in work(*file)]

    for done in pool.map(job, range(0, len(files), _JOB_IMAGES)):
        shown.update(len(done))
        yield from done


def _decode_shard(
    source: Source, folder: Path, number: int, paths: list[str], pool: ThreadPoolExecutor, shown: "tqdm[None]"
) -> None:
    """Decode some files into one shard; it has its name and index only when it is whole."""
    file = folder / f"{number:05d}.npy"
    image = source.settings
    shape = (len(paths), image.stored, image.stored, image.channels)
    with atomic_write(file, "w+b") as stream:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
        offset = stream.write(header.getvalue())
        stream.flush()
        num_bytes = int(np.prod(shape))
        if hasattr(os, "posix_fallocate"):
            # A full disk is an error here, not a dead process when the map is written.
            os.posix_fallocate(stream.fileno(), offset, num_bytes)
        else:
            stream.truncate(offset + num_bytes)
        pixels = np.memmap(stream, np.uint8, "r+", offset, shape)
        work = partial(decode_file, source, pixels, number)
        entries, checksum = [], hashlib.sha256(header.getvalue())
        for entry in _in_jobs(work, paths, pool, shown):
            checksum.update(pixels[entry.row])  # while the threads decode what comes next
            entries.append(entry)
        pixels.flush()
    write_index(folder, number, entries, file, checksum.hexdigest())


def _num_threads(root: Path, paths: Sequence[str]) -> int:
    """Choose as many as there are cores; one where files are so small that threads would mostly wait for the
    interpreter: two take twice as long as one for 20,000 JPEGs of 32 px.
    """
    probes = paths[:: max(1, len(paths) // 100)]
    num_bytes = sum(_size_time(f"{root}/{file_and_box(path)[0]}")[0] for path in probes)
    return num_cores() if num_bytes > SMALL_FILE * len(probes) else 1


def decode_file(
    source: Source, pixels: Array | None, shard: int, file: str, boxes: Sequence[tuple[int, str]]
) -> list[Entry]:
    """Read, hash and decode one file, and put each of its boxes ("": all of it) into its row where pixels are kept."""
    settings, began = source.settings, time.perf_counter()
    data, (size, mtime_ns) = _read_whole(f"{source.root}/{file}")
    read = time.perf_counter()
    sha256 = hashlib.sha256(data).hexdigest() if data is not None else ""
    info, unreadable, decoded = ImageInfo(), "", None
    try:
        if data is None:
            raise BadImage("the file is missing")
        decoded, info = read_pixels(data, settings, whole=any(box for _, box in boxes), grey=source.grey)
    except BadImage as error:
        unreadable = str(error)
    entries = []
    for row, box in boxes:
        key, bad = (f"{file}\0{box}" if box else file), unreadable
        if decoded is not None:
            try:
                fitted = crop_and_resize(decoded, box, settings)
                if pixels is not None:
                    pixels[row] = fitted
            except BadImage as error:
                bad = str(error)
        what = (info.format, info.mode, info.width, info.height, bad)
        entries.append(Entry(key, size, mtime_ns, identity_of(sha256, box), shard, row, *what))
    source.decoding.add(size, read - began, time.perf_counter() - read)
    return entries


def _read_whole(path: str) -> tuple[bytes | None, tuple[int, int]]:
    """Read a file, and its size and time; None where it is not there."""
    # Not pathlib: for small files it would take as long as reading them.
    try:
        with open(path, "rb", buffering=0) as stream:
            status = os.fstat(stream.fileno())
            return stream.readall(), (status.st_size, changed_ns(status))
    except OSError as error:
        if says_missing(error):
            return None, _MISSING
        raise
