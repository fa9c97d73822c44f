"""The copy of a competition that lies in a store: made once, mended where either side has changed, never half used."""

import errno
import hashlib
import logging
import os
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

from pipeline.competition.remote import copies, copying
from pipeline.competition.remote.copies import copy_root
from pipeline.competition.remote.listing import list_files
from pipeline.competition.remote.stores import open_store
from pipeline.files import InputError, walk
from pipeline.log import log
from pipeline.roots import copy_dir, local_root


def here(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in walk(folder)}


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(log, "propagate", True)
    caplog.set_level(logging.INFO, log.name)
    return caplog


def test_files_are_copied_once(store, said) -> None:
    folder = copy_root(store.address)
    assert here(folder) == store.files and folder == local_root(store.address) and folder.name == "birds"
    assert sorted(store.opened) == sorted(store.files)
    assert "copying 4 files, 0.0 MB from memory://birds" in said.messages
    assert sorted(os.listdir(folder.parent)) == ["birds", "copied.jsonl", "listing.json", "lock"], (
        "nothing is left over"
    )
    store.opened.clear()
    assert copy_root(f"{store.address}/") == folder and store.opened == [] and len(said.messages) == 1


def test_what_changed_at_the_source_is_copied_again(store) -> None:
    copy_root(store.address)
    store.put("train/1.png", b"ONE")  # as many bytes as before
    store.put("new.csv", b"n")
    store.remove("train/deep/2.png")
    folder = copy_root(store.address)
    wanted = {**store.files, "train/1.png": b"ONE", "new.csv": b"n"}
    del wanted["train/deep/2.png"]
    assert here(folder) == wanted and sorted(store.opened) == ["new.csv", "train/1.png"]
    assert not (folder / "train" / "deep").exists()
    store.remove("new.csv")
    store.put("new.csv/deep.csv", b"d")  # a folder where a file was
    assert here(copy_root(store.address))["new.csv/deep.csv"] == b"d"
    store.remove("new.csv/deep.csv")
    store.put("new.csv", b"n")  # and a file again
    assert here(copy_root(store.address))["new.csv"] == b"n"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1])


def flipped(path: Path) -> None:
    content, status = path.read_bytes(), path.stat()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("damage", [cut, flipped, Path.unlink], ids=["cut", "flipped", "lost"])
def test_a_damaged_file_is_found_and_copied_again(store, damage: Callable[[Path], None]) -> None:
    folder = copy_root(store.address)
    damage(folder / "train" / "1.png")
    store.opened.clear()
    assert here(copy_root(store.address)) == store.files and store.opened == ["train/1.png"]


def test_a_file_that_was_only_touched_stays(store) -> None:
    folder = copy_root(store.address)
    os.utime(folder / "train" / "1.png", ns=(1, 1))
    store.opened.clear()
    assert here(copy_root(store.address)) == store.files and store.opened == []


def test_a_note_that_is_half_written_costs_one_file(store) -> None:
    folder = copy_root(store.address)
    notes = folder.parent / "copied.jsonl"
    notes.write_bytes(notes.read_bytes()[:-9])
    store.opened.clear()
    assert here(copy_root(store.address)) == store.files and len(store.opened) == 1


def test_without_a_network_what_is_here_is_used(store, said) -> None:
    folder = copy_root(store.address)
    store.opened.clear()
    store.lost = ConnectionRefusedError(111, "Connection refused")
    assert copy_root(store.address) == folder and here(folder) == store.files and store.opened == []
    line = "memory://birds is not reached (ConnectionRefusedError: [Errno 111] Connection refused); what was copied"
    assert said.messages[1:] == [f"{line} from it is used"]
    (folder / "train.csv").unlink()
    with pytest.raises(InputError, match=r"must be reached: 1 of its 4 files are not here whole\. Got: Connection"):
        copy_root(store.address)


def test_without_a_network_and_a_copy_there_is_nothing(store) -> None:
    store.lost = TimeoutError("no answer")
    with pytest.raises(
        InputError, match=r"^memory://birds must be reached to copy its files\. Got: Time.*: no answer$"
    ):
        copy_root(store.address)


