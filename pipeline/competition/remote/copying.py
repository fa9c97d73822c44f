"""Copying one file of a store: on from where it was left, and checked by what the store says of its bytes."""

import errno
import hashlib
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.competition.remote.listing import Entry, tag_of
from pipeline.competition.remote.stores import BLOCK, Store, reason
from pipeline.files import InputError

# Seconds before a file is asked for again after attempts that brought it no further: a busy store is ready soon.
PAUSES = (1.0, 4.0)
# How much smaller blocks are after an attempt that brought a file no further.
_SMALLER = 8
# What this machine says no to, however often it is asked.
_OUR_DISK_S = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
# By which algorithm each kind of hash is made.
_ALGORITHMS = {"sha256": "sha256", "md5": "md5", "etag": "md5", "git": "sha1"}


class _BrokenError(OSError):
    """What came is not what the store says it has."""


class StoppedError(Exception):
    """The copying was stopped before this file was whole."""


@dataclass
class Copier:
    """Copies files of a store into a folder of parts, where each has a name of its version.

    step: is told of bytes as they come, less those that have to come again.
    stopped: ends the copying after the block under way.
    """

    store: Store
    parts: Path
    step: Callable[[int], object]
    stopped: threading.Event = field(default_factory=threading.Event)

    def part(self, entry: Entry) -> Path:
        """Where a file grows until it is whole."""
        return self.parts / entry.version

    def there(self, entry: Entry) -> int:
        """Count the bytes of a file that are in its part."""
        part = self.part(entry)
        return part.stat().st_size if part.is_file() else 0

    def copy(self, entry: Entry) -> str:
        """Copy a file into its part, which is then whole and on the disk; returns the sha256 of its bytes.

        Raises:
            InputError: it cannot be had: several attempts brought it no further.
            OSError: it cannot be written here.
            StoppedError: it was stopped; the part stays, to be gone on with.
        """
        refuted: set[str] = set()
        pauses, furthest, block = iter(PAUSES), self.there(entry), BLOCK
        while True:
            try:
                self._fill(entry, block)
                return self._checked(entry, refuted)
            except self.store.failures as error:
                if isinstance(error, OSError) and error.errno in _OUR_DISK_S:
                    raise
                if self.there(entry) > furthest:
                    pauses, furthest = iter(PAUSES), self.there(entry)
                    continue
                # What came of a block that breaks off is lost: smaller ones may come whole.
                block = max(1, block // _SMALLER)
                pause = next(pauses, None)
                if pause is None:
                    raise InputError(
                        f"{entry.name} must be had whole from {self.store.shown}. Got: {reason(error)}; the same "
                        "command goes on from here"
                    ) from None
                if self.stopped.wait(pause):
                    raise StoppedError from None

    def _fill(self, entry: Entry, block: int) -> None:
        """Have what is missing of a file come, from the middle on where the store can give that."""
        start = self.there(entry)
        if start and start == entry.size:
            return
        if start and (entry.size is None or start > entry.size):
            start = self._forget(entry)
        if start:
            try:
                self._append(entry, start, block)
                self._must_be_one(entry)
                return
            except ValueError:  # it gives whole files alone
                self._forget(entry)
        self._append(entry, 0, block)

    def _must_be_one(self, entry: Entry) -> None:
        """See that a web server's file that came in several requests is still what was listed: nothing else may tell.

        Raises:
            _BrokenError: it was replaced meanwhile; its part is deleted.
        """
        is_told = bool(entry.sums) or not self.store.is_http
        if not is_told and tag_of(self.store.filesystem.info(entry.path)) != entry.tag:
            self._forget(entry)
            raise _BrokenError("it was replaced while it was copied")

    def _append(self, entry: Entry, start: int, block: int) -> None:
        size = start
        with self.store.open(entry.path, entry.size, start) as source, self.part(entry).open("ab") as target:
            while entry.size is None or size <= entry.size:
                chunk = source.read(block)
                if not chunk:
                    break
                target.write(chunk)
                size += len(chunk)
                self.step(len(chunk))
                if self.stopped.is_set():
                    raise StoppedError
            target.flush()
            os.fsync(target.fileno())

    def _checked(self, entry: Entry, refuted: set[str]) -> str:
        """Compare a part with what the store says of the file.

        Args:
            entry: the file.
            refuted: hashes of what came before and did not fit.

        Raises:
            _BrokenError: it is another; what cannot become right is deleted.
        """
        size = self.there(entry)
        if entry.size is not None and size != entry.size:
            if size > entry.size:
                self._forget(entry)
            raise _BrokenError(f"{size:,} bytes instead of {entry.size:,}")
        found = _hashes(self.part(entry), {"sha256", *entry.sums})
        wrong = [kind for kind, value in entry.sums.items() if found[kind] != value.lower()]
        if wrong == ["etag"] and (not self.store.etags_are_md5 or found["sha256"] in refuted):
            # The same bytes twice: it is the ETag that is none of the file's.
            self.store.etags_are_md5 = False
            wrong = []
        if wrong:
            refuted.add(found["sha256"])
            self._forget(entry)
            raise _BrokenError(f"bytes whose {wrong[0]} is {found[wrong[0]]} instead of {entry.sums[wrong[0]]}")
        return found["sha256"]

    def _forget(self, entry: Entry) -> int:
        """Delete a part, so that the file begins again; returns where."""
        self.step(-self.there(entry))
        self.part(entry).unlink(missing_ok=True)
        return 0


def _hashes(path: Path, kinds: set[str]) -> dict[str, str]:
    """The hashes of a file's bytes that are asked for, in hexadecimal digits."""
    made = {kind: hashlib.new(_ALGORITHMS[kind], usedforsecurity=False) for kind in kinds}
    if "git" in made:
        made["git"].update(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as stream:
        while chunk := stream.read(BLOCK):
            for one in made.values():
                one.update(chunk)
    return {kind: one.hexdigest() for kind, one in made.items()}
