"""Lists of images, a name in each line, that say which rows of a table train and which are tested."""

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.competition.tables.image_list import rows_named
from pipeline.detection.find_template import find_template
from pipeline.detection.found import Choice, Given
from pipeline.detection.habits import TEST_WORDS, TRAIN_WORDS, VALID_WORDS, says
from pipeline.detection.image_files import ImageFiles
from pipeline.detection.label_columns import names_files
from pipeline.detection.plain_template import images_of
from pipeline.detection.sheets import Sheet

_TRAINED = (*TRAIN_WORDS, *VALID_WORDS)


@dataclass(frozen=True)
class Listed:
    """What lists say of rows: the list of those that are to be predicted, these, and all that lists say, in words."""

    name: str
    tested: set[int]
    words: str

    @property
    def choice(self) -> Choice:
        """The setting that says it."""
        return Choice("data.split", self.name, self.words, said=True)


def by_lists(sheet: Sheet, lists: Sequence[Sheet], images: ImageFiles, said: Given) -> list[Sheet]:
    """Cut a table in two by the one list that says `test` and names some of its images; any other table stays as it is.

    Args:
        sheet: the table.
        lists: lists of names.
        images: the files.
        said: settings that the user has decided.
    """
    if sheet.names or not _test_lists(lists, said):
        return [sheet]
    keys = [*sheet.unique, *(name for name, cells in sheet.cells.items() if names_files(cells))]
    match = find_template(sheet.frame, keys, images, "train", given=said.get("data.image"))
    if match is None or not match.may_be_taken(said):
        return [sheet]
    listed = read_lists(lists, images_of(match.template, sheet.frame, images), said)
    if listed is None:
        return [sheet]
    is_tested = np.isin(np.arange(len(sheet.frame)), list(listed.tested))
    train, test = (sheet.frame[part].reset_index(drop=True) for part in (~is_tested, is_tested))
    return [
        replace(sheet, frame=train, split=listed.name, listed=listed.words),
        replace(sheet, frame=test, split=listed.name, listed=listed.words, is_test=True),
    ]


def read_lists(lists: Sequence[Sheet], paths: Sequence[str], said: Given) -> Listed | None:
    """Find what lists say of the images of rows; None where not one alone says `test` and names some of them."""
    named = {other.name: rows for other in _test_lists(lists, said) if (rows := _rows(other, paths))}
    if len(named) != 1 or len(paths) in map(len, named.values()):
        return None
    ((name, tested),) = named.items()
    trained = {other.name: _rows(other, paths) - tested for other in lists if _says(other, _TRAINED, TEST_WORDS)}
    others = [f"; {other} names {len(rows):,} of the others" for other, rows in trained.items() if rows]
    num_left = len(paths) - len(tested.union(*trained.values()))
    if others and num_left:
        others.append(f"; {num_left:,} that no list names are trained on")
    words = f"{name} names {len(tested):,} of {len(paths):,} images, which are to be predicted{''.join(others)}."
    return Listed(name, tested, words)


def _rows(names: Sheet, paths: Sequence[str]) -> set[int]:
    """Find the rows that a list names, by their images; none where it names others too."""
    rows, unclear = rows_named(names.names, paths)
    return set() if unclear else rows


def _test_lists(lists: Sequence[Sheet], said: Given) -> list[Sheet]:
    wanted = said.get("data.split")
    return [other for other in lists if (other.name == wanted if wanted else _says(other, TEST_WORDS, _TRAINED))]


def _says(sheet: Sheet, wanted: tuple[str, ...], unwanted: tuple[str, ...]) -> bool:
    """Whether the name of a list's file has one of some words, and none of others."""
    name = posixpath.basename(sheet.name)
    return says(name, wanted) and not says(name, unwanted)
