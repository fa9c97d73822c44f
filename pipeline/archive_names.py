"""Which files are packed downloads, by their names."""

import posixpath
import re

# A packed table is a table; other files packed by gzip alone are data that some reader takes as they are.
_ENDINGS = re.compile(r"\.(zip|7z|tar|tgz|tbz2?|txz|tar\.(gz|bz2|xz)|(csv|tsv|json)\.gz)$", re.IGNORECASE)


def is_archive(path: str) -> bool:
    """Whether a file is to be unpacked, by its name."""
    name = posixpath.basename(path)
    return not name.startswith(".") and _ENDINGS.search(name) is not None


def stem(path: str) -> str:
    """Cut from an archive's path what says that it is one: `a/train.tar.gz` -> `a/train`, `a.csv.gz` -> `a.csv`."""
    ending = _ENDINGS.search(path)
    assert ending is not None
    return path[: -len(".gz")] if ending[3] else path[: ending.start()]
