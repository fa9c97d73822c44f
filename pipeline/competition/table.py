"""Train and test tables -> samples: ids, image paths, labels, groups.

Everything is read as text, so that ids keep their leading zeros, dots and dashes, and a label called `N/A` is a label.
"""

import csv
import io
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from pipeline.config import Config, ConfigError
from pipeline.files import InputError, inside, walk

SEPARATORS = (",", ";", "\t", "|")
ENCODINGS = ("utf-8-sig", "cp949")


@dataclass(frozen=True)
class Dialect:
    """How a csv is written, so that a submission can be written alike."""

    encoding: str = "utf-8"
    separator: str = ","
    newline: str = "\n"
    quoting: int = csv.QUOTE_MINIMAL


@dataclass(frozen=True)
class Table:
    """A csv as text cells, with the way it was written."""

    path: Path
    frame: pd.DataFrame
    dialect: Dialect

    def column(self, name: str) -> list[str]:
        """The cells of a column that is known to be there."""
        return [str(cell) for cell in self.frame[name]]


@dataclass(frozen=True)
class Samples:
    """The images of one part of a competition, a row each: train images in the order of their ids, test images in the
    table's. `labels` holds the label columns as text; it is empty for test images.
    """

    ids: list[str]
    paths: list[str]
    labels: pd.DataFrame
    groups: list[str] | None = None
    folds: list[str] | None = None

    @cached_property
    def row(self) -> dict[str, int]:
        """Where each id is."""
        return {id_: row for row, id_ in enumerate(self.ids)}

    def __len__(self) -> int:
        return len(self.ids)


# ---- csv


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
    if "\0" in text:
        raise InputError(f"{path} must be a text table. Got a file with NUL bytes")
    head = text[:65536]
    if len(text) > len(head):
        head = head[: head.rfind("\n") + 1] or head
    if not head.strip():
        raise InputError(f"{path} must have a header line. Got an empty file")
    separator = _separator(head)
    header = next(csv.reader(io.StringIO(head), delimiter=separator))
    try:
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
    except (pd.errors.ParserError, pd.errors.ParserWarning, csv.Error) as error:
        raise InputError(f"{path} must have {len(header)} cells in every row: {str(error).strip()}") from None
    _no_short_rows(path, frame, text, separator)
    frame = frame.iloc[1:].reset_index(drop=True)
    frame.columns = pd.Index([name.strip() for name in header])
    newline = "\r\n" if "\r\n" in head else "\n"
    return Table(path, frame, Dialect(encoding, separator, newline, _quoting(head)))


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
    """The separator of a table's first lines, by the rule of `read_csv`."""
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
    """csv's quoting rule that the first lines were written with."""
    lines = [line for line in head.splitlines()[:3] if line]
    if all(line.startswith('"') and line.endswith('"') for line in lines):
        return csv.QUOTE_ALL
    return csv.QUOTE_NONNUMERIC if lines[0].startswith('"') else csv.QUOTE_MINIMAL


# ---- path templates


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
    """The paths that a template makes from a table's rows."""
    parts = [(literal, name) for literal, name, _, _ in string.Formatter().parse(template)]
    columns = {name: [str(cell) for cell in frame[name]] for _, name in parts if name}
    rows = range(len(frame))
    return ["".join(literal + (columns[name][row] if name else "") for literal, name in parts) for row in rows]


def pattern(template: str) -> re.Pattern[str]:
    """The template read backwards: a pattern whose groups `f0, f1, ...` are the fields in order."""
    names = fields(template)
    seen: set[str] = set()
    text = ""
    for literal, name, _, _ in string.Formatter().parse(template):
        text += re.escape(literal)
        if name:
            number = names.index(name)
            text += f"(?P=f{number})" if name in seen else f"(?P<f{number}>[^/]+?)"
            seen.add(name)
    return re.compile(text)


def from_paths(root: Path, template: str) -> pd.DataFrame:
    """The table that a template makes from the files below a root: a column for each field, rows sorted by path.

    Raises:
        InputError: no file fits the template.
    """
    names = fields(template)
    matcher = pattern(template)
    rows = [match.groups() for path in walk(root) if (match := matcher.fullmatch(path))]
    if not rows:
        raise InputError(f"no file under {root} fits {template!r}")
    return pd.DataFrame(rows, columns=pd.Index(names), dtype=str)


