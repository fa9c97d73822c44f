"""Path templates over a table's columns, `train/{label}/{id}.jpg`, in both directions: rows to paths, files to rows.

`{id:05}` is the cell with leading zeros to five digits; a path that ends in `.*` has the extension of the file that is
there; `**/` stands for any folders: the file of that name below, whichever folders the table gives it.
"""

import os
import re
import string
import unicodedata
from collections.abc import Container, Sequence
from pathlib import Path

import pandas as pd

from pipeline.competition.tables.csv_table import counted
from pipeline.competition.tables.passed_over import is_passed_over
from pipeline.config import ConfigError
from pipeline.files import InputError, inside, walk

ANYWHERE = "**/"


def fields(template: str) -> list[str]:
    """List the columns that a template names, each once, in order.

    Raises:
        ConfigError: braces that do not pair, or a field that is no plain name.
    """
    try:
        found = [name for _, name, spec, conversion in string.Formatter().parse(template) if name is not None]
        plain = all(
            (not spec or re.fullmatch(r"0\d{1,2}", spec)) and not conversion
            for _, name, spec, conversion in string.Formatter().parse(template)
            if name
        )
    except ValueError as error:
        raise ConfigError(f"a path template names columns in braces: {error}. Got {template!r}") from None
    if not plain or "" in found:
        raise ConfigError(f"a path template names columns in braces, as in 'train/{{id}}.jpg'. Got {template!r}")
    return list(dict.fromkeys(found))


def paths_from_rows(template: str, frame: pd.DataFrame) -> list[str]:
    """Make a template's paths from a table's rows, in composed Unicode (NFC), as `opened` shows files."""
    pieces = [(literal, name, int(spec or 0)) for literal, name, spec, _ in string.Formatter().parse(template)]
    columns = {name: [str(cell) for cell in frame[name]] for _, name, _ in pieces if name}
    rows = range(len(frame))
    paths = [
        "".join(literal + (columns[name][row].zfill(width) if name else "") for literal, name, width in pieces)
        for row in rows
    ]
    return [path if path.isascii() else unicodedata.normalize("NFC", path) for path in paths]


def resolve_wildcards(root: Path, paths: list[str]) -> list[str]:
    """Replace paths with `.*` or `**/` by those of the files that they fit; others, and those without a file, stay.

    Raises:
        InputError: a path fits several files.
    """
    if any(ANYWHERE in path for path in paths):
        full, several = find_anywhere(paths, [path for path in walk(root) if not is_passed_over(path)])
        if several:
            text = counted("paths fit several files", several)
            raise InputError(f"under {root} {text}. Name a folder in the template")
        return full
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
        text = counted("paths fit several files", several)
        raise InputError(f"under {root} {text}. Name the extension in the template")
    return full


def find_anywhere(paths: Sequence[str], files: Sequence[str]) -> tuple[list[str], list[str]]:
    """Replace paths with `**/` by the files that they mean; returns those that could mean several too.

    Of the files of a path's name below the folder before `**/`, the one that shares the most of the folders after it.

    Args:
        paths: `train/**/a/7.jpg`, or with `.*` at the end.
        files: every file that there is.
    """
    by_name: dict[str, list[str]] = {}
    for file in files:
        name = file.rpartition("/")[2]
        for key in {name, name.rpartition(".")[0] + ".*"}:
            by_name.setdefault(key, []).append(file)
    full, several = [], []
    for path in paths:
        base, _, rest = path.partition(ANYWHERE)
        rest = without_query(rest)
        wanted = [name for name in rest.replace("\\", "/").split("/") if name not in ("", ".")]
        found = [file for file in by_name.get(wanted[-1], ()) if file.startswith(base)] if wanted else []
        if len(found) > 1:
            shared = [_shared(file.split("/")[:-1], wanted[:-1]) for file in found]
            found = [file for file, count in zip(found, shared, strict=True) if count == max(shared)]
        if len(found) > 1:
            several.append(f"{path}: {' or '.join(found[:2])}")
        full.append(found[0] if found else path)
    return full, several


def without_query(text: str) -> str:
    """A web address without what follows its path, `https://host/a/1.jpg?w=600`; other texts as they are."""
    return re.split(r"[?#]", text, maxsplit=1)[0] if "://" in text else text


def _shared(folders: list[str], wanted: list[str]) -> int:
    """Count the folders that two paths share from their ends on."""
    count = 0
    for one, other in zip(reversed(folders), reversed(wanted), strict=False):
        if one != other:
            break
        count += 1
    return count


def _by_stem(folder: Path) -> dict[str, list[str]]:
    """List names of a folder's files by what is before the last dot, sorted."""
    names: dict[str, list[str]] = {}
    for name in sorted(os.listdir(folder)) if folder.is_dir() else []:
        names.setdefault(name.rpartition(".")[0], []).append(name)
    return names


def pattern(template: str) -> re.Pattern[str]:
    """Read a template backwards: make a pattern whose groups `f0, f1, ...` are the fields in order.

    An earlier field takes as much as it can: `{label}_{id}.jpg` reads `a_b_7.jpg` as `a_b` and `7`.
    """
    names = fields(template)
    seen: set[str] = set()
    text = ""
    for literal, name, _, _ in string.Formatter().parse(template):
        text += re.escape(literal).replace(re.escape(ANYWHERE), "(?:.*/)?")
        if name:
            index = names.index(name)
            text += f"(?P=f{index})" if name in seen else f"(?P<f{index}>[^/]+)"
            seen.add(name)
    return re.compile(text)


def rows_from_paths(root: Path, template: str, without: Container[str] = ()) -> pd.DataFrame:
    """Make the table of the files below a root that fit: a column for each field, and `path`; sorted by path.

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
        (*match.groups(), path)
        for path in walk(root)
        if (match := matcher.fullmatch(path)) and path not in without and not is_passed_over(path)
    ]
    if not rows:
        raise InputError(f"no file under {root} fits {template!r}")
    if broken := [row[-1] for row in rows if "\r" in row[-1]]:
        # No table could hold them: readers take a carriage return for a line's end.
        raise InputError(f"{root}: {counted('file names hold a carriage return', broken)}. Rename them")
    frame = pd.DataFrame(rows, columns=pd.Index([*names, "path"]), dtype=str)
    # A field of this name is the user's own.
    return frame.loc[:, ~frame.columns.duplicated()]
