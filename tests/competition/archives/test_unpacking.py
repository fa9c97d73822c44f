"""Unpacking: every kind to the same files, nothing outside the folder, nothing half."""

import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.archive_names import is_archive, stem
from pipeline.competition.archives.unpacking import Room, clean_name, unpack
from pipeline.files import InputError

FILES = {"a/1.txt": b"one", "a/b/2.txt": b"two" * 10_000, "강아지.txt": b"dog"}


def as_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in FILES.items():
            archive.writestr(name, content)


def as_tar(mode: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with tarfile.open(path, mode) as archive:
            for name, content in FILES.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))

    return make


def as_7z(path: Path) -> None:
    py7zr = pytest.importorskip("py7zr")
    with py7zr.SevenZipFile(path, "w") as archive:
        for name, content in FILES.items():
            archive.writestr(content, name)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


MAKERS = {
    "x.zip": as_zip,
    "x.tar": as_tar("w"),
    "x.tar.gz": as_tar("w:gz"),
    "plain.tar.gz": as_tar("w"),
    "x.tgz": as_tar("w:bz2"),
    "x.tar.xz": as_tar("w:xz"),
    "x.7z": as_7z,
    "really-7z.zip": as_7z,
}


@pytest.mark.parametrize("name", MAKERS)
def test_every_kind_gives_the_same_files(tmp_path: Path, name: str) -> None:
    MAKERS[name](tmp_path / name)
    unpack(tmp_path / name, tmp_path / "out", Room(1e9))
    assert contents(tmp_path / "out") == FILES
    assert {path.name for path in tmp_path.iterdir()} == {"out", name}, "no scratch is left"


@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz", "x.7z", "x.tar.xz"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_a_part_of_an_archive_is_refused_and_leaves_nothing(tmp_path: Path, name: str, part: float) -> None:
    MAKERS[name](tmp_path / name)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(part * len(data))])
    with pytest.raises(InputError, match=f"{name} must be a whole archive"):
        unpack(tmp_path / name, tmp_path / "out", Room(1e9))
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_single_packed_table(tmp_path: Path) -> None:
    (tmp_path / "train.csv.gz").write_bytes(gzip.compress(b"id\n1\n"))
    unpack(tmp_path / "train.csv.gz", tmp_path / "out", Room(1e9))
    assert contents(tmp_path / "out") == {"train.csv": b"id\n1\n"}


def test_korean_names_of_windows(tmp_path: Path) -> None:
    name = "학습/강아지.jpg"
    raw = name.encode("cp949")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("A" * len(raw), b"dog")
    data = (tmp_path / "x.zip").read_bytes().replace(b"A" * len(raw), raw)
    (tmp_path / "x.zip").write_bytes(data)
    unpack(tmp_path / "x.zip", tmp_path / "out", Room(1e9))
    assert contents(tmp_path / "out") == {name: b"dog"}


@pytest.mark.parametrize("name", ["../up.txt", "/etc/up.txt", "a/../../up.txt", "C:\\up.txt", "..\\up.txt"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_no_path_leads_out(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / f"x.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(zipfile.ZipInfo(name), b"x")
    else:
        with tarfile.open(path, "w") as tar:
            tar.addfile(tarfile.TarInfo(name))
    with pytest.raises(InputError, match="must hold paths below its own folder"):
        unpack(path, tmp_path / "in" / "out", Room(1e9))
    assert not list(tmp_path.rglob("up.txt"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        member = tarfile.TarInfo("link")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(InputError, match="'link', a link or a device"):
        unpack(tmp_path / "x.tar", tmp_path / "out", Room(1e9))


def test_links_in_a_zip_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        member = zipfile.ZipInfo("link")
        member.external_attr = 0o120777 << 16
        archive.writestr(member, "/etc/passwd")
    with pytest.raises(InputError, match="a link or a device"):
        unpack(tmp_path / "x.zip", tmp_path / "out", Room(1e9))


@pytest.mark.parametrize("name", ["x.zip", "x.tar.xz", "x.7z"])
def test_a_bomb_is_stopped(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FILES, "zeros", bytes(20_000_000))
    MAKERS[name](tmp_path / name)
    with pytest.raises(InputError, match=r"at most.*data.unpack_limit"):
        unpack(tmp_path / name, tmp_path / "out", Room(1e6))
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_many_empty_files_are_a_bomb_too(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for number in range(300):
            archive.writestr(str(number), b"")
    with pytest.raises(InputError, match="at most"):
        unpack(tmp_path / "x.zip", tmp_path / "out", Room(1e6))


def test_a_zip_that_lies_about_its_sizes(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(5_000_000))
    data = (tmp_path / "x.zip").read_bytes()
    (tmp_path / "x.zip").write_bytes(data.replace(struct.pack("<I", 5_000_000), struct.pack("<I", 10)))
    with pytest.raises(InputError):
        unpack(tmp_path / "x.zip", tmp_path / "out", Room(1e6))


def test_a_password_is_said(tmp_path: Path) -> None:
    as_zip(tmp_path / "x.zip")
    data = bytearray((tmp_path / "x.zip").read_bytes())
    for mark, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        place = 0
        while (place := data.find(mark, place)) >= 0:
            data[place + offset] |= 1
            place += 4
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(InputError, match="must not need a password"):
        unpack(tmp_path / "x.zip", tmp_path / "out", Room(1e9))


def test_names() -> None:
    assert is_archive("a/train.ZIP") and is_archive("t.csv.gz") and not is_archive("brain.nii.gz")
    assert not is_archive(".hidden.zip") and not is_archive("zip")
    assert stem("a/train.tar.gz") == "a/train" and stem("t.csv.gz") == "t.csv" and stem("x.7z") == "x"
    assert clean_name("강") == "강"
