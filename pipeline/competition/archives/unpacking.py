"""Unpacking one archive: zip, tar (packed by gzip, bzip2 or xz, or not), 7z, and single files packed by gzip.

What an archive is, its first bytes say, not its name: many a `.tar.gz` is a plain tar. Nothing is written outside the
target, links and devices are refused, and no more is written than there may be.
"""

import gzip
import lzma
import os
import posixpath
import re
import shutil
import stat
import sys
import tarfile
import tempfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from pipeline.archive_names import stem
from pipeline.bars import bar
from pipeline.files import InputError, is_utf8

T = TypeVar("T")
_CHUNK = 1 << 20
# A file takes a block of the disk, however few bytes it has.
_BLOCK = 4096
_BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    gzip.BadGzipFile,
    NotImplementedError,
    RuntimeError,
)


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


@dataclass
class Room:
    """Bytes that may still be unpacked; each file counts as a block of 4 kB at least."""

    limit: float
    left: float = field(init=False)

    def __post_init__(self) -> None:
        self.left = self.limit

    def take(self, count: float, path: Path) -> None:
        """Use some bytes.

        Raises:
            InputError: there is not as much left.
        """
        self.left -= count
        if self.left < 0:
            raise InputError(
                f"{path} must unpack to {self.limit / 1e9:g} GB at most, with all other archives. It does not; raise "
                "data.unpack_limit, or unpack by hand what is needed"
            )


def clean_name(name: str) -> str:
    """Write a name in composed Unicode (NFC); bytes that are no UTF-8, as Korean Windows writes, are read as CP949."""
    if not is_utf8(name):
        name = os.fsencode(name).decode("cp949", errors="replace")
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def unpack(path: Path, target: Path, room: Room) -> None:
    """Unpack an archive into a folder that does not exist yet; it is there only when it is whole.

    Args:
        path: the archive.
        target: the folder.
        room: what may be unpacked.

    Raises:
        InputError: the archive is not whole, needs a password, holds links or paths that lead out of it, or unpacks to
            more than there is room for.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=".", suffix=".tmp"))
    try:
        try:
            for name, content in _members(path, scratch, room):
                _write(scratch / "files" / _inside(path, name), content, room, path)
        except _broken_7z() as error:
            text = str(error).strip() or type(error).__name__
            raise InputError(
                f"{path} must be a whole archive. Got: {text}. Download it again, or move it away where it is not "
                "needed"
            ) from None
        (scratch / "files").mkdir(exist_ok=True)
        # One wait for the disk, not one for each file.
        os.sync()
        os.rename(scratch / "files", target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _members(path: Path, scratch: Path, room: Room) -> Iterator[tuple[str, _Readable]]:
    """Give name and content of each file in an archive."""
    with path.open("rb") as stream:
        start = stream.read(6)
    if start[:4] in (b"PK\3\4", b"PK\5\6"):
        yield from _zip_members(path)
    elif start == b"7z\xbc\xaf\x27\x1c":
        yield from _7z_members(path, scratch, room)
    elif posixpath.splitext(stem(path.name))[1].lower() in (".csv", ".tsv", ".json") and path.suffix.lower() == ".gz":
        with gzip.open(path) as content:
            yield stem(path.name), content
    else:
        yield from _tar_members(path)


def _zip_members(path: Path) -> Iterator[tuple[str, _Readable]]:
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        if any(member.flag_bits & 1 for member in members):
            raise InputError(f"{path} must not need a password. It does; unpack it by hand and move it away")
        for link in (member for member in members if stat.S_ISLNK(member.external_attr >> 16)):
            raise InputError(_no_links(path, link.filename))
        names = _zip_names(members)
        for name, member in zip(names, _shown(members, path, len(members)), strict=True):
            with archive.open(member) as content:
                yield name, content


def _zip_names(members: list[zipfile.ZipInfo]) -> list[str]:
    """Read the members' names: what is not marked as UTF-8 is UTF-8 too, or CP949, or else what zip's norm says."""
    marked = [bool(member.flag_bits & 0x800) for member in members]
    raw = [member.filename.encode("cp437", "ignore") for member, utf8 in zip(members, marked, strict=True) if not utf8]
    encoding = next((name for name in ("utf-8", "cp949", "cp437") if _all_in(raw, name)), "cp437")
    return [
        member.filename if utf8 else member.filename.encode("cp437", "ignore").decode(encoding)
        for member, utf8 in zip(members, marked, strict=True)
    ]


def _all_in(names: Iterable[bytes], encoding: str) -> bool:
    try:
        for name in names:
            name.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _tar_members(path: Path) -> Iterator[tuple[str, _Readable]]:
    with tarfile.open(path, "r:*") as archive:
        for member in _shown(archive, path, None):
            if member.isdir():
                continue
            if not member.isfile():
                raise InputError(_no_links(path, member.name))
            content = archive.extractfile(member)
            assert content is not None
            yield clean_name(member.name), content
        # To the end, where a packed stream's checksum is.
        while archive.fileobj is not None and archive.fileobj.read(_CHUNK):
            pass


def _7z_members(path: Path, scratch: Path, room: Room) -> Iterator[tuple[str, _Readable]]:
    try:
        import py7zr
    except ImportError:
        raise InputError(
            f"{path} needs the package py7zr. Install it (pip install py7zr), or unpack it by hand"
        ) from None
    with py7zr.SevenZipFile(path) as archive:
        if archive.needs_password():
            raise InputError(f"{path} must not need a password. It does; unpack it by hand and move it away")
        members = [member for member in archive.list() if not member.is_directory]
        for link in (member for member in members if member.is_symlink):
            raise InputError(_no_links(path, link.filename))
        # It is written twice, as the library writes all files itself; counted once, below.
        size = sum(member.uncompressed or 0 for member in members)
        room.take(size, path)
        room.left += size
        for member in members:
            _inside(path, member.filename)
        archive.extractall(scratch / "raw")
    for member in _shown(members, path, len(members)):
        file = scratch / "raw" / member.filename
        with file.open("rb") as content:
            yield member.filename, content
        file.unlink()


def _broken_7z() -> tuple[type[Exception], ...]:
    """List the errors that say that an archive is broken."""
    module = sys.modules.get("py7zr.exceptions")
    return (*_BROKEN, module.ArchiveError) if module else _BROKEN


def _inside(path: Path, name: str) -> str:
    """Give a member's path below the folder that it is unpacked into.

    Raises:
        InputError: it leads elsewhere.
    """
    name = clean_name(name.replace("\\", "/"))
    components = [component for component in name.split("/") if component not in ("", ".")]
    if not components or ".." in components or name.startswith("/") or re.match(r"[A-Za-z]:", name) or "\0" in name:
        raise InputError(
            f"{path} must hold paths below its own folder. Got {name!r}; unpack it by hand and move it away"
        )
    return "/".join(components)


def _no_links(path: Path, name: str) -> str:
    return f"{path} must hold files alone. Got {name!r}, a link or a device; unpack it by hand and move it away"


def _write(target: Path, content: _Readable, room: Room, path: Path) -> None:
    """Write one member; what macOS adds to archives is left out."""
    if "__MACOSX" in target.parts or target.name.startswith("._"):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with target.open("wb") as stream:
        while chunk := content.read(_CHUNK):
            size += len(chunk)
            room.take(len(chunk), path)
            stream.write(chunk)
    room.take(max(0, _BLOCK - size), path)


def _shown(members: Iterable[T], path: Path, count: int | None) -> Iterator[T]:
    """Give the members, with a progress bar."""
    with bar(count, f"unpack {path.name}", "file") as shown:
        for member in members:
            yield member
            shown.update()
