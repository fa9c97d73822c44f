"""Networks of timm with the weights that were published of them: found here, or fetched."""

from logging import INFO
from typing import Any

import torch
from torch import nn

from pipeline.files import InputError, digest_file
from pipeline.log import log, say_once
from pipeline.model.published import find, read
from pipeline.model.weight_names import repository_and_revision, timm_network


def create(name: str, arguments: dict[str, Any], **source: Any) -> nn.Module:
    """Build a network of timm; the size of the images is left out where it takes none.

    Args:
        name: timm's.
        arguments: of the network; `img_size` is taken from them where it is not known.
        source: where timm takes weights from.
    """
    # Imported here: it takes seconds, and our own networks do without.
    import timm

    try:
        model: nn.Module = timm.create_model(name, **source, **arguments)
    except TypeError as error:
        if "img_size" not in str(error) or "img_size" not in arguments:
            raise
        arguments.pop("img_size")
        model = timm.create_model(name, **source, **arguments)
    return model


def with_published_weights(name: str, arguments: dict[str, Any]) -> nn.Module:
    """Build a network of timm with its published weights: the first that are found here, else they are fetched.

    timm's own loader fits them to the network, so that it is the same wherever they come from.

    Args:
        name: timm's, with or without a tag.
        arguments: of the network, `num_classes` among them.

    Raises:
        InputError: they are nowhere and cannot be fetched, or their file is damaged or another network's.
    """
    from pipeline.model.hub import FAILED, fetch, reason

    network = timm_network(name)
    found = find(network) or fetch(network)
    sha256 = digest_file(found.path)
    said = "model: the published weights of %s are %s (%s), sha256 %s"
    say_once(f"{network} {found.path} {sha256}", INFO, said, network, found.path, found.how, sha256)
    source = {"pretrained": True, "pretrained_cfg_overlay": {"state_dict": read(network, found)}}
    try:
        if arguments["num_classes"] != network.num_classes:
            # For other classes than theirs timm passes over whatever a file lacks; for theirs it does not.
            with torch.random.fork_rng(devices=[]):
                create(name, {}, **source)
        model = create(name, arguments, **source)
    except FAILED as error:
        raise InputError(
            f"{found.path} must hold the weights of {network}, whole. timm cannot use them ({reason(error)}). Bring "
            "the file again, or take it away: then the next place is looked at"
        ) from None
    # Else a second copy of the weights would live as long as the network.
    vars(model)["pretrained_cfg"].pop("state_dict")
    return model


def from_elsewhere(name: str, arguments: dict[str, Any]) -> nn.Module:
    """Build a network that timm makes of what lies at an address of the hub, or in a folder.

    Args:
        name: `hf-hub:` and a repository, or `local-dir:` and a folder.
        arguments: of the network.

    Raises:
        InputError: it cannot be fetched or read.
    """
    from huggingface_hub import constants

    from pipeline.model.hub import FAILED, must_reach, quiet_hub, reason

    log.info("model: %s is read, or fetched once", name)
    try:
        with quiet_hub():
            if not name.lower().startswith("local-dir:") and not _is_cached(name):
                must_reach(constants.ENDPOINT, hub=True)
            return create(name, arguments, pretrained=True)
    except FAILED as error:
        raise InputError(
            f"{name} could not be fetched or used ({reason(error)}). Where there is no network bring the folder of its "
            "files and set model.name to local-dir:FOLDER"
        ) from None


def _is_cached(name: str) -> bool:
    """Whether the hub's cache has what describes a network."""
    import huggingface_hub

    repository, revision = repository_and_revision(name.partition(":")[2])
    cached = huggingface_hub.try_to_load_from_cache(repository, "config.json", revision=revision)
    return isinstance(cached, str)
