"""A csv as text cells, in the encodings and separators that competitions use, and what can be wrong with its columns.

Everything is read as text, so that ids keep their leading zeros, dots and dashes, and a label called `N/A` is a label.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.files import InputError

SEPARATORS = (",", ";", "\t", "|")
ENCODINGS = ("utf-8-sig", "cp949")


@dataclass(frozen=True)
class Dialect:
    """The form in which a csv is written, so that a submission can be written alike."""

    encoding: str = "utf-8"
    separator: str = ","
    newline: str = "\n"
    quoting: int = csv.QUOTE_MINIMAL


@dataclass(frozen=True)
class Table:
    """A csv as text cells, with the way it was written: `header` are the names with the spaces around them."""

    path: Path
    frame: pd.DataFrame
    dialect: Dialect
    header: tuple[str, ...] = ()

    def column(self, name: str) -> list[str]:
        """Give the cells of a column that is known to be there."""
        return [str(cell) for cell in self.frame[name]]


def read_csv(path: Path) -> Table:
    """Read a csv in UTF-8 (with or without BOM) or CP949, every cell as text.

    The separator is the one of `, ; tab |` that is found in the header and equally often in the next lines; where there
    is none, the table has one column.

    Raises:
        InputError: the file is missing, empty, in another encoding, or its rows are ragged.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist")
    text, encoding = _decode(path)
    newline = "\r\n" if "\r\n" in text else "\n"
    text = text.replace("\r\n", "\n").replace("\r", "\n").lstrip("\n")
    if "\0" in text:
        raise InputError(f"{path} must be a text table. Got a file with NUL bytes")
    head = text[:65536]
    if len(text) > len(head):
        head = head[: head.rfind("\n") + 1] or head
    if not head.strip():
        raise InputError(f"{path} must have a header line. Got an empty file")
    try:
        separator = _separator(head)
        header = next(csv.reader(io.StringIO(head), delimiter=separator))
        frame = pd.read_csv(
            io.StringIO(text),
            sep=separator,
            dtype=str,
            keep_default_na=False,
            na_filter=False,
            index_col=False,
            header=None,
            names=list(range(len(header))),
            skiprows=0,
            skip_blank_lines=True,
        )
        _no_short_rows(path, frame, text, separator)
    except (pd.errors.ParserError, pd.errors.ParserWarning, csv.Error) as error:
        raise InputError(f"{path} must have the header's number of cells in every row: {str(error).strip()}") from None
    frame = frame.iloc[1:].reset_index(drop=True)
    frame.columns = pd.Index([name.strip() for name in header])
    return Table(path, frame, Dialect(encoding, separator, newline, _quoting(head)), tuple(header))


def _decode(path: Path) -> tuple[str, str]:
    data = path.read_bytes()
    for encoding in ENCODINGS:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        has_mark = data.startswith(b"\xef\xbb\xbf")
        return text, encoding if encoding != "utf-8-sig" or has_mark else "utf-8"
    raise InputError(f"{path} must be in UTF-8 or CP949. Got bytes that are neither; save it as UTF-8")


def _separator(head: str) -> str:
    """Find the separator of a table's first lines, by the rule of `read_csv`."""
    counts = {}
    for separator in SEPARATORS:
        rows = [row for row in _first_rows(head, separator) if row]
        if len(rows[0]) > 1 and (
            len(rows) == 1 or sum(len(row) == len(rows[0]) for row in rows[1:]) * 2 > len(rows) - 1
        ):
            counts[separator] = len(rows[0])
    return max(counts, key=lambda separator: counts[separator]) if counts else ","


def _first_rows(head: str, separator: str, limit: int = 50) -> list[list[str]]:
    reader = csv.reader(io.StringIO(head), delimiter=separator)
    rows = []
    for row in reader:
        rows.append(row)
        if len(rows) > limit:
            break
    return rows


def _no_short_rows(path: Path, frame: pd.DataFrame, text: str, separator: str) -> None:
    """Refuse rows with fewer cells than the header, which the parser fills with empty cells in silence."""
    last = frame.iloc[:, -1]
    if frame.shape[1] < 2 or not (last.isna() | (last == "")).any():
        return
    for number, row in enumerate(csv.reader(io.StringIO(text), delimiter=separator), 1):
        if row and len(row) != frame.shape[1]:
            raise InputError(f"{path} must have {frame.shape[1]} cells in every row. Row {number} has {len(row)}")


def _quoting(head: str) -> int:
    """Find csv's quoting rule that the first lines were written with."""
    lines = [line for line in head.splitlines()[:3] if line]
    if all(line.startswith('"') and line.endswith('"') for line in lines):
        return csv.QUOTE_ALL
    return csv.QUOTE_NONNUMERIC if lines[0].startswith('"') else csv.QUOTE_MINIMAL


def require_columns(source: str, frame: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Say what is wrong with the columns that are needed: missing ones, or ones that are there twice."""
    columns = [str(column) for column in frame.columns]
    missing = [name for name in dict.fromkeys(names) if name not in columns]
    twice = [name for name in dict.fromkeys(names) if columns.count(name) > 1]
    problems = []
    if missing:
        have = ", ".join(columns[:20])
        problems.append(f"{source} must have the columns {', '.join(map(repr, missing))}. It has: {have}")
    if twice:
        problems.append(f"{source} has more than one column named {', '.join(map(repr, twice))}")
    return problems


def duplicates(source: str, ids: Sequence[str]) -> list[str]:
    """Say what is wrong with ids that must be unique; an empty list where nothing is."""
    if len(set(ids)) == len(ids):
        return []
    seen: set[str] = set()
    repeated = list(dict.fromkeys(id_ for id_ in ids if id_ in seen or seen.add(id_)))  # type: ignore[func-returns-value]
    return [f"{source}: {counted('ids appear more than once', repeated)}"]


def counted(what: str, items: Sequence[object], limit: int = 5) -> str:
    """Write a count and the first five: `1,234 ids appear more than once (a, b, c, d, e, ...)`."""
    shown = ", ".join(str(item)[:80] for item in items[:limit])
    return f"{len(items):,} {what} ({shown}{', ...' if len(items) > limit else ''})"
