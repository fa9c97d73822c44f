"""What files a store has, under which names they may lie here, and what it says of their bytes."""

import base64
import binascii
import html
import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from pipeline.archive_names import is_archive
from pipeline.competition.remote.stores import Store
from pipeline.files import InputError, digest, inside
from pipeline.log import log
from pipeline.quoting import shown
from pipeline.roots import local_root

# What says that a file's bytes are others, most telling first; times only where nothing else does.
_TELLING = ("sha256", "blob_id", "md5Hash", "ETag", "etag", "Content-MD5", "Digest", "generation")
_TIMES = ("LastModified", "Last-Modified", "last_modified", "mtime", "updated", "created")
# Bytes of a name between two `/`: no common filesystem has longer ones.
_LONGEST_NAME = 255
# Pages and folders in folders that a web server lists: one that goes on and on is never done.
_MOST_PAGES, _DEEPEST = 100_000, 32
# Questions at a time.
_AT_ONCE = 16


@dataclass(frozen=True)
class Entry:
    """A file of a store.

    name: its path below the root, as it will be here; path: as the store's filesystem names it.
    size: bytes; None where the store does not say.
    tag: what tells its version from another; sums: of its bytes, hexadecimal, by their kind.
    """

    name: str
    path: str
    size: int | None
    tag: str
    sums: Mapping[str, str] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """The file and its version in one short text."""
        return digest([self.name, self.size, self.tag])[:16]


def list_files(store: Store) -> list[Entry]:
    """List a store's files, sorted by name.

    Raises:
        InputError: there are none, or one has a name under which it cannot lie here.
        Exception: one of `Store.failures`: the store is not reached.
    """
    found = _on_pages(store) if store.is_http else _below(store)
    entries = sorted((_entry(name, info, store) for name, info in found), key=lambda entry: entry.name)
    if not entries:
        raise InputError(f"{store.shown} must hold files. None are listed there")
    _must_have_names(store, [entry.name for entry in entries])
    return entries


def _below(store: Store) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give name and description of each file below a path, or of the one at it."""
    root = store.path.rstrip("/")
    for path, info in store.filesystem.find(store.path, detail=True).items():
        if path.endswith("/") and not info.get("size"):
            continue  # a folder, as S3's console marks one
        if path.rstrip("/") == root:
            yield root.rpartition("/")[2], info
        elif path.startswith(f"{root}/"):
            yield path[len(root) + 1 :], info
        else:
            raise InputError(f"{store.shown} must list what is below it. Got {shown(path)}")


def _on_pages(store: Store) -> list[tuple[str, dict[str, Any]]]:
    """List the files that a web server's pages link to; or the one archive that the address names."""
    path = urlsplit(store.path).path
    if is_archive(path):
        urls = {unquote(path.rpartition("/")[2]): store.path}
    else:
        urls = _linked(store, store.path.partition("#")[0].rstrip("/") + "/")
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(zip(urls, pool.map(store.filesystem.info, urls.values()), strict=True))


def _linked(store: Store, root: str) -> dict[str, str]:
    """Follow the links of pages that stay below a root; the files' addresses by their names."""
    waiting, seen, files, num_outside = [root], {root}, dict[str, str](), 0
    while waiting:
        folder = waiting.pop()
        for link in store.filesystem.ls(folder, detail=False):
            below = html.unescape(link.partition("#")[0])[len(folder) :].removeprefix("./")
            # What sorts the page, or is no file of a server: mailto:someone.
            if not below or "?" in below or re.match(r"[A-Za-z][\w+.-]*:", below):
                continue
            url = folder + below
            name = unquote(url[len(root) :])
            if ".." in name.replace("\\", "/").split("/"):
                num_outside += 1
            elif not below.endswith("/"):
                files[name] = url
            elif url not in seen:
                seen.add(url)
                waiting.append(url)
                if len(seen) > _MOST_PAGES or name.count("/") > _DEEPEST:
                    raise InputError(
                        f"{store.shown} must list {_MOST_PAGES:,} folders at most, {_DEEPEST} deep. It goes on: {url}"
                    )
    if num_outside:
        log.warning("%s: %s links that lead out of it are passed over", store.shown, f"{num_outside:,}")
    return files


def _entry(name: str, info: Mapping[str, Any], store: Store) -> Entry:
    size = info.get("size")
    return Entry(name, info.get("name") or name, None if size is None else int(size), tag_of(info), _sums(info, store))


def tag_of(info: Mapping[str, Any]) -> str:
    """What in a store's description of a file tells its version from another; "" where nothing does."""
    return next((str(info[key]) for key in (*_TELLING, *_TIMES) if info.get(key)), "")


def _sums(info: Mapping[str, Any], store: Store) -> dict[str, str]:
    """What a store says of a file's bytes that can be computed from them."""
    lfs, etag = info.get("lfs"), str(info.get("ETag") or "").strip('"')
    by_digest = dict(part.strip().partition("=")[::2] for part in str(info.get("Digest") or "").split(","))
    sums = {
        "sha256": (lfs or {}).get("sha256") or _hex(by_digest.get("sha-256") or by_digest.get("SHA-256"), 32),
        "md5": _hex(info.get("md5Hash") or info.get("Content-MD5"), 16),
        # The hash that git has of the file, where it is not that of a pointer to it.
        "git": info.get("blob_id") if not lfs else "",
        "etag": etag if store.has_md5_etags and re.fullmatch(r"[0-9a-f]{32}", etag) else "",
    }
    return {kind: str(value) for kind, value in sums.items() if value}


def _hex(text: Any, num_bytes: int) -> str:
    """A hash as hexadecimal digits; "" for what is none."""
    try:
        value = base64.b64decode(str(text or ""), validate=True)
    except (binascii.Error, ValueError):
        return ""
    return value.hex() if len(value) == num_bytes else ""


def _must_have_names(store: Store, names: Iterable[str]) -> None:
    """Refuse names under which files cannot lie here.

    Raises:
        InputError: one is absolute, climbs out, is too long, no UTF-8, or that of a folder of others.
    """
    names, folder = list(names), local_root(store.address)
    known = set(names)
    for name in names:
        inside(folder, name, f"the names of the files of {store.shown}")
        parts = name.split("/")
        above = next((part for part in ("/".join(parts[:end]) for end in range(1, len(parts))) if part in known), None)
        if above is not None:
            why = f"{shown(above)} is a file too"
        elif any(part in ("", ".") for part in parts):
            why = "a part of it is empty"
        elif any(len(part.encode(errors="replace")) > _LONGEST_NAME for part in parts):
            why = f"more than {_LONGEST_NAME} bytes between two /"
        elif not _is_text(name):
            why = "it is not UTF-8"
        else:
            continue
        raise InputError(
            f"the files of {store.shown} must have names under which they can lie in a folder. Got {shown(name)} "
            f"({why}); rename it there, or copy the files yourself and set data.root to their folder"
        )


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