# ---- samples


def read_train(cfg: Config, *, files: bool = False) -> Samples:
    """The labelled images.

    Args:
        cfg: the settings.
        files: also check that every image file is there.

    Raises:
        InputError: one message with all that is missing or wrong, with counts and the first five.
    """
    data = cfg.data
    extra = [name for name in (data.group, cfg.folds.column) if name]
    source, frame = _table(cfg, data.train, "data.train")
    if data.id in frame.columns:
        # In the order of their ids, so that nothing depends on the order of the table's rows.
        frame = frame.sort_values(data.id, kind="stable").reset_index(drop=True)
    samples = _samples(cfg, source, frame, data.id, data.image, [*data.labels, *extra], files, "data.image")
    return Samples(
        samples.ids,
        samples.paths,
        frame[list(data.labels)].set_axis(pd.Index(samples.ids, name="id"), axis=0),
        [str(cell) for cell in frame[data.group]] if data.group else None,
        [str(cell) for cell in frame[cfg.folds.column]] if cfg.folds.column else None,
    )


def read_test(cfg: Config, *, files: bool = False) -> Samples:
    """The images to predict, in the test table's order; see `read_train`."""
    source, frame = _table(cfg, cfg.data.test, "data.test")
    return _samples(cfg, source, frame, test_id(cfg), cfg.data.test_image, [], files, "data.test_image")


def test_id(cfg: Config) -> str:
    """The id column of the test table and the sample submission."""
    return cfg.data.test_id or cfg.data.id


def _table(cfg: Config, name: str, setting: str) -> tuple[str, pd.DataFrame]:
    if not cfg.root.is_dir():
        raise InputError(f"data.root {cfg.data.root} is not a folder. Put the competition's files there")
    if "{" in name:
        return f"{setting} = {name!r}", from_paths(cfg.root, name)
    path = inside(cfg.root, name, setting)
    if not path.is_file():
        raise InputError(f"{setting}: {path} does not exist")
    return str(path), read_csv(path).frame


def _samples(
    cfg: Config,
    source: str,
    frame: pd.DataFrame,
    id_column: str,
    template: str,
    wanted: Sequence[str],
    files: bool,
    setting: str,
) -> Samples:
    problems = require_columns(source, frame, [id_column, *wanted, *fields(template)])
    if problems:
        raise InputError("; ".join(problems))
    if not len(frame):
        raise InputError(f"{source} must have at least one row. Got a header only")
    ids = [str(cell) for cell in frame[id_column]]
    paths = fill(template, frame)
    problems = duplicates(source, ids)
    if empty := [number for number, id_ in enumerate(ids, 1) if not id_]:
        problems.append(f"{source}: {some('rows have', empty)} no id in column {id_column!r}")
    for path in paths:
        inside(cfg.root, path, setting)
    if files and (missing := [path for path in paths if not (cfg.root / path).is_file()]):
        problems.append(
            f"{setting} = {template!r}: {some('images are', missing)} not under {cfg.root}, of {len(paths)} in {source}"
        )
    if problems:
        raise InputError("; ".join(problems))
    return Samples(ids, paths, pd.DataFrame(index=pd.Index(ids, name="id")))


def require_columns(source: str, frame: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """What is wrong with the columns that are needed: missing ones, or ones that are there twice."""
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
    """What is wrong with ids that must be unique; an empty list where nothing is."""
    if len(set(ids)) == len(ids):
        return []
    seen: set[str] = set()
    repeated = list(dict.fromkeys(id_ for id_ in ids if id_ in seen or seen.add(id_)))  # type: ignore[func-returns-value]
    return [f"{source}: {some('ids appear', repeated)} more than once"]


def some(what: str, items: Sequence[object], limit: int = 5) -> str:
    """`1,234 ids appear (a, b, c, d, e, ...)`: a count and the first five."""
    shown = ", ".join(str(item)[:80] for item in items[:limit])
    return f"{len(items):,} {what} ({shown}{', ...' if len(items) > limit else ''})"
