"""The tables of a download and their columns, as text cells."""

import math
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.competition.tables.csv_table import counted
from pipeline.competition.tables.json_table import read_frame
from pipeline.competition.tables.other_tables import LIST_COLUMNS, LISTS, READERS
from pipeline.competition.tables.table import is_test
from pipeline.detection.found import quoted
from pipeline.detection.habits import MANY_ANNOTATIONS, MAX_TABLES, SPLIT_WORDS, TABLE_WORDS
from pipeline.detection.image_files import MOST_DIGITS, ImageFiles, evenly_spaced, is_image
from pipeline.files import InputError


@dataclass(frozen=True)
class Sheet:
    """A table with its path relative to the competition's folder.

    split: the column or list by which it is one split of a table of both; is_test: which one.
    listed: what the lists say of its rows, in words, where a list splits it.
    headerless: its file has no header line.
    """

    name: str
    frame: pd.DataFrame
    split: str = ""
    is_test: bool = False
    listed: str = ""
    headerless: bool = False

    @cached_property
    def cells(self) -> dict[str, list[str]]:
        """The columns that have a name of their own, as text."""
        names = [str(name) for name in self.frame.columns]
        return {
            name: [str(cell) for cell in self.frame[name]]
            for name in names
            if name and not name.startswith("Unnamed:") and names.count(name) == 1
        }

    @cached_property
    def unique(self) -> list[str]:
        """The columns that could be an id: no cell empty, none twice."""
        return [name for name, cells in self.cells.items() if "" not in cells and len(set(cells)) == len(cells) > 0]

    @property
    def stem(self) -> str:
        """The file's name in small letters, without folder and extension."""
        return posixpath.splitext(posixpath.basename(self.name))[0].lower()

    @property
    def is_csv(self) -> bool:
        """Whether it is a csv, which a submission must be."""
        return self.name.lower().endswith((".csv", ".tsv"))

    @property
    def is_list(self) -> bool:
        """Whether it is a list of paths, with labels or without."""
        return self.name.lower().endswith(LISTS)

    @property
    def names(self) -> list[str]:
        """The lines of a list that has a name in each, and nothing else; of any other table none."""
        if self.is_list and LIST_COLUMNS[1] not in self.cells:
            return self.cells[LIST_COLUMNS[0]]
        return next(iter(self.cells.values())) if self.headerless and len(self.cells) == 1 else []

    def column(self, name: str) -> str | None:
        """Find the column of this name; in any case, where only one is."""
        if name in self.cells:
            return name
        alike = [own for own in self.cells if own.casefold() == name.casefold()]
        return alike[0] if len(alike) == 1 else None


def read_sheets(
    root: Path, paths: Iterable[str], images: ImageFiles, said: Mapping[str, Any]
) -> tuple[list[Sheet], list[str]]:
    """Read every table at the root or one folder down, every json up to two; returns what is wrong with those that
    cannot be read too. `said` are the settings that the user has decided: encoding and separator of tags.

    Raises:
        InputError: one that is a train table or a sample submission by its name cannot be read.
    """
    paths = list(paths)
    of_images = _of_images(paths)
    left_alone = set(of_images)
    folders: dict[str, list[str]] = {}
    for path in paths:
        if path not in left_alone and _may_be_a_table(path):
            folders.setdefault(posixpath.dirname(path), []).append(path)
    sheets, problems = [], []
    if of_images:
        problems.append(
            f"{counted('files of one image each', of_images)} were left alone; a table must hold what they say"
        )
    for folder, names in folders.items():
        lists = [name for name in names if name.lower().endswith(LISTS)]
        if folder and len(names) - len(lists) > MAX_TABLES:
            problems.append(f"{folder}/ holds {len(names):,} tables, which were left alone")
            continue
        lists = [name for name in lists[:MAX_TABLES] if _is_list(root / name, images)]
        for name in [name for name in names if not name.lower().endswith(LISTS) or name in lists]:
            try:
                sheets.append(_read_sheet(root, name, images, said))
            except InputError as error:
                if _says(name) and name not in lists:
                    raise  # without it the folder would be read as another competition
                problems.append(str(error))
    return sheets, problems


def _read_sheet(root: Path, name: str, images: ImageFiles, said: Mapping[str, Any]) -> Sheet:
    """Read a table; where its header names an image as the cells below do, or as is said, it is a row."""
    read = partial(read_frame, root / name, said.get("data.encoding", ""), said.get("data.tag_separator", ""))
    if name in said.get("data.headerless", ()):
        return Sheet(name, read(headerless=True), headerless=True)
    frame = read()
    for place, column in enumerate(map(str, frame.columns)):
        if column and _is_a_row(column, [str(cell) for cell in frame.iloc[:, place]], images):
            return Sheet(name, read(headerless=True), headerless=True)
    return Sheet(name, frame)


