"""Web servers as they are: lists of links, servers that give whole files alone, break off, or say a wrong length."""

import base64
import hashlib
import os
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.competition.archives.opened import open_folder
from pipeline.competition.remote import copying, stores
from pipeline.competition.remote.copies import copy_root
from pipeline.files import InputError, walk
from pipeline.log import log
from pipeline.roots import local_root
from web import Web, served

LARGE = bytes(range(256)) * 1000
ROOT = Path(__file__).parents[3]


@pytest.fixture
def web(tmp_path: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """A server of the folder `served`, with a competition in `served/birds`."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(copying, "PAUSES", (0.0, 0.0))
    root = tmp_path / "served" / "birds"
    for name, content in {"train.csv": b"id\n1\n", "train/a/1.png": b"one", "large.bin": LARGE}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    (tmp_path / "served" / "secret.txt").write_bytes(b"not of the competition")
    with served(tmp_path / "served") as server:
        yield server


def here(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in walk(folder)}


def wanted(web: Web) -> dict[str, bytes]:
    return here(web.folder / "birds")


@pytest.fixture
def large(web: Web, monkeypatch: pytest.MonkeyPatch) -> Web:
    """The large file comes in blocks of 50,000 bytes."""
    monkeypatch.setattr(stores, "BLOCK", 50_000)
    monkeypatch.setattr(copying, "BLOCK", 50_000)
    return web


def test_a_folder_is_copied_by_its_links(web: Web) -> None:
    odd = web.folder / "birds" / "train" / "a b & c" / "\u00e9 %20#?;+.png"
    odd.parent.mkdir()
    odd.write_bytes(b"odd")
    folder = copy_root(f"{web.address}/birds")
    assert here(folder) == wanted(web) and folder.name == "birds"
    web.asked.clear()
    copy_root(f"{web.address}/birds/")
    assert not web.bodies(".png") and not web.bodies(".bin"), "one copy, with or without a slash"


def test_what_changed_there_is_copied_again(web: Web) -> None:
    copy_root(f"{web.address}/birds")
    (web.folder / "birds" / "train.csv").write_bytes(b"id\n2\n")
    os.utime(web.folder / "birds" / "train.csv", (1, 1))
    web.asked.clear()
    assert here(copy_root(f"{web.address}/birds"))["train.csv"] == b"id\n2\n" and not web.bodies(".png")


def test_a_changed_etag_tells_what_no_time_tells(web: Web) -> None:
    for etag in ("a", "b"):
        web.headers[".csv"] = {"ETag": f'"{etag}"', "Last-Modified": "Thu, 01 Jan 1970 00:00:01 GMT"}
        (web.folder / "birds" / "train.csv").write_text(f"id\n{etag}\n")
        assert here(copy_root(f"{web.address}/birds")) == wanted(web)


@pytest.mark.parametrize("suffix", ["", "?download=1"])
def test_an_archive_is_copied_and_unpacked(web: Web, suffix: str) -> None:
    with zipfile.ZipFile(web.folder / "fish.zip", "w") as archive:
        archive.writestr("fish/train.csv", "id\n")
        archive.writestr("fish/train/1.png", "1")
    folder = copy_root(f"{web.address}/fish.zip{suffix}")
    assert folder.name == "fish" and list(walk(folder)) == ["fish.zip"]
    assert sorted(walk(open_folder(folder, 1.0))) == ["fish/train.csv", "fish/train/1.png"]


@pytest.mark.parametrize("times", [1, 3])
def test_a_server_that_breaks_off_is_asked_for_the_rest(large: Web, times: int) -> None:
    large.ranges = True
    large.break_after["large.bin"] = (40_000, times)
    large.is_read = lambda: sum_of(local_root(f"{large.address}/birds").parent / "parts") >= 40_000
    assert here(copy_root(f"{large.address}/birds")) == wanted(large)
    first, second, *more = large.bodies("large.bin")
    assert (first, second) == ("", "bytes=40000-89999")
    # What brought it no further was too much at a time.
    assert more[0] == ("bytes=90000-139999" if times == 1 else "bytes=40000-46249")


def test_a_file_that_is_replaced_while_it_is_copied_is_not_mixed(large: Web) -> None:
    """By one of the same length, between its first bytes and the rest."""
    large.ranges = True
    large.break_after["large.bin"] = (40_000, 1)
    path = large.folder / "birds" / "large.bin"

    def is_read() -> bool:
        if sum_of(local_root(f"{large.address}/birds").parent / "parts") < 40_000:
            return False
        path.write_bytes(LARGE[::-1])
        os.utime(path, (1, 1))
        return True

    large.is_read = is_read
    for _ in range(2):
        assert here(copy_root(f"{large.address}/birds")) == wanted(large)
    assert large.bodies("large.bin").count("") == 3, "begun, begun anew, and copied again as it has another version"


def test_a_server_that_breaks_off_every_block_is_asked_for_smaller_ones(large: Web) -> None:
    """After 20,000 bytes each time, of blocks of 50,000."""
    large.ranges = True
    large.break_after["large.bin"] = (20_000, 10**6)
    large.is_read = lambda: True
    assert here(copy_root(f"{large.address}/birds")) == wanted(large)


def test_without_ranges_a_broken_file_begins_again(large: Web) -> None:
    large.break_after["large.bin"] = (40_000, 1)
    large.is_read = lambda: sum_of(local_root(f"{large.address}/birds").parent / "parts") >= 40_000
    assert here(copy_root(f"{large.address}/birds")) == wanted(large)
    assert large.bodies("large.bin") == ["", "bytes=40000-89999", ""]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_server_that_always_breaks_off_is_given_up(large: Web, ranges: bool) -> None:
    large.ranges = ranges
    large.break_after["large.bin"] = (0, 10**6)
    with pytest.raises(InputError, match=r"^large\.bin must be had whole from http://127\.0\.0\.1:\d+/birds\. Got: "):
        copy_root(f"{large.address}/birds")
    assert not (local_root(f"{large.address}/birds") / "large.bin").exists()
    large.break_after.clear()
    assert here(copy_root(f"{large.address}/birds")) == wanted(large), "the same command goes on"


@pytest.mark.parametrize("length", ["3", "260000"])
def test_a_wrong_length_is_no_whole_file(web: Web, length: str) -> None:
    web.headers["large.bin"] = {"Content-Length": length}
    if length == "3":  # what is more than it says belongs to no answer: the file of three bytes is refused by its sum
        web.headers["large.bin"]["Content-MD5"] = base64.b64encode(hashlib.md5(LARGE).digest()).decode()
    web.break_after["large.bin"] = (10**9, 10**9)  # it hangs up behind the body
    with pytest.raises(InputError, match=r"^large\.bin must be had whole"):
        copy_root(f"{web.address}/birds")
    assert not (local_root(f"{web.address}/birds") / "large.bin").exists()


def test_links_that_lead_elsewhere_are_not_followed(
    web: Web, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(log, "propagate", True)
    elsewhere = "/ ../ ?C=N;O=D #top mailto:me@example.org javascript:void(0) /secret.txt //example.org/x.png"
    out = "../secret.txt %2e%2e/secret.txt train/..%2f..%2f../secret.txt ..%5csecret.txt"
    inside = "./train.csv train/ train.csv#here"
    links = f"{elsewhere} http://example.org/x.png {out} {inside}".split()
    text = "".join(f'<a href="{link}">x</a>' for link in links)
    web.pages["/birds/"] = text
    copied = here(copy_root(f"{web.address}/birds"))
    assert copied == {"train.csv": b"id\n1\n", "train/a/1.png": b"one"}
    assert "/birds: 4 links that lead out of it are passed over" in caplog.text
    assert not web.bodies("secret.txt")


@pytest.mark.parametrize("name", ["a%2F%2Fb", "%00", "n" * 256, "train.csv%2F1.png"])
def test_names_that_cannot_lie_in_a_folder_are_refused(web: Web, name: str) -> None:
    web.pages["/birds/"] = f'<a href="train.csv">a</a><a href="{name}">b</a>'
    web.pages[f"/birds/{name}"] = "content"
    with pytest.raises(InputError):
        copy_root(f"{web.address}/birds")
    assert not local_root(f"{web.address}/birds").exists()


def test_a_list_without_an_end_is_left(web: Web) -> None:
    path = "/birds/"
    for _ in range(60):
        web.pages[path] = '<a href="more/">more</a>'
        path += "more/"
    with pytest.raises(InputError, match=r"must list 100,000 folders at most, 32 deep\. It goes on"):
        copy_root(f"{web.address}/birds")


def test_an_address_without_files_is_refused(web: Web) -> None:
    web.pages["/empty/"] = "<p>nothing</p>"
    web.pages["/empty"] = "<p>nothing</p>"
    with pytest.raises(InputError, match=r"/empty must hold files\. None are listed there"):
        copy_root(f"{web.address}/empty")
    with pytest.raises(InputError, match=r"/none must be reached to copy its files\. Got: FileNotFoundError"):
        copy_root(f"{web.address}/none")


def test_without_a_network_what_is_here_is_used(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(web.folder) as gone:
        folder = copy_root(f"{gone.address}/birds")
    assert copy_root(f"{gone.address}/birds") == folder and here(folder) == wanted(web)
    (folder / "train.csv").unlink()
    with pytest.raises(InputError, match=r"must be reached: 1 of its 3 files are not here whole"):
        copy_root(f"{gone.address}/birds")


def test_a_password_is_used_and_not_written(web: Web) -> None:
    address = web.address.replace("//", "//me:s3cret@")
    folder = copy_root(f"{address}/birds")
    assert here(folder) == wanted(web)
    assert not [path for path in folder.parent.rglob("*") if path.is_file() and b"s3cret" in path.read_bytes()]


def test_a_killed_copy_goes_on(large: Web) -> None:
    """Whole files are not asked for again, and the half one from its middle on."""
    large.ranges = True
    address = f"{large.address}/birds"
    half, going_on = threading.Event(), threading.Event()
    large.holds["large.bin"] = (120_000, half, going_on)
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom pipeline.competition.remote import copies, copying\n"
    code += f"copying.BLOCK = 50_000\ncopies.copy_root({address!r})"
    with subprocess.Popen([sys.executable, "-c", code]) as child:
        notes, parts = local_root(address).parent / "copied.jsonl", local_root(address).parent / "parts"
        assert half.wait(60)
        # It is half written, and all others are whole: nothing else happens until it is killed.
        while not (notes.is_file() and len(notes.read_text().splitlines()) == 2 and sum_of(parts) >= 50_000):
            assert child.poll() is None
        os.kill(child.pid, signal.SIGKILL)
    going_on.set()
    large.holds.clear()
    large.asked.clear()
    there = sum_of(parts)
    assert 50_000 <= there <= 120_000
    assert here(copy_root(address)) == wanted(large)
    assert not large.bodies(".csv") and not large.bodies(".png")
    assert large.bodies("large.bin")[0].startswith(f"bytes={there}-")


def sum_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())
