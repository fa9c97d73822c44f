"""The copy of a competition that lies elsewhere: made once, mended where the source or the copy has changed.

Under `output/cache/<competition>-root-<key>/` the files lie in a folder of the competition's name, which is where all
stages read: `prepare` and `detect` alone ask the source. `listing.json` holds what the source had when it was last
asked, `copied.jsonl` a line for each file that is here whole, `parts/` those that are under way.
"""

import contextlib
import json
import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pipeline.bars import bar
from pipeline.competition.remote.copying import Copier
from pipeline.competition.remote.listing import Entry, list_files
from pipeline.competition.remote.stores import Store, open_store, reason
from pipeline.files import DISK_RESERVE, InputError, atomic_write, digest_file, lock, read_json, size_time, write_json
from pipeline.log import log
from pipeline.roots import copy_dir, local_root

# Files that are copied at a time: most are small, and each waits for its answer.
_AT_ONCE = 16


@dataclass(frozen=True)
class _Copied:
    """A file that is here whole: which version of it, the sha256 of its bytes, and its state (see `size_time`)."""

    version: str
    sha256: str
    state: list[int]


def copy_root(address: str) -> Path:
    """Have the files that lie at an address here, in a copy that is made or mended; returns its folder.

    Raises:
        InputError: the files cannot be had, and are not all here; there is no room for them, or one has a name under
            which it cannot lie in a folder.
    """
    store, folder, target = open_store(address), copy_dir(address), local_root(address)
    with _alone(folder, f"the copy of {store.shown}"):
        entries, unreached = _listed(store, folder)
        copied = _mend(target, entries, folder / "copied.jsonl")
        due = [entry for entry in entries if entry.name not in copied]
        if due and unreached:
            raise InputError(
                f"{store.shown} must be reached: {len(due):,} of its {len(entries):,} files are not here whole. Got: "
                f"{unreached}"
            )
        if unreached:
            log.warning("%s is not reached (%s); what was copied from it is used", store.shown, unreached)
        if due:
            _copy_all(store, due, copied, target)
        _write(folder / "copied.jsonl", copied)
        shutil.rmtree(folder / "parts", ignore_errors=True)
    return target


@contextlib.contextmanager
def _alone(folder: Path, what: str) -> Iterator[None]:
    """Hold the lock of a copy; who comes second waits, and says so."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(lock(folder / "lock", what))
        except InputError:
            log.info("%s is being made by another process; waiting for it", what)
            stack.enter_context(lock(folder / "lock", what, wait=True))
        yield


def _listed(store: Store, folder: Path) -> tuple[list[Entry], str]:
    """List what the source has; where it is not reached, what it had when it last was, and why.

    Raises:
        InputError: it is not reached, and was not before; or cannot be used.
    """
    try:
        entries = list_files(store)
    except InputError:
        raise
    except store.failures as error:
        known = read_json(folder / "listing.json")
        if known is None:
            raise InputError(f"{store.shown} must be reached to copy its files. Got: {reason(error)}") from None
        return [Entry(name, "", size, tag) for name, size, tag in known], reason(error)
    # Not their paths, which may hold a password.
    write_json(folder / "listing.json", [[entry.name, entry.size, entry.tag] for entry in entries])
    return entries, ""


def _mend(folder: Path, entries: list[Entry], path: Path) -> dict[str, _Copied]:
    """Find the files that are here as they should be; what the source has no longer is deleted."""
    versions, good = {entry.name: entry.version for entry in entries}, {}
    for name, copied in _read(path).items():
        if name not in versions:
            _delete(folder, name)
        elif versions[name] == copied.version and (same := _as_copied(folder / name, copied)):
            good[name] = same
    return good


def _delete(folder: Path, name: str) -> None:
    """Delete a file, and the folders that are empty without it."""
    (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # the first that is not empty
        for depth in range(name.count("/")):
            (folder / name).parents[depth].rmdir()


def _as_copied(path: Path, copied: _Copied) -> _Copied | None:
    """What is known of a file whose bytes are those that were copied; None where they are not."""
    if not path.is_file():
        return None
    state = size_time(path)
    if state == copied.state:
        return copied
    if state[0] != copied.state[0] or digest_file(path) != copied.sha256:
        return None
    return _Copied(copied.version, copied.sha256, state)


def _copy_all(store: Store, due: list[Entry], copied: dict[str, _Copied], target: Path) -> None:
    """Copy files, several at a time, each into its place when it is whole, and note them.

    Raises:
        InputError: one cannot be had, or there is no room for all.
    """
    folder = target.parent
    (folder / "parts").mkdir(parents=True, exist_ok=True)
    total = sum(entry.size or 0 for entry in due)
    with bar(total, "copy", "B") as shown:
        counting = threading.Lock()

        def step(count: int) -> None:
            with counting:
                shown.update(count)

        copier = Copier(store, folder / "parts", step)
        there = sum(copier.there(entry) for entry in due)
        _must_fit(store.shown, folder, total - there)
        rest = f", of which {_bytes(there)} are here" if there else ""
        log.info("copying %s files, %s from %s%s", f"{len(due):,}", _bytes(total), store.shown, rest)
        step(there)
        _write(folder / "copied.jsonl", copied)
        with (folder / "copied.jsonl").open("a", encoding="utf-8") as notes, ThreadPoolExecutor(_AT_ONCE) as pool:
            waiting = {pool.submit(copier.copy, entry): entry for entry in due}
            try:
                for future in as_completed(waiting):
                    entry = waiting[future]
                    sha256 = future.result()
                    place = target / entry.name
                    place.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(copier.part(entry), place)
                    copied[entry.name] = _Copied(entry.version, sha256, size_time(place))
                    _note(notes, entry.name, copied[entry.name])
            finally:
                copier.stopped.set()
                pool.shutdown(cancel_futures=True)


def _must_fit(source: str, folder: Path, num_bytes: int) -> None:
    free = shutil.disk_usage(folder).free - DISK_RESERVE
    if num_bytes > free:
        raise InputError(
            f"the disk must have room for {_bytes(num_bytes)} from {source}, and leave {_bytes(DISK_RESERVE)}. It has "
            f"{_bytes(free + DISK_RESERVE)}; make room, or start in a folder on another disk"
        )


def _read(path: Path) -> dict[str, _Copied]:
    """The files that were copied whole; of a line that a killed process has not finished nothing is known."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        with contextlib.suppress(json.JSONDecodeError):
            name, *values = json.loads(line)
            found[name] = _Copied(*values)
    return found


def _write(path: Path, copied: dict[str, _Copied]) -> None:
    with atomic_write(path, "w", encoding="utf-8") as stream:
        for name, one in copied.items():
            _note(stream, name, one)


def _note(stream: IO[str], name: str, copied: _Copied) -> None:
    stream.write(json.dumps([name, copied.version, copied.sha256, copied.state]) + "\n")
    stream.flush()


def _bytes(count: float) -> str:
    """Write a number of bytes: `2.1 GB`."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
