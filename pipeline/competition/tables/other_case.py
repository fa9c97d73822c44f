"""Files whose names a table writes in another case, as where it was made on a system that tells no cases apart."""

import os
import posixpath
from collections import Counter
from collections.abc import Sequence
from pathlib import Path


def in_other_case(root: Path, paths: Sequence[str]) -> list[str]:
    """Replace paths without a file by the file of their folder that differs in case alone, where there is one."""
    there: dict[str, dict[str, str]] = {}
    found = []
    for path in paths:
        if not (root / path).is_file():
            folder, name = posixpath.split(path)
            if folder not in there:
                there[folder] = _by_case(root / folder)
            path = posixpath.join(folder, there[folder].get(name.casefold(), name))
        found.append(path)
    return found


def _by_case(folder: Path) -> dict[str, str]:
    """A folder's names by their small letters, where no two differ in case alone."""
    names = os.listdir(folder) if folder.is_dir() else []
    counts = Counter(name.casefold() for name in names)
    return {name.casefold(): name for name in names if counts[name.casefold()] == 1}