def _is_a_row(column: str, cells: Sequence[str], images: ImageFiles) -> bool:
    """Whether a column's name and its cells are names of images, in any case; numbers may lack the leading zeros of
    their files, and must differ: flags are none.
    """
    probes = [column, *(cells[row] for row in evenly_spaced(len(cells), 10))]
    numbers = all(cell.isdecimal() for cell in probes)
    if not cells or not all(probes) or (numbers and len({column, *cells}) <= len(cells)):
        return False
    widths = range(1, MOST_DIGITS + 1) if numbers else (0,)
    return any(all(images.is_named(cell.zfill(width)) for cell in probes) for width in widths)


def _is_list(path: Path, images: ImageFiles) -> bool:
    """Whether a text begins with the path of an image, and goes on so."""
    with path.open("rb") as stream:
        lines = stream.read(4096).decode(errors="replace").splitlines()[:5]
    lines = [line for line in lines if line.strip()]
    firsts = [re.split(r"[\t, ]", line.strip(), maxsplit=1)[0] for line in lines]
    return len(lines) > 1 and all(images.is_named(posixpath.normpath(first)) for first in firsts[:-1])


def _may_be_a_table(path: str) -> bool:
    """Whether a file is a table by its name, and lies where `read_sheets` reads tables."""
    folder, _, name = path.rpartition("/")
    is_json = name.lower().endswith((".json", ".jsonl"))
    if folder.count("/") > (1 if is_json else 0):
        return False
    # The answers of a practice competition: what a contestant would not have.
    return is_json or (name.lower().endswith((".csv", ".tsv", *READERS, *LISTS)) and name != "answers.csv")


def text_tables(paths: Iterable[str]) -> list[str]:
    """The tables whose encoding is not known by their kind."""
    return [path for path in paths if _may_be_a_table(path) and path.lower().endswith((".csv", ".tsv"))]


def _of_images(paths: Sequence[str]) -> list[str]:
    """Find json files that are named as images are: where there are many, each says something of one image."""
    found = [path for path in paths if path.lower().endswith(".json") and not _says(path)]
    if len(found) < MANY_ANNOTATIONS:
        return []
    images = {posixpath.splitext(path)[0] for path in paths if is_image(path)}
    found = [path for path in found if path[:-5] in images]
    return found if len(found) >= MANY_ANNOTATIONS else []


def _says(path: str) -> bool:
    """Whether a file's name says that it is a train table or a sample submission."""
    return any(word in posixpath.basename(path).lower() for word in TABLE_WORDS)


def sheet_named(root: Path, sheets: Sequence[Sheet], key: str, name: str) -> Sheet:
    """Find the table that a setting names.

    Raises:
        InputError: there is no such table.
    """
    found = next((sheet for sheet in sheets if sheet.name == name), None)
    if found is None:
        raise InputError(
            f"{key} must be a table of {root}: {quoted([sheet.name for sheet in sheets], 10) or 'none'}. Got {name!r}"
        )
    return found


def by_split(sheet: Sheet, given: str | None = None) -> list[Sheet]:
    """Cut a table of both splits in two, without the column that says which; any other table stays as it is.

    Args:
        sheet: the table.
        given: the column that the user has decided.
    """
    for column, cells in sheet.cells.items():
        if given is not None and column != given:
            continue
        # A column of anything else is known by its first cells.
        if given is None and any(cell.strip().casefold() not in SPLIT_WORDS for cell in cells):
            continue
        marked_words = {cell: is_test(cell) for cell in set(cells)}
        says_train = given is not None or any(cell.strip().casefold().startswith("train") for cell in marked_words)
        if says_train and any(marked_words.values()) and not all(marked_words.values()):
            marked = sheet.frame[column].map(is_test)
            rest = sheet.frame.drop(columns=column)
            train, test = (rest[rows].reset_index(drop=True) for rows in (~marked, marked))
            return [Sheet(sheet.name, train, column), Sheet(sheet.name, test, column, is_test=True)]
    return [sheet]


def numbers_of(cells: Sequence[str]) -> list[float] | None:
    """Read cells as finite numbers; None where one is none."""
    try:
        values = [float(cell) for cell in cells]
    except ValueError:
        return None
    return values if values and all(math.isfinite(value) for value in values) else None


def has_fractions(cells: Sequence[str]) -> bool:
    """Whether cells are numbers of which one is no whole number."""
    values = numbers_of(cells)
    return values is not None and any(value != int(value) for value in values)
