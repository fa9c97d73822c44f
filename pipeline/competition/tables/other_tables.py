"""Tables in other forms than csv and json: workbooks, parquet, JSON lines, and lists of paths with labels."""

import importlib.util
import json
import posixpath
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.competition.tables.encoding import decode
from pipeline.files import InputError
from pipeline.log import log
from pipeline.quoting import shown

# An extra of pyproject.toml.
INSTALL_XLSX = "pip install openpyxl"
# The columns of a list, `train/a/1.jpg 0`: the path, the label, and the file's name without folders and ending.
LIST_COLUMNS = ("path", "label", "name")
LISTS = (".txt", ".lst")
# Lines that a title above a workbook's table may have.
_MOST_TITLE_LINES = 20


def read_xlsx(path: Path) -> pd.DataFrame:
    """Read a workbook's table, every cell as text: its first sheet; where another one has more than twice its rows, the
    longest, which is said. Lines of a title above the header are left out.

    Raises:
        InputError: openpyxl is not installed, or it is no workbook.
    """
    if importlib.util.find_spec("openpyxl") is None:
        raise InputError(f"{path} is read by openpyxl, which must be installed: {INSTALL_XLSX}; or save it as csv")
    try:
        with pd.ExcelFile(path, engine="openpyxl") as book:
            frames = {str(name): _read_worksheet(book, str(name)) for name in book.sheet_names}
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} must be a workbook. Got: {error}; save it as csv") from None
    first, longest = next(iter(frames)), max(frames, key=lambda name: len(frames[name]))
    if len(frames[longest]) > 2 * len(frames[first]):
        log.info("%s: sheet %s is read, the longest of %s", path, shown(longest), f"{len(frames):,}")
        return _as_text(frames[longest])
    return _as_text(frames[first])


def _read_worksheet(book: pd.ExcelFile, name: str) -> pd.DataFrame:
    """Read a sheet from its header on: the first line that has more than its first cell."""
    read = partial(pd.read_excel, book, name, dtype=str, keep_default_na=False)
    top = read(header=None, nrows=_MOST_TITLE_LINES)
    wide = (top.iloc[:, 1:] != "").any(axis=1).tolist()
    num_titles = wide.index(True) if True in wide else 0
    return read(skiprows=num_titles)


def read_parquet(path: Path) -> pd.DataFrame:
    """Read a parquet file's flat columns, every cell as text, and the index that pandas keeps in it, where it is more
    than a count of the rows.

    Raises:
        InputError: it is none.
    """
    try:
        frame = pd.read_parquet(path)
    except (ValueError, OSError) as error:
        raise InputError(f"{path} must be a parquet file. Got: {error}") from None
    counts = frame.index.name is None and pd.api.types.is_integer_dtype(frame.index)
    frame = frame if counts or frame.index.name in frame else frame.reset_index()
    flat = [name for name in frame if not frame[name].map(lambda cell: isinstance(cell, (bytes, dict, list))).any()]
    return _as_text(frame[flat])


def read_json_lines(path: Path) -> pd.DataFrame:
    """Read a file with a JSON record in each line, every cell as text; nested values are left out.

    Raises:
        InputError: a line is no record.
    """
    records: list[dict[str, Any]] = []
    for number, line in enumerate(_lines(path, "utf-8"), 1):
        try:
            record = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise InputError(f"{path}, line {number} must be a JSON record. Got: {error}") from None
        if not isinstance(record, dict):
            raise InputError(f"{path}, line {number} must be a JSON record. Got {line[:80]!r}")
        records.append({key: cell for key, cell in record.items() if not isinstance(cell, (dict, list))})
    return _as_text(pd.DataFrame(records))


def read_list(path: Path, encoding: str = "") -> pd.DataFrame:
    """Read a list of paths, each with a label or without, separated by a tab, a comma or spaces.

    Args:
        path: the file.
        encoding: `data.encoding`, see `encoding`.

    Raises:
        InputError: lines have more than these, or not all have a label, or the encoding is not known.
    """
    lines = _lines(path, encoding)
    separator = next((text for text in ("\t", ",") if all(text in line for line in lines)), None)
    rows = [[cell.strip() for cell in line.split(separator)] for line in lines]
    if separator is None and len({len(row) for row in rows}) > 1:
        rows = [line.rsplit(None, 1) for line in lines]  # spaces in the paths
    width = len(rows[0]) if rows else 0
    if width not in (1, 2) or any(len(row) != width for row in rows):
        raise InputError(f"{path} must have a path in each line, or a path and a label. Got {lines[:1]}")
    frame = pd.DataFrame(rows, columns=pd.Index(LIST_COLUMNS[:width]), dtype=str)
    frame["path"] = frame["path"].map(posixpath.normpath)
    return frame.assign(name=[posixpath.splitext(posixpath.basename(cell))[0] for cell in frame["path"]])


READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".xlsx": read_xlsx,
    ".parquet": read_parquet,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
}


def _lines(path: Path, encoding: str) -> list[str]:
    text, _ = decode(path, path.read_bytes(), encoding)
    return [line for line in text.splitlines() if line.strip()]


def _as_text(frame: pd.DataFrame) -> pd.DataFrame:
    """Every cell as text, "" for none."""
    cells = frame.astype(object).where(frame.notna(), "").astype(str)
    return cells.set_axis(pd.Index([str(name).strip() for name in frame]), axis=1)
