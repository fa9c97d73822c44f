"""The stores that addresses lead to: fsspec's filesystems, the packages that read them, and what these raise."""

import contextlib
import importlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import IO, Any

import fsspec

from pipeline.files import InputError
from pipeline.quoting import without_secrets
from pipeline.roots import protocol_of

# Bytes asked for at a time where a store gives parts of a file.
BLOCK = 8 << 20


@dataclass(frozen=True)
class _Kind:
    """What is to be known of a protocol: its package, and what that raises beside Python's own errors."""

    package: str
    raises: tuple[str, ...] = ()


_HTTP = _Kind("aiohttp", ("aiohttp.ClientError",))
_GCS = _Kind("gcsfs", ("gcsfs.retry.HttpError", "google.auth.exceptions.GoogleAuthError"))
_S3 = _Kind("s3fs", ("botocore.exceptions.BotoCoreError", "botocore.exceptions.ClientError"))
_KINDS = {
    "http": _HTTP,
    "https": _HTTP,
    "s3": _S3,
    "s3a": _S3,
    "gs": _GCS,
    "gcs": _GCS,
    # The hub passes on the errors of its transport, whichever library that is in its version.
    "hf": _Kind("huggingface_hub", ("huggingface_hub.errors.HfHubHTTPError", "httpx.HTTPError", "httpx2.HTTPError")),
}
# Seconds in which a host must answer, and then say something more.
_CONNECT_S, _READ_S = 10.0, 30.0


@dataclass
class Store:
    """An address, opened.

    address: as the user gave it; path: as its filesystem names it.
    etags_are_md5: until a whole file shows that they are not: S3's are where it does not encrypt by a key of its own.
    """

    address: str
    filesystem: Any
    path: str
    etags_are_md5: bool = field(default=True)

    @property
    def shown(self) -> str:
        """The address as it is said: without what is secret."""
        return without_secrets(self.address)

    @property
    def is_http(self) -> bool:
        """Whether it is a web server, which lists its files as links on pages, if at all."""
        return protocol_of(self.address) in ("http", "https")

    @property
    def has_md5_etags(self) -> bool:
        """Whether an ETag that looks like an md5 is one."""
        return protocol_of(self.address) in ("s3", "s3a") and self.etags_are_md5

    @cached_property
    def failures(self) -> tuple[type[Exception], ...]:
        """What is raised where the store is not reached, or does not give what it has."""
        kind = _KINDS.get(protocol_of(self.address), _Kind(""))
        return (OSError, ValueError, RuntimeError, EOFError, *(error for name in kind.raises if (error := _find(name))))

    def open(self, path: str, size: int | None, start: int) -> IO[bytes]:
        """Open a file of the store to read on from a byte.

        Raises:
            ValueError: it can only be read from its beginning.
        """
        # What is asked for is read once: nothing is to be kept, or read ahead.
        options = {"block_size": BLOCK, "cache_type": "none"}
        if self.is_http:
            # One request for a whole file; requests for parts of it from its middle on.
            options |= {"block_size": BLOCK if start else 0, "size": size}
        with contextlib.ExitStack() as on_failure:
            stream: IO[bytes] = self.filesystem.open(path, "rb", **options)
            on_failure.callback(stream.close)
            if start:
                stream.seek(start)
            on_failure.pop_all()
        return stream


def open_store(address: str) -> Store:
    """Find the filesystem of an address; nothing is asked of it yet.

    Raises:
        InputError: the protocol is none that is known, or the package that reads it is not installed.
    """
    protocol = protocol_of(address)
    kind = _KINDS.get(protocol)
    try:
        filesystem, path = fsspec.core.url_to_fs(address, **_options(protocol))
    except (ImportError, ValueError) as error:
        if kind is not None and isinstance(error, ImportError):
            raise InputError(
                f"{without_secrets(address)} must have the package that reads it. It is not installed: "
                f"pip install {kind.package}"
            ) from None
        raise InputError(f"{without_secrets(address)} must be an address that fsspec reads. Got: {error}") from None
    # What was listed before in this process may have changed.
    filesystem.invalidate_cache()
    return Store(address, filesystem, path)


def reason(error: Exception) -> str:
    """What an error says, short and without secrets."""
    lines = without_secrets(str(error)).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:160] if lines else ''}".removesuffix(": ")


def _options(protocol: str) -> dict[str, Any]:
    if protocol not in ("http", "https"):
        return {}
    import aiohttp

    # By default no file could take longer than five minutes. Packed on the way, a file has another size than is said.
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_READ_S)
    headers = {"Accept-Encoding": "identity"}
    return {"client_kwargs": {"timeout": timeout, "trust_env": True, "headers": headers}}


def _find(name: str) -> type[Exception] | None:
    """A class of errors by its name; None where its module is not installed, so that nobody raises it."""
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except ImportError:
        return None
    return found if isinstance(found, type) and issubclass(found, Exception) else None
