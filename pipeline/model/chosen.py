"""Which file a network's weights would be taken from now, by its hash: milliseconds where nothing is to be made."""

import importlib.metadata
from dataclasses import asdict
from pathlib import Path

from pipeline.config import ModelConfig
from pipeline.files import digest_file, read_json, write_json
from pipeline.model.published import Found, find, look_in
from pipeline.model.weight_names import FETCHED, Network, searched, timm_network

# What timm says of a network, by timm's version: to import it takes seconds.
_KNOWN = Path("output/cache/networks.json")


def chosen_weights(cfg: ModelConfig, *, needed: bool = False) -> str:
    """The sha256 of the file that the search chooses: of the published weights, or of those in a folder.

    A file that `model.weights` names itself is not searched for; nor is what timm fetches by an address of its own.

    Args:
        cfg: name, pretrained, weights.
        needed: whether published weights that are nowhere here are fetched.

    Returns:
        "" where nothing is searched for, where timm has no such network, or nothing is found.

    Raises:
        InputError: published weights that are needed are nowhere, and cannot be fetched.
    """
    if cfg.weights:
        folder = Path(cfg.weights)
        network = _network(cfg.name, in_folder=True) if folder.is_dir() else None
        return _sha256(look_in(folder, network) if network else None)
    if not cfg.pretrained or cfg.name.lower().startswith(FETCHED):
        return ""
    network = _network(cfg.name, in_folder=False)
    found = find(network) if network else None
    if network and found is None and needed:
        from pipeline.model.hub import fetch

        found = fetch(network)
    return _sha256(found)


def _sha256(found: Found | None) -> str:
    return digest_file(found.path) if found is not None else ""


def _network(name: str, *, in_folder: bool) -> Network | None:
    """What is looked for; None where timm has no such network, or no weights of it, which building it says."""
    key = f"{name}, {'any tag' if in_folder else 'its tag'}, timm {importlib.metadata.version('timm')}"
    known = read_json(_KNOWN)
    known = known if isinstance(known, dict) else {}
    if key in known:
        said = known[key]
        return Network(**{**said, "tags": tuple(said["tags"]), "files": tuple(said["files"])})
    try:
        network = searched(name) if in_folder else timm_network(name)
    except (RuntimeError, AttributeError):  # a tag, or a name, that timm does not know
        return None
    write_json(_KNOWN, {**known, key: asdict(network)})
    return network
