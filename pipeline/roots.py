"""What `data.root` may be: a folder, or an address from which `competition/remote` copies one, such as s3://..."""

import posixpath
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pipeline.archive_names import is_archive, stem
from pipeline.files import digest, safe_name
from pipeline.quoting import without_user

# A letter alone is a drive.
_PROTOCOL = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)


def is_address(root: str) -> bool:
    """Whether a competition's files must be copied from elsewhere."""
    return _PROTOCOL.match(root) is not None


def protocol_of(address: str) -> str:
    """Name an address's protocol: `s3`, `https`."""
    found = _PROTOCOL.match(address)
    assert found is not None
    return found[1].lower()


def copy_dir(address: str) -> Path:
    """The folder of an address's copy, and of what is known of it; who asks there is none of the name."""
    key = digest(without_user(address).rstrip("/"))[:8]
    return Path("output") / "cache" / f"{_name_of(address)}-root-{key}"


def local_root(root: str) -> Path:
    """The folder in which a competition's files are: `data.root` itself, or the copy of what is at its address."""
    return copy_dir(root) / _name_of(root) if is_address(root) else Path(root)


def _name_of(address: str) -> str:
    """The competition's name: the last part of its address, without what says that it is an archive."""
    parts = urlsplit(without_user(address))
    last = unquote(posixpath.basename(parts.path.rstrip("/"))) or parts.netloc  # of s3://bucket the bucket
    return safe_name(stem(last) if is_archive(last) else last)