@pytest.mark.parametrize(
    "name",
    [
        "../up.png",
        "a/../../up.png",
        "..",
        "/absolute.png",
        "a//b.png",
        "./a.png",
        "a\\..\\..\\b",
        "n" * 256,
        "a\0b",
        "\udc80.png",
    ],
)
def test_names_that_cannot_lie_in_a_folder_are_refused(store, workplace: Path, name: str) -> None:
    memory = fsspec.filesystem("memory")
    memory.store[f"/birds/{name}"] = memory.store["/birds/train.csv"]
    with pytest.raises(InputError, match="memory://birds must"):
        copy_root(store.address)
    assert store.opened == [] and not local_root(store.address).exists()


def test_a_file_under_a_file_is_refused(store) -> None:
    memory = fsspec.filesystem("memory")
    memory.store["/birds/train.csv/1.png"] = memory.store["/birds/train.csv"]
    with pytest.raises(InputError, match=r"Got 'train\.csv/1\.png' \('train\.csv' is a file too\); rename it there"):
        copy_root(store.address)


def test_the_longest_name_and_odd_ones_are_copied(store) -> None:
    for name in ("n" * 255, "a b/\u00e9 #?%20.png", "...", "a..b"):
        store.put(name, name.encode())
        store.files[name] = name.encode()
    assert here(copy_root(store.address)) == store.files


def test_an_empty_address_is_refused(store) -> None:
    with pytest.raises(InputError, match=r"memory://fish must hold files\. None are listed there"):
        copy_root("memory://fish")


def test_one_archive_is_a_competition(store) -> None:
    store.put("whole/fish.zip", b"z")
    folder = copy_root("memory://birds/whole/fish.zip")
    assert here(folder) == {"fish.zip": b"z"} and folder.name == "fish"


def test_there_must_be_room_on_the_disk(store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "DISK_RESERVE", 10**18)
    with pytest.raises(InputError, match=r"the disk must have room for 0\.0 MB from memory://birds, and leave"):
        copy_root(store.address)
    assert store.opened == []
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(copies, "DISK_RESERVE", 10)
    monkeypatch.setattr(copies.shutil, "disk_usage", lambda path: usage(sum(map(len, store.files.values())) + 10))
    assert here(copy_root(store.address)) == store.files


def test_a_full_disk_is_said_at_once(store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(copying.os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as raised:
        copy_root(store.address)
    assert not isinstance(raised.value, InputError) and len(store.opened) == len(set(store.opened))


def test_a_copy_that_is_stopped_leaves_what_it_has(store, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "BLOCK", 5)
    source = open_store(store.address)
    entry = next(entry for entry in list_files(source) if entry.name == "train.csv")
    steps: list[int] = []
    copier = copying.Copier(source, workplace, steps.append)
    copier.stopped.set()
    with pytest.raises(copying.StoppedError):
        copier.copy(entry)
    assert copier.part(entry).read_bytes() == store.files["train.csv"][:5] and steps == [5]
    copier.stopped.clear()
    assert copier.copy(entry) == hashlib.sha256(store.files["train.csv"]).hexdigest()
    assert copier.part(entry).read_bytes() == store.files["train.csv"] and sum(steps) == len(store.files["train.csv"])


HOLDER = """
import fcntl, sys
with open(sys.argv[1], "a") as stream:
    fcntl.lockf(stream, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
    open(sys.argv[2], "w").close()
"""


def test_the_second_process_waits_for_the_first(store) -> None:
    folder = copy_dir(store.address)
    folder.mkdir(parents=True)
    command = [sys.executable, "-I", "-S", "-c", HOLDER, str(folder / "lock"), "released"]
    store.when_asked = lambda: released.append(Path("released").is_file())
    released: list[bool] = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"

        class Ends(logging.Handler):
            """The first process is done as soon as the second says that it waits."""

            def emit(self, record: logging.LogRecord) -> None:
                if "the copy of memory://birds is being made by another process; waiting" in record.getMessage():
                    assert holder.stdin is not None and not local_root(store.address).exists()
                    holder.stdin.close()

        log.addHandler(handler := Ends())
        log.setLevel(logging.INFO)
        try:
            folder = copy_root(store.address)
        finally:
            log.removeHandler(handler)
        assert holder.wait() == 0 and here(folder) == store.files and released == [True]
