"""A hub that is played: what lies there, what was asked of it, how often a host was reached for."""

import shutil
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest


@dataclass
class PlayedHub:
    """Stands for the hub and for the network that leads to it.

    files: by repository and name.
    is_reached: whether there is a network.
    asked: what was fetched, in order.
    hosts: each that was reached for, as often as it was.
    """

    files: dict[tuple[str, str], Path] = field(default_factory=dict)
    is_reached: bool = True
    asked: list[str] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)

    def connect(self, address: tuple[str, int], timeout: float) -> socket.socket:
        self.hosts.append(address[0])
        if not self.is_reached:
            raise OSError(101, "Network is unreachable")
        return socket.socket()

    def metadata(self, url: str) -> Any:
        from huggingface_hub.errors import EntryNotFoundError

        repository, _, file = url.removeprefix("https://huggingface.co/").partition("/resolve/main/")
        if (repository, file) not in self.files:
            raise EntryNotFoundError.__new__(EntryNotFoundError)
        return type("Metadata", (), {"size": self.files[repository, file].stat().st_size})

    def download(self, repository: str, file: str, *, revision: str | None, cache_dir: str) -> str:
        self.asked.append(f"{repository}/{file}")
        target = Path(cache_dir) / "snapshots" / file
        target.parent.mkdir(parents=True)
        shutil.copyfile(self.files[repository, file], target)
        return str(target)

    def play(self, patch: pytest.MonkeyPatch) -> None:
        import huggingface_hub

        patch.setattr(socket, "create_connection", self.connect)
        patch.setattr(huggingface_hub, "get_hf_file_metadata", self.metadata)
        patch.setattr(huggingface_hub, "hf_hub_download", self.download)
