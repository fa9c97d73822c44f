"""A csv as text cells, in the encodings and separators that competitions use, and what can be wrong with its columns.

Everything is read as text, so that ids keep their leading zeros, dots and dashes, and a label called `N/A` is a label.
"""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from pipeline.competition.tables.cells import Writing, find_writing
from pipeline.competition.tables.encoding import decode
from pipeline.files import InputError
from pipeline.quoting import cut, shown

SEPARATORS = (",", ";", "\t", "|")
# A first line that tells Excel what separates the cells; it is no part of the table.
_EXCEL = re.compile(r'"?sep=(.)"?(?:\n|$)', re.IGNORECASE)


@dataclass(frozen=True)
class Dialect:
    """The form in which a csv is written, so that a submission can be written alike.

    `writings` are the ways in which columns write their cells otherwise than the table gives them; `has_header`:
    whether the first line names the columns.
    """

    encoding: str = "utf-8"
    separator: str = ","
    newline: str = "\n"
    quoting: int = csv.QUOTE_MINIMAL
    writings: Mapping[str, Writing] = field(default_factory=dict)
    has_header: bool = True


@dataclass(frozen=True)
class Table:
    """A csv as text cells, with the way it was written: `header` are the names with the spaces around them, none where
    the first line is a row.
    """

    path: Path
    frame: pd.DataFrame
    dialect: Dialect
    header: tuple[str, ...] = ()

    def column(self, name: str) -> list[str]:
        """Give the cells of a column that is known to be there."""
        return list(map(str, self.frame[name].tolist()))


class _Letters(io.TextIOBase):
    """A text to be read as a file is, without a copy of it: `StringIO` takes four bytes for a letter."""

    def __init__(self, text: str) -> None:
        self._text, self._place = text, 0

    def read(self, size: int | None = -1) -> str:
        """Give the next letters, all that are left by default."""
        start, self._place = self._place, len(self._text) if size is None or size < 0 else self._place + size
        return self._text[start : self._place]


def read_csv(
    path: Path, encoding: str = "", tag_separator: str = "", *, like: Dialect | None = None, headerless: bool = False
) -> Table:
    """Read a csv, every cell as text.

    The separator is the one of `, ; tab |` that is found in the header and equally often in the next lines, or that a
    first line `sep=;` names; where there is none, the table has one column. Lists as text and, where commas separate
    neither cells nor tags, numbers with a decimal comma become plain cells, see `cells`.

    Args:
        path: the file.
        encoding: `data.encoding`, see `encoding`.
        tag_separator: `data.tag_separator`.
        like: the form that it is known to have, where its encoding and its columns' cells are read by that.
        headerless: the first line is a row; the columns are called column_1, column_2, ...

    Raises:
        InputError: the file is missing, empty, in an encoding that is not known, or its rows are ragged.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist")
    text, encoding = decode(path, path.read_bytes(), like.encoding if like else encoding)
    return parse_csv(path, text, encoding, tag_separator, like=like, headerless=headerless)


def parse_csv(
    path: Path,
    text: str,
    encoding: str,
    tag_separator: str = "",
    *,
    like: Dialect | None = None,
    headerless: bool = False,
) -> Table:
    """Read the text of a csv, or of some of its rows below its header, see `read_csv`; `path` is for messages.

    Raises:
        InputError: it is empty, or its rows are ragged.
    """
    newline = "\r\n" if "\r\n" in text else "\n"
    text = text.replace("\r\n", "\n").replace("\r", "\n").lstrip("\n")
    if "\0" in text:
        raise InputError(f"{path} must be a text table. Got a file with NUL bytes")
    excel = _EXCEL.match(text)
    text = text[excel.end() :] if excel else text
    head = text[:65536]
    if len(text) > len(head):
        head = head[: head.rfind("\n") + 1] or head
    if not head.strip():
        raise InputError(f"{path} must have a header line. Got an empty file")
    try:
        separator = excel[1] if excel else _separator(head)
        header = next(csv.reader(io.StringIO(head), delimiter=separator))
        frame = pd.read_csv(
            _Letters(text),
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
    has_header = like.has_header if like else not headerless
    if has_header:
        frame = frame.iloc[1:].reset_index(drop=True)
        frame.columns = pd.Index([name.strip() for name in header])
    else:
        frame.columns = pd.Index([f"column_{number}" for number in range(1, len(header) + 1)])
        header = []
    may_be_decimal = "," not in (separator, tag_separator.strip())
    writings = _read_plainly(frame, like.writings if like else None, may_be_decimal=may_be_decimal)
    dialect = Dialect(encoding, separator, newline, _quoting(head), writings, has_header)
    return Table(path, frame, dialect, tuple(header))


def _read_plainly(
    frame: pd.DataFrame, known: Mapping[str, Writing] | None, *, may_be_decimal: bool
) -> dict[str, Writing]:
    """Make the cells of a table plain, in place; returns how the columns write those that were not.

    Args:
        frame: the table.
        known: how its columns write their cells; None: as is found.
        may_be_decimal: see `find_writing`.
    """
    writings = {}
    names = [str(name) for name in frame.columns]
    for name in names:
        if names.count(name) > 1:
            continue
        distinct = frame[name].unique().tolist()
        writing = find_writing(distinct, may_be_decimal=may_be_decimal) if known is None else known.get(name)
        plain = {cell: writing.read(cell) for cell in distinct} if writing else {}
        if writing and None not in plain.values():
            writings[name] = writing
            frame[name] = frame[name].map(plain)
    return writings


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
        have = ", ".join(map(cut, columns[:20]))
        problems.append(f"{source} must have the columns {', '.join(map(shown, missing))}. It has: {have}")
    if twice:
        problems.append(f"{source} has more than one column named {', '.join(map(shown, twice))}")
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
    first = ", ".join(cut(str(item)) for item in items[:limit])
    return f"{len(items):,} {what} ({first}{', ...' if len(items) > limit else ''})"
