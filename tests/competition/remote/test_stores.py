"""Which packages read which addresses; what is copied is what the store says it has."""

import base64
import hashlib
import logging
import sys
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from pipeline.competition.remote.copies import copy_root
from pipeline.competition.remote.stores import open_store
from pipeline.files import InputError
from pipeline.log import log, say, with_log
from pipeline.quoting import without_secrets
from pipeline.roots import copy_dir, is_address, local_root

GOOD, BAD = b"one", b"0ne"
MD5, SHA256 = hashlib.md5(GOOD), hashlib.sha256(GOOD)
GIT = hashlib.sha1(b"blob 3\0one").hexdigest()  # git hash-object
TOLD = {
    "gs": {"md5Hash": base64.b64encode(MD5.digest()).decode()},
    "hf, large": {"lfs": {"sha256": SHA256.hexdigest()}, "blob_id": "0" * 40},
    "hf, small": {"lfs": None, "blob_id": GIT},
    "http": {"Content-MD5": base64.b64encode(MD5.digest()).decode()},
    "http digest": {"Digest": f"adler=3,sha-256={base64.b64encode(SHA256.digest()).decode()}"},
}


@pytest.mark.parametrize("more", TOLD.values(), ids=TOLD)
def test_bytes_are_those_that_the_store_tells_of(store, more: dict[str, object]) -> None:
    store.more["train/1.png"] = more
    store.read["train/1.png"] = [BAD, GOOD]
    assert (copy_root(store.address) / "train" / "1.png").read_bytes() == GOOD
    assert store.opened.count("train/1.png") == 2


def test_bytes_that_stay_others_are_refused(store) -> None:
    store.more["train/1.png"] = TOLD["gs"]
    store.put("train/1.png", BAD)
    with pytest.raises(InputError, match=r"train/1\.png must be had whole from memory://birds\. Got: .* whose md5 is "):
        copy_root(store.address)
    assert not (local_root(store.address) / "train" / "1.png").exists()


@pytest.mark.parametrize("text", ["not base64!", "AAAA", ""])
def test_a_sum_that_is_none_says_nothing(store, text: str) -> None:
    store.more["train/1.png"] = {"md5Hash": text, "Digest": text, "ETag": text}
    assert (copy_root(store.address) / "train" / "1.png").read_bytes() == GOOD


@pytest.mark.parametrize("content", [b"on", b"ones", b""])
def test_another_length_is_refused(store, content: bytes) -> None:
    store.read["train/1.png"] = [content] * 9
    with pytest.raises(InputError, match=rf"train/1\.png must be had whole .* {len(content)} bytes instead of 3"):
        copy_root(store.address)


@pytest.fixture
def bucket(store, monkeypatch: pytest.MonkeyPatch) -> str:
    """The store under S3's protocol, with an md5 as each file's ETag."""
    monkeypatch.setattr(MemoryFileSystem, "protocol", ("memory", "s3"))
    strip = MemoryFileSystem._strip_protocol
    bare = classmethod(lambda cls, path: strip(path.removeprefix("s3://")))
    monkeypatch.setattr(MemoryFileSystem, "_strip_protocol", bare)
    monkeypatch.setitem(sys.modules["fsspec.registry"]._registry, "s3", MemoryFileSystem)
    for name, content in store.files.items():
        store.more[name] = {"ETag": f'"{hashlib.md5(content).hexdigest()}"'}
    return "s3://birds"


def test_an_etag_of_s3_is_an_md5(store, bucket: str) -> None:
    store.read["train/1.png"] = [BAD, GOOD]
    assert (copy_root(bucket) / "train" / "1.png").read_bytes() == GOOD
    assert sorted(store.opened) == sorted([*store.files, "train/1.png"])


def test_an_etag_that_the_same_bytes_twice_contradict_is_none(store, bucket: str) -> None:
    """S3's of a file that it encrypts by a key of its own."""
    store.more["train/1.png"] = {"ETag": '"' + "0" * 32 + '"'}
    assert (copy_root(bucket) / "train" / "1.png").read_bytes() == GOOD
    assert store.opened.count("train/1.png") == 2


@pytest.mark.parametrize(
    ("address", "package"),
    [("s3://b/c", "s3fs"), ("gs://b/c", "gcsfs"), ("gcs://b", "gcsfs"), ("hf://datasets/a/b", "huggingface_hub")],
)
def test_the_package_that_lacks_is_named(monkeypatch: pytest.MonkeyPatch, address: str, package: str) -> None:
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, address.partition(":")[0], raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=f"^{address} must have the package that reads it. .*: pip install {package}$"):
        open_store(address)


def test_the_package_of_web_servers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with pytest.raises(InputError, match=r"^https://host/a must have .*: pip install aiohttp$"):
        open_store("https://me:secret@host/a?token=x")


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(InputError, match=r"^nowhere://a must be an address that fsspec reads\. Got: .*nowhere"):
        open_store("nowhere://a")


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("s3://bucket/birds", "birds"),
        ("s3://bucket/", "bucket"),
        ("gs://bucket/a/b/", "b"),
        ("hf://datasets/owner/birds", "birds"),
        ("https://host/a/birds.tar.gz?download=1", "birds"),
        ("https://me:secret@host/%EC%83%88%20.zip", "\uc0c8_"),
        ("https://host/..", "competition"),
    ],
)
def test_a_competition_is_named_by_its_address(address: str, name: str) -> None:
    assert is_address(address) and local_root(address).name == name
    assert copy_dir(address).parent == Path("output/cache") and copy_dir(address).name.startswith(f"{name}-root-")


def test_addresses_share_no_folder_unless_their_user_alone_differs() -> None:
    folders = {copy_dir(address) for address in ("s3://a/birds", "s3://b/birds", "gs://a/birds", "https://a/birds.zip")}
    assert len(folders) == 4
    assert copy_dir("https://me:secret@a/birds.zip") == copy_dir("https://a/birds.zip")
    assert not is_address("input/birds") and not is_address("C:/birds") and local_root("a/b") == Path("a/b")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("get https://me:secret@host/a.zip now", "get https://host/a.zip now"),
        ("s3://key:p@ss@host/b", "s3://host/b"),
        ("https://host/a?X-Amz-Signature=1&b=2; again", "https://host/a again"),
        ("hf://datasets/a/b@main is it? yes", "hf://datasets/a/b@main is it? yes"),
        ("me@example.org wrote a?b", "me@example.org wrote a?b"),
    ],
)
def test_what_is_said_holds_no_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, shown: str
) -> None:
    assert without_secrets(text) == shown
    say(text, sys.stdout)
    with_log(tmp_path)
    log.info("%s", text)
    logging.shutdown()
    assert capsys.readouterr().out == f"{shown}\n{shown}\n"
    assert (tmp_path / "log.txt").read_text().endswith(f" {shown}\n")
    with_log(None)
