"""How files are found, read and written (whole or not at all), and locks."""

import contextlib
import csv
import errno
import fcntl
import hashlib
import json
import os
import re
import stat
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

from pipeline.quoting import shown

# Bytes left free on the disk, for models and predictions.
DISK_RESERVE = 10**9


class InputError(ValueError):
    """What the user's data or the machine caused: what must hold, what was got, what to do."""


def safe_name(name: str) -> str:
    """A name that is safe as part of a file's name."""
    return re.sub(r"[^\w.-]+", "_", name).strip(".") or "competition"


def inside(root: Path, relative: str, what: str) -> Path:
    """The path of a file named by a table, which may not lead out of its root.

    A link that the user has made inside the root is followed: it is the user's own.

    Raises:
        InputError: the path is absolute or climbs out.
    """
    if "\0" in relative or os.path.isabs(relative) or ".." in relative.replace("\\", "/").split("/"):
        raise InputError(f"{what} must stay inside {root}. Got {shown(relative)}")
    return root / relative


def walk(root: Path, *, any_name: bool = False) -> Iterator[str]:
    """Every file below a root as a path relative to it with `/`, folder by folder, sorted; linked folders are followed
    once. Devices, pipes and sockets are no files.

    Args:
        root: the folder.
        any_name: also names that are not UTF-8, with the bytes that are none as Python escapes them.

    Raises:
        InputError: a name is not UTF-8, as archives made on Korean Windows give.
    """
    seen: set[str] = set()
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        real = os.path.realpath(root / prefix)
        if real in seen:
            continue
        seen.add(real)
        files, folders = [], []
        with os.scandir(root / prefix) as entries:
            for entry in entries:
                if entry.is_dir():
                    folders.append(entry.name)
                elif entry.is_file():
                    files.append(entry.name)
        for name in sorted(files):
            if not any_name and not is_utf8(name):
                raise InputError(
                    f"file names must be UTF-8. Got {os.fsencode(prefix + name)!r} under {root}. Run: python -m "
                    "pipeline.prepare, which shows such files under their names"
                )
            yield prefix + name
        waiting += [f"{prefix}{name}/" for name in sorted(folders, reverse=True)]


# A folder with more than so many entries holds data; no more than so many are looked at below one root.
_MOST_IN_FOLDER, _MOST_IN_ALL = 1_000, 20_000
_DEEPEST = 6


def small_folders(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Each folder of a root, itself included, with the names of its files, sorted; the nearest folders first.

    For places where few files lie among a million that are none of ours: folders that hold data are left as they are,
    with all that is in them; so are hidden folders, those that lie deeper than six, and those that cannot be read.
    Linked folders are followed once.
    """
    waiting, num_entries = deque([(root, 0)]), 0
    seen: set[str] = set()
    while waiting and num_entries < _MOST_IN_ALL:
        folder, depth = waiting.popleft()
        real = os.path.realpath(folder)
        if real in seen:
            continue
        seen.add(real)
        try:
            with os.scandir(folder) as entries:
                found = [(entry.name, entry.is_dir()) for entry in islice(entries, _MOST_IN_FOLDER + 1)]
        except OSError:  # it is not there, or another user's: whoever looks for something finds nothing in it
            continue
        num_entries += len(found)
        if len(found) > _MOST_IN_FOLDER:
            continue
        yield folder, sorted(name for name, is_folder in found if not is_folder)
        if depth < _DEEPEST:
            folders = sorted(name for name, is_folder in found if is_folder and not name.startswith("."))
            waiting += [(folder / name, depth + 1) for name in folders]


def says_missing(error: OSError) -> bool:
    """Whether the system says that there is no such file: none of this name, or none can have it."""
    return error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)


def is_file(path: Path) -> bool:
    """Whether there is a file of a name that a table gives, which may be longer than names can be."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        if says_missing(error) or error.errno == errno.ELOOP:
            return False
        raise


def size_time(path: Path) -> list[int]:
    """A file's size in bytes and when it was last changed: a quick look at whether it is another."""
    status = path.stat()
    return [status.st_size, changed_ns(status)]


def changed_ns(status: os.stat_result) -> int:
    """When a file was last changed, in nanoseconds: the later of the time that it shows, which copying and unpacking
    may bring along, and the time at which this system wrote it.
    """
    return max(status.st_mtime_ns, status.st_ctime_ns)


def is_utf8(name: str) -> bool:
    """Whether a file's name, as Python read it from the system, is UTF-8: other bytes are escaped as surrogates."""
    return name.isascii() or "\\udc" not in ascii(name)


# ---- writing


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A name beside `path` to write a file to; it becomes `path` once the file is whole and on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:80]}.", suffix=".tmp")
    os.close(descriptor)
    try:
        yield Path(name)
        _sync(Path(name))
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
        _sync(path.parent)
    finally:
        # Once renamed it is gone.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)


@contextlib.contextmanager
def atomic_write(path: Path, mode: str = "wb", **options: Any) -> Iterator[IO[Any]]:
    """Open a file that gets its name only when it is whole and on the disk, see `atomic_path`."""
    with atomic_path(path) as temporary, temporary.open(mode, **options) as stream:
        yield stream


def write_json(path: Path, value: Any) -> None:
    """Write JSON with sorted keys, atomically: equal values are equal bytes."""
    with atomic_write(path, "w", encoding="utf-8") as stream:
        stream.write(json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON; None where there is no such file or it is not whole."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        return None


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a csv of ours, by its header; none where there is none."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync(path: Path) -> None:
    """Have a file, or a folder's list of names, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# ---- hashes


def digest(value: Any) -> str:
    """Hash of a plain value: sha256 of its JSON with sorted keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=True, allow_nan=False).encode()).hexdigest()


def digest_file(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


# ---- locks


@contextlib.contextmanager
def lock(path: Path, what: str, products: Iterable[str] = ("*",), *, wait: bool = False) -> Iterator[None]:
    """Hold the lock of some products, and delete what a killed holder had not finished writing.

    The kernel frees it when the process dies, whatever children live on.

    Args:
        path: of the lock, in the products' folder.
        what: they are, for a message.
        products: their names; all of the folder's by default.
        wait: for another process that holds it, where it is a matter of seconds.

    Raises:
        InputError: another process holds it, or the file system has no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as stream:
        try:
            # POSIX record locks belong to the process: forked children do not inherit them, unlike flock's.
            fcntl.lockf(stream, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise InputError(f"{what} is being made by another process; wait for it or end it ({path})") from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            raise InputError(
                f"the file system of {path.parent} must have locks, so that no two processes make {what} at once. It "
                f"has none ({error.strerror}): mount it with them (NFS version 4, or 3 with lockd), or work on a local "
                "disk"
            ) from None
        for name in products:
            for leftover in path.parent.glob(f".{name}.*.tmp"):
                leftover.unlink(missing_ok=True)
        yield
