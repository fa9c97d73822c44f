"""Path templates over a table's columns, `train/{label}/{id}.jpg`, in both directions: rows to paths, files to rows."""

import os
import re
import string
import unicodedata
from collections.abc import Container
from pathlib import Path

import pandas as pd

from pipeline.competition.csv_table import some
from pipeline.config import ConfigError
from pipeline.files import InputError, inside, walk


def fields(template: str) -> list[str]:
    """The columns that a template names, each once, in order.

    Raises:
        ConfigError: braces that do not pair, or a field that is no plain name.
    """
    try:
        found = [name for _, name, spec, conversion in string.Formatter().parse(template) if name is not None]
        plain = all(
            not spec and not conversion for _, name, spec, conversion in string.Formatter().parse(template) if name
        )
    except ValueError as error:
        raise ConfigError(f"a path template names columns in braces: {error}. Got {template!r}") from None
    if not plain or "" in found:
        raise ConfigError(f"a path template names columns in braces, as in 'train/{{id}}.jpg'. Got {template!r}")
    return list(dict.fromkeys(found))


def fill(template: str, frame: pd.DataFrame) -> list[str]:
    """The paths that a template makes from a table's rows, in composed Unicode (NFC), as `opened` shows files."""
    parts = [(literal, name) for literal, name, _, _ in string.Formatter().parse(template)]
    columns = {name: [str(cell) for cell in frame[name]] for _, name in parts if name}
    rows = range(len(frame))
    paths = ["".join(literal + (columns[name][row] if name else "") for literal, name in parts) for row in rows]
    return [path if path.isascii() else unicodedata.normalize("NFC", path) for path in paths]


def with_extensions(root: Path, paths: list[str]) -> list[str]:
    """Paths that end in `.*` with the extension of the file that is there; the others, and those without one, as given.

    Raises:
        InputError: a path fits several files.
    """
    if not any(path.endswith(".*") for path in paths):
        return paths
    there: dict[str, dict[str, list[str]]] = {}
    full, several = [], []
    for path in paths:
        folder, _, name = path.removesuffix(".*").rpartition("/")
        if folder not in there:
            there[folder] = _by_stem(inside(root, folder or ".", "a path template"))
        names = there[folder].get(name, []) if path.endswith(".*") else []
        if len(names) > 1:
            several.append(f"{path}: {' or '.join(names)}")
        full.append(f"{folder}/{names[0]}".lstrip("/") if names else path)
    if several:
        raise InputError(f"under {root} {some('paths fit several files', several)}. Name the extension in the template")
    return full


def _by_stem(folder: Path) -> dict[str, list[str]]:
    """Names of a folder's files by the part before the last dot, sorted."""
    names: dict[str, list[str]] = {}
    for name in sorted(os.listdir(folder)) if folder.is_dir() else []:
        names.setdefault(name.rpartition(".")[0], []).append(name)
    return names


def pattern(template: str) -> re.Pattern[str]:
    """The template read backwards: a pattern whose groups `f0, f1, ...` are the fields in order.

    An earlier field takes as much as it can: `{label}_{id}.jpg` reads `a_b_7.jpg` as `a_b` and `7`.
    """
    names = fields(template)
    seen: set[str] = set()
    text = ""
    for literal, name, _, _ in string.Formatter().parse(template):
        text += re.escape(literal)
        if name:
            number = names.index(name)
            text += f"(?P=f{number})" if name in seen else f"(?P<f{number}>[^/]+)"
            seen.add(name)
    return re.compile(text)


def from_paths(root: Path, template: str, without: Container[str] = ()) -> pd.DataFrame:
    """The table that a template makes from the files below a root: a column for each field, and `path`; sorted by path.

    Args:
        root: the folder.
        template: the template.
        without: paths that are left out.

    Raises:
        InputError: no file fits the template.
    """
    names = fields(template)
    matcher = pattern(template)
    rows = [
        (*match.groups(), path) for path in walk(root) if (match := matcher.fullmatch(path)) and path not in without
    ]
    if not rows:
        raise InputError(f"no file under {root} fits {template!r}")
    frame = pd.DataFrame(rows, columns=pd.Index([*names, "path"]), dtype=str)
    # A field of this name is the user's own.
    return frame.loc[:, ~frame.columns.duplicated()]
