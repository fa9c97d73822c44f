"""What is in a competition's folder, before any of it is understood: images, tables, the sample submission, and what is
passed over and why.
"""

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.competition.tables.csv_table import counted
from pipeline.competition.tables.long_table import find_id_template, is_long, widen
from pipeline.competition.tables.passed_over import is_passed_over
from pipeline.competition.tables.templates import fields
from pipeline.detection.encodings import find_encoding
from pipeline.detection.find_template import find_template
from pipeline.detection.found import Choice, Given, first_problems, quoted
from pipeline.detection.image_files import (
    ARRAYS,
    SUFFIXES,
    ImageFiles,
    images_by_content,
    is_unread,
    way_to_read,
)
from pipeline.detection.name_lists import by_lists
from pipeline.detection.plain_template import images_of
from pipeline.detection.sample_table import Sample, find_sample
from pipeline.detection.sheets import Sheet, by_split, read_sheets, text_tables
from pipeline.files import InputError, walk

_ARCHIVE_PART = r"\.(zip|7z|tar|gz|tgz)\.\d+$"


@dataclass(frozen=True)
class Inventory:
    """A competition's files, each once.

    root: the folder, as messages and `data.root` name it; opened: where its files are read.
    files: all but those that are passed over, of which there are `num_hidden`.
    rows: the template of the sample's ids, where it has a row for each image and class; the tables are then wide.
    problems: what cannot be read, and why.
    said: settings that the user has decided.
    encoding: of tables that are not in UTF-8, where other files tell it.
    """

    root: Path
    opened: Path
    files: tuple[str, ...]
    images: ImageFiles
    sheets: tuple[Sheet, ...]
    sample: Sample | None
    rows: str = ""
    problems: tuple[str, ...] = ()
    said: Given = field(default_factory=dict)
    num_hidden: int = 0
    encoding: Choice | None = None

    @property
    def table_names(self) -> str:
        """The tables' names, for a message."""
        return quoted(list(dict.fromkeys(sheet.name for sheet in self.sheets)), 10) or "none"

    @cached_property
    def asked(self) -> frozenset[str]:
        """The images that the sample's ids name: they are no train images where no table says so."""
        if self.sample is None:
            return frozenset()
        frame, template = self.sample.sheet.frame, self.said.get("data.test_image")
        template = template if template is not None and set(fields(template)) <= set(frame) else None
        match = find_template(frame, [self.sample.id], self.images, "test", given=template)
        taken = match is not None and match.may_be_taken(self.said)
        return frozenset(images_of(match.template, frame, self.images)) if match and taken else frozenset()

    @property
    def unread(self) -> list[str]:
        """Images and archives of kinds that are not read."""
        return _unread(self.files)

    def seen(self, problems: Sequence[str]) -> list[str]:
        """What is in the folder, in sentences, with what readings found wrong."""
        counts = f"{len(self.files):,} files, {len(self.images.paths):,} of them images"
        unread = [counted("files", found)] if (found := _unread(self.files)) else []
        hidden = [f"Passed over: {self.num_hidden:,} hidden or system files."] if self.num_hidden else []
        return [
            f"Seen: {counts}; tables: {self.table_names}.",
            *hidden,
            *(f"Not read: {text}." for text in first_problems([*self.problems, *problems]) + unread),
        ]


def take_inventory(root: Path, opened: Path, said: Mapping[str, Any]) -> Inventory:
    """List a folder's files and read its tables.

    Raises:
        InputError: it is empty, has no images, an archive is in parts, or a table that it cannot do without cannot be
            read.
    """
    listed = list(walk(opened))
    files = tuple(path for path in listed if not is_passed_over(path))
    images = ImageFiles(files, images_by_content(opened, files))
    _must_hold_images(root, files, images)
    encoding = None if "data.encoding" in said else find_encoding(opened, text_tables(files), files)
    decoding = {**said, "data.encoding": encoding.value} if encoding else said
    tables, problems = read_sheets(opened, files, images, decoding)
    asked = said.get("data.sample_submission")
    sheets = _with_splits(root, tables, images, said)
    sample = find_sample(root, sheets, asked)
    num_hidden = len(listed) - len(files)
    inventory = Inventory(
        root, opened, files, images, tuple(sheets), sample, "", tuple(problems), said, num_hidden, encoding
    )
    if sample and len(sample.targets) == 1:
        found = find_id_template(sample.sheet.cells[sample.id], lambda text: next(images.named(text), None) is not None)
        if found:
            sheets = [_widened(sheet, sample.id, *found) for sheet in sheets]
            sample = find_sample(root, sheets, asked)
            return replace(inventory, sheets=tuple(sheets), sample=sample, rows=found[0])
    return inventory


