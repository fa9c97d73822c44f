"""The names by which a file of weights is known as those of a network: timm's, the hub's, a user's."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from pipeline.files import read_json

_SUFFIXES = (".safetensors", ".pth.tar", ".pth", ".pt", ".bin")
# The networks of our own, see `networks`.
OWN = ("lenet5", "net", "mlp", "resnet9", "cifarnet")
# Names by which timm fetches a network from an address, or reads it in a folder.
FETCHED = ("hf-hub:", "hf_hub:", "local-dir:")
# Names that say nothing of the network: its folder does, or config.json beside them.
GENERIC = ("model.safetensors", "pytorch_model.bin")
# A longer config.json is no description of a network.
_LONGEST_CONFIG = 1_000_000
# Folders between the one that is named after a network and its file: a version, a snapshot, a framework.
_BETWEEN = re.compile(r"\d+|[0-9a-f]{40}|snapshots|default|pytorch|other|transformers", re.IGNORECASE)


@dataclass(frozen=True)
class Network:
    """A network whose weights are looked for.

    name: timm's without a tag, or our own.
    tags: of the weights that will do, the best first; none for our own networks.
    files: the names under which timm published them at first, as in its `url`.
    repository: on the hub, with `@revision` where there is one; "" for none.
    url: where there is no repository.
    num_classes: of the published classifier; 0 where any will do.
    """

    name: str
    tags: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    repository: str = ""
    url: str = ""
    num_classes: int = 0

    def __str__(self) -> str:
        return ".".join((self.name, *self.tags[:1]))


def timm_network(name: str) -> Network:
    """Look up a network of timm with the weights that its tag names; without one, those that timm takes."""
    import timm

    name = timm.models.get_deprecated_models().get(name) or name
    return _network(name.partition(".")[0], [timm.models.get_pretrained_cfg(name)])


def timm_network_of_any_tag(name: str) -> Network:
    """Look up a network of timm with any of its published weights, where the name has no tag."""
    import timm

    one = timm_network(name)
    if "." in name:
        return Network(one.name, one.tags, one.files)
    tagged = timm.list_models(f"{one.name}.*", pretrained=True)
    entries = [timm.models.get_pretrained_cfg(other) for other in tagged]
    entries.sort(key=lambda entry: (entry.tag or "") not in one.tags)
    every = _network(one.name, entries)
    return Network(one.name, every.tags, every.files)


def searched(name: str) -> Network:
    """Look up what is looked for in a folder of the user's: the network's weights, whatever their tag."""
    return Network(name) if name in OWN else timm_network_of_any_tag(name)


def _network(name: str, entries: Sequence[Any]) -> Network:
    """Make a network of timm's entries of its weights, the best first."""
    urls = [entry.url if isinstance(entry.url, str) else "" for entry in entries]
    return Network(
        name,
        tuple(entry.tag for entry in entries if entry.tag),
        tuple(os.path.basename(urlparse(url).path) for url in urls if url),
        (entries[0].hf_hub_id or "") if entries else "",
        urls[0] if entries else "",
        entries[0].num_classes if entries else 0,
    )


def repository_and_revision(address: str) -> tuple[str, str | None]:
    """Part an address of the hub, `owner/name` or `owner/name@revision`, as its functions take it."""
    repository, _, revision = address.partition("@")
    return repository, revision or None


def suffix_of(name: str) -> str:
    """The suffix by which a file's name says that it may hold weights; "" where it does not."""
    return next((suffix for suffix in _SUFFIXES if name.lower().endswith(suffix)), "")


def known_by(network: Network, path: Path) -> tuple[int, str] | None:
    """Whether a file's name says that it holds the weights of a network.

    Returns:
        None where it does not; else how well it says so, the best 0, and by what.
    """
    suffix = suffix_of(path.name)
    if not suffix:
        return None
    name = _alike(path.name)
    for rank, file in enumerate(network.files):
        if name == _alike(file):
            return rank, "named as timm's file"
    named = _rank(network, path.name[: -len(suffix)])
    if named is not None:
        return named, "named as the network"
    if path.name not in GENERIC:
        return None
    said = _config(path.parent / "config.json")
    if said is not None:
        rank_said = _rank_of_config(network, said)
        return None if rank_said is None else (rank_said, "as config.json beside it says")
    return _named_by_folder(network, path)


def _alike(name: str) -> str:
    """Make names equal that differ in case or in what separates their words, as the slugs of platforms do."""
    return re.sub(r"[-_.]", "_", name.lower())


def _rank(network: Network, name: str) -> int | None:
    """Find the tag that a name gives beside the network's; a name without one is the last of all that will do."""
    names = [f"{network.name}.{tag}" for tag in network.tags] + [network.name]
    return next((rank for rank, known in enumerate(names) if _alike(name) == _alike(known)), None)


def _named_by_folder(network: Network, path: Path) -> tuple[int, str] | None:
    """Look at the folders above a file, up to the first that names something; a tag may have one of its own."""
    tagged = None
    for part in reversed(path.parent.parts):
        tags = [rank for rank, tag in enumerate(network.tags) if _alike(part) == _alike(tag)]
        if tags:
            tagged = tags[0]
        elif not _BETWEEN.fullmatch(part):
            # As in the hub's cache: models--timm--resnet18.a1_in1k.
            rank = _rank(network, part.rpartition("--")[2])
            if rank is None:
                return None
            return rank if tagged is None else tagged, "in a folder named as the network"
    return None


def _config(path: Path) -> dict[str, Any] | None:
    """Read what the hub keeps beside weights; None where nothing there names a network."""
    if not path.is_file() or path.stat().st_size > _LONGEST_CONFIG:
        return None
    said = read_json(path)
    return said if isinstance(said, dict) and isinstance(said.get("architecture"), str) else None


def _rank_of_config(network: Network, said: dict[str, Any]) -> int | None:
    """Compare a network with what config.json says of its file: architecture, tag, classes."""
    published = said.get("pretrained_cfg")
    published = published if isinstance(published, dict) else {}
    tag = published.get("tag", said.get("tag"))
    num_classes = said.get("num_classes", published.get("num_classes"))
    if network.num_classes and num_classes not in (None, network.num_classes):
        return None
    name = said["architecture"].partition(".")[0]
    return _rank(network, f"{name}.{tag}" if tag and network.tags else name)
