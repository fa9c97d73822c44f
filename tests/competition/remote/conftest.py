"""Stores that tests play: files in memory under any protocol, and what is asked of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from pipeline.competition.remote import copying

FILES = {"train.csv": b"id,label\n1,a\n", "train/1.png": b"one", "train/deep/2.png": b"two", "empty.txt": b""}


@dataclass
class PlayedStore:
    """The bucket `birds` of a store in memory.

    opened: the files that were opened to be read; more: what the store says of each file beside its size.
    lost: why it is not reached; when_asked: is called before each list.
    read: what a file gives in place of its bytes, each time that it is opened.
    """

    address: str = "memory://birds"
    files: dict[str, bytes] = field(default_factory=lambda: dict(FILES))
    opened: list[str] = field(default_factory=list)
    more: dict[str, dict[str, Any]] = field(default_factory=dict)
    read: dict[str, list[bytes]] = field(default_factory=dict)
    lost: Exception | None = None
    when_asked: Callable[[], object] = lambda: None

    def put(self, name: str, content: bytes) -> None:
        """Have a file there, or another under its name."""
        fsspec.filesystem("memory").pipe_file(f"/birds/{name}", content)
        self.opened.clear()

    def remove(self, name: str) -> None:
        """Have a file there no longer."""
        del fsspec.filesystem("memory").store[f"/birds/{name}"]


@pytest.fixture
def store(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PlayedStore]:
    """A store with four files, in an empty workplace; nobody waits between two attempts."""
    played, memory = PlayedStore(), fsspec.filesystem("memory")
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]
    monkeypatch.setattr(copying, "PAUSES", (0.0, 0.0))
    opening, finding = MemoryFileSystem.open, MemoryFileSystem.find

    def find(self: MemoryFileSystem, path: str, **options: Any) -> Any:
        played.when_asked()
        if played.lost is not None:
            raise played.lost
        found = finding(self, path, **options)
        return {name: {**info, **played.more.get(name.removeprefix("/birds/"), {})} for name, info in found.items()}

    def open_(self: MemoryFileSystem, path: str, mode: str = "rb", **options: Any) -> Any:
        name = path.removeprefix("/birds/")
        played.opened.append(name)
        if played.read.get(name):
            memory.store[path].seek(0)
            memory.store[path].truncate()
            memory.store[path].write(played.read[name].pop(0))
        return opening(self, path, mode, **options)

    for name, content in played.files.items():
        played.put(name, content)
    monkeypatch.setattr(MemoryFileSystem, "find", find)
    monkeypatch.setattr(MemoryFileSystem, "open", open_)
    yield played
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]