def _must_hold_images(root: Path, files: Sequence[str], images: ImageFiles) -> None:
    """Refuse a folder without images, and say what is to be done to what lies there.

    Raises:
        InputError: it is empty, its archives are in parts, or its images are of kinds that are not read.
    """
    if not files:
        raise InputError(f"{root} is empty. Put the competition's files there")
    if parts := _archive_parts(root, files):
        whole = parts[0].rpartition(".")[0]
        raise InputError(
            f"{root} must hold whole archives. Got {counted('files that are parts of archives', parts)}; join them, as "
            f"in: cat {whole}.* > {whole}, and move the parts away"
        )
    if images.paths:
        return
    if rar := [path for path in files if path.lower().endswith(".rar")]:
        raise InputError(
            f"{root} must hold archives that are unpacked here (zip, 7z, tar). Got {counted('files', rar)}; unpack "
            f"them there by hand, as in: unrar x {rar[0]}"
        )
    if unread := _unread(files):
        raise InputError(
            f"{root} must hold images that can be read ({' '.join(SUFFIXES)}). Got "
            f"{counted('files of other kinds', unread)}; {way_to_read(unread)}"
        )
    arrays = [path for path in files if path.lower().endswith(ARRAYS)]
    what = counted("files of arrays or tables", arrays) if arrays else counted("files", files)
    raise InputError(
        f"{root} must hold images in files of their own. Got {what}; pixels in a table or in "
        "one large file must be written as PNG files first"
    )


def _with_splits(root: Path, tables: list[Sheet], images: ImageFiles, said: Given) -> list[Sheet]:
    """Cut the tables of both splits in two, by a column or a list of the test images: where the user says so, or the
    sample asks for the test rows; without a sample where these have a column less, or no test image lies elsewhere.
    """
    column = said.get("data.split")
    splits = {sheet.name: pair for sheet in tables if len(pair := by_split(sheet, column)) == 2}
    lists = [sheet for sheet in tables if sheet.names]
    for sheet in tables if lists else []:
        if sheet.name not in splits and len(pair := by_lists(sheet, lists, images, said)) == 2:
            splits[sheet.name] = pair
    if not splits:
        return tables
    sample = find_sample(
        root, [sheet for sheet in tables if sheet.name not in splits], said.get("data.sample_submission")
    )
    asked = set(sample.sheet.cells[sample.id]) if sample else set()

    def holds_both(train: Sheet, test: Sheet) -> bool:
        ids = [set(test.cells[name]) for name in test.unique]
        if column is not None:
            return True
        if sample:
            return any(asked <= cells for cells in ids)
        if any(set(cells) == {""} != set(train.cells[name]) for name, cells in test.cells.items()):
            return True
        own = {posixpath.basename(cell) for cells in ids for cell in cells}
        names = {posixpath.basename(path) for path in images.paths if "test" in posixpath.dirname(path).lower()}
        return all(name in own or posixpath.splitext(name)[0] in own for name in names)

    both = {name for name, pair in splits.items() if holds_both(*pair)}
    return [split for sheet in tables for split in (splits[sheet.name] if sheet.name in both else [sheet])]


def _archive_parts(root: Path, files: Sequence[str]) -> list[str]:
    """Find parts of archives that were cut, `train.zip.001`, where the whole one is neither among the files nor, as
    where archives lie open elsewhere, in the folder.
    """
    parts = [path for path in files if path[-1].isdigit() and re.search(_ARCHIVE_PART, path.lower())]
    known = set(files) if parts else set()
    return [path for path in parts if (name := path.rpartition(".")[0]) not in known and not (root / name).is_file()]


def _unread(files: Sequence[str]) -> list[str]:
    """Find images of kinds that are not read."""
    return [path for path in files if is_unread(path)]


def _widened(sheet: Sheet, id_column: str, rows: str, classes: Sequence[str]) -> Sheet:
    """Give a table a row for each image, where it has one for each image and class."""
    name = sheet.column(id_column)
    if name is None or not is_long(sheet.cells[name], rows, classes):
        return sheet
    return replace(sheet, frame=widen(sheet.frame, name, rows, classes, sheet.name))
