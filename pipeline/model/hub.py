"""Published weights over the network: where they lie there, whether it is reached at all, and fetching them."""

import contextlib
import logging
import os
import shutil
import socket
import tempfile
import threading
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import huggingface_hub
import safetensors
from huggingface_hub import constants
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

from pipeline.files import InputError, atomic_path
from pipeline.log import errors_alone, log
from pipeline.model.published import ATTACHED, BROUGHT, FETCHED, VARIABLE, Found
from pipeline.model.weight_names import GENERIC, Network, repository_and_revision, suffix_of

# Within these a host that is reached at all answers; what is looked up and retried later takes a minute.
_SECONDS = 3.0
# What the hub, timm and torch raise where they cannot fetch or read: the hub passes on the errors of its transport,
# whichever library that is in its version.
FAILED: tuple[type[Exception], ...] = (
    OSError,
    RuntimeError,
    ValueError,
    safetensors.SafetensorError,
    HfHubHTTPError.__bases__[0],
)


def address(network: Network) -> str:
    """The address of a network's published weights; the hub's where they are there."""
    if not network.repository:
        return network.url
    repository, revision = repository_and_revision(network.repository)
    return str(huggingface_hub.hf_hub_url(repository, GENERIC[0], revision=revision))


def fetch(network: Network) -> Found:
    """Fetch the published weights of a network into `output/cache/weights`.

    Raises:
        InputError: there is no network, or they cannot be had; what to bring, and where to put it.
    """
    try:
        must_reach(address(network), hub=bool(network.repository))
        FETCHED.mkdir(parents=True, exist_ok=True)
        # Hidden until it is whole, so that nobody finds half of it.
        with quiet_hub(), tempfile.TemporaryDirectory(dir=FETCHED, prefix=".fetching-") as folder:
            fetched = _from_hub(network, folder) if network.repository else _from_url(network, folder)
            target = FETCHED / f"{network}{suffix_of(fetched.name)}"
            with atomic_path(target) as temporary:
                shutil.copyfile(fetched, temporary)
    except FAILED as error:
        where = address(network)
        raise InputError(
            f"the published weights of {network} must be here, or a network to fetch them. They are not in {BROUGHT}, "
            f"${VARIABLE}, {ATTACHED}, {FETCHED}, the caches of torch and the hub, or a package, and cannot be fetched "
            f"({reason(error)}). Bring {where} and put it into {BROUGHT} as {network}{suffix_of(where)}"
        ) from None
    return Found(target, str(FETCHED), "fetched")


def must_reach(url: str, *, hub: bool) -> None:
    """Try once to reach a host, or the proxy before it, so that no network is known in seconds.

    Args:
        url: an address on that host.
        hub: whether it is the hub's, which the environment may forbid.

    Raises:
        OSError: it is not reached.
    """
    if hub and constants.HF_HUB_OFFLINE:
        raise OSError("HF_HUB_OFFLINE is set")
    target = urlsplit(url)
    proxies = urllib.request.getproxies()
    proxy = proxies.get(target.scheme) or proxies.get("all")
    if proxy and not urllib.request.proxy_bypass(target.hostname or ""):
        target = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    host, port = target.hostname or "", target.port or (80 if target.scheme == "http" else 443)
    failed: list[OSError] = [TimeoutError(f"no answer within {_SECONDS:.0f} s")]

    def connect() -> None:
        try:
            socket.create_connection((host, port), timeout=_SECONDS).close()
        except OSError as error:
            failed[0] = error
        else:
            failed.clear()

    # In a thread, as looking up a name has no timeout.
    attempt = threading.Thread(target=connect, daemon=True)
    attempt.start()
    attempt.join(_SECONDS)
    if failed:
        raise OSError(f"{host} is not reached: {failed[0]}")


def reason(error: Exception) -> str:
    """What an error says, short."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:160] if lines else ''}"


def quiet_hub() -> contextlib.AbstractContextManager[None]:
    """Keep the hub from warning of every attempt: what it gives up with is an error."""
    return errors_alone(logging.getLogger("huggingface_hub"))


def _from_hub(network: Network, folder: str) -> Path:
    """Fetch as timm does: safetensors, or the older file where there are none."""
    repository, revision = repository_and_revision(network.repository)
    for file in GENERIC:
        url = huggingface_hub.hf_hub_url(repository, file, revision=revision)
        try:
            size = huggingface_hub.get_hf_file_metadata(url).size
        except EntryNotFoundError:
            continue
        _announce(network, url, size)
        return Path(huggingface_hub.hf_hub_download(repository, file, revision=revision, cache_dir=folder))
    raise OSError(f"{repository} has neither {' nor '.join(GENERIC)}")


def _from_url(network: Network, folder: str) -> Path:
    import torch

    _announce(network, network.url, None)
    path = Path(folder) / os.path.basename(urlsplit(network.url).path)
    torch.hub.download_url_to_file(network.url, str(path), progress=False)
    return path


def _announce(network: Network, url: str, size: int | None) -> None:
    megabytes = f" ({size / 1e6:,.1f} MB)" if size else ""
    log.info("model: the published weights of %s are fetched from %s%s", network, url, megabytes)
