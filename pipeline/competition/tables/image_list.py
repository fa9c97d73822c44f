"""Lists of images, a name in each line: which rows of a table they name."""

import posixpath
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from pipeline.competition.tables.csv_table import counted
from pipeline.competition.tables.json_table import read_frame
from pipeline.files import InputError


def read_names(path: Path, encoding: str = "") -> list[str]:
    """Read the first cell of each line, the first line's too.

    Raises:
        InputError: it cannot be read.
    """
    return [str(cell) for cell in read_frame(path, encoding, headerless=True).iloc[:, 0]]


def rows_named(names: Sequence[str], paths: Sequence[str]) -> tuple[set[int], list[str]]:
    """Find the rows that a list names, by the paths of their images, by ends of these, with extension or without.

    Args:
        names: the list.
        paths: the image of each row.

    Returns:
        The rows' indices; and the names of no row, or of rows of several images.
    """
    rows_of: dict[str, list[int]] = {}
    for row, path in enumerate(paths):
        name = posixpath.basename(path)
        for key in {name, posixpath.splitext(name)[0]}:
            rows_of.setdefault(key, []).append(row)
    found: set[int] = set()
    unclear = []
    for name in names:
        own = unicodedata.normalize("NFC", posixpath.normpath(name))
        rows = [row for row in rows_of.get(posixpath.basename(own), ()) if _ends_with(paths[row], own)]
        if len({paths[row] for row in rows}) == 1:
            found.update(rows)
        else:
            unclear.append(name)
    return found, unclear


def must_name_rows(source: str, names: Sequence[str], paths: Sequence[str]) -> set[int]:
    """Find the rows that a list names, some of all.

    Raises:
        InputError: a name is of no row, or of rows of several images; or every row is named.
    """
    rows, unclear = rows_named(names, paths)
    if unclear:
        raise InputError(
            f"{source} must name the image of a row in each line, and no second one. "
            f"{counted('lines do not', unclear)}; such an image is {paths[0] if paths else 'none'}"
        )
    if not 0 < len(rows) < len(paths):
        raise InputError(f"{source} must name some of the rows, and not all. It names {len(rows):,} of {len(paths):,}")
    return rows


def _ends_with(path: str, name: str) -> bool:
    return any(whole == name or whole.endswith(f"/{name}") for whole in (path, posixpath.splitext(path)[0]))
