"""Which of a download's tables is the sample submission, and what a table's columns are."""

import math
import posixpath
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pandas as pd

from pipeline.competition.tables.csv_table import counted
from pipeline.competition.tables.json_table import read_frame
from pipeline.competition.tables.sample import gives_an_answer, targets_of
from pipeline.competition.tables.table import is_test
from pipeline.detection.found import SAY, quoted
from pipeline.detection.image_files import is_image
from pipeline.files import InputError

# In cocodataset.org's data format, an annotation's class.
CLASS_OF_COCO = "category_id"
# A folder with more tables than this holds data (one table for an image), not descriptions of the competition.
MAX_TABLES = 20
# So many json files that are named as images are say something of one image each.
_MANY = 3
# What a column says that tells train from test rows.
_SPLIT_WORDS = {"train", "training", "val", "valid", "validation", "dev", "test", "testing"}


@dataclass(frozen=True)
class Sheet:
    """A table with its path relative to the competition's folder.

    split: the column by which it is one split of a table of both; is_test: which one.
    """

    name: str
    frame: pd.DataFrame
    split: str = ""
    is_test: bool = False

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

    def column(self, name: str) -> str | None:
        """Find the column of this name; in any case, where only one is."""
        if name in self.cells:
            return name
        alike = [own for own in self.cells if own.casefold() == name.casefold()]
        return alike[0] if len(alike) == 1 else None


@dataclass(frozen=True)
class Sample:
    """The sample submission: its id column, the columns to fill, and how it was recognised."""

    sheet: Sheet
    id: str
    targets: tuple[str, ...]
    why: str

    def limited_to(self, columns: Sequence[str]) -> "Sample":
        """Leave of the columns to fill those that are labels, where any are: the others are copied."""
        wanted = tuple(name for name in self.targets if name in columns)
        return replace(self, targets=wanted) if wanted else self

    @cached_property
    def answers(self) -> list[str]:
        """The answers that stand in it, without signs that there is none."""
        return [cell for name in self.targets for cell in self.sheet.cells[name] if gives_an_answer(cell)]


def read_sheets(root: Path, paths: Iterable[str]) -> tuple[list[Sheet], list[str]]:
    """Read every csv and tsv at the root or one folder down, every json up to two; returns what is wrong with those
    that cannot be read too.

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
        if folder and len(names) > MAX_TABLES:
            problems.append(f"{folder}/ holds {len(names):,} tables, which were left alone")
            continue
        for name in names:
            try:
                sheets.append(Sheet(name, read_frame(root / name)))
            except InputError as error:
                if _says(name):
                    raise  # without it the folder would be read as another competition
                problems.append(str(error))
    return sheets, problems


def _may_be_a_table(path: str) -> bool:
    """Whether a file is a table by its name, and lies where `read_sheets` reads tables."""
    folder, _, name = path.rpartition("/")
    is_json = name.lower().endswith(".json")
    is_hidden = name.startswith((".", "_")) or folder.startswith((".", "__"))
    if is_hidden or folder.count("/") > (1 if is_json else 0):
        return False
    # The answers of a practice competition: what a contestant would not have.
    return is_json or (name.lower().endswith((".csv", ".tsv")) and name != "answers.csv")


def _of_images(paths: Sequence[str]) -> list[str]:
    """Find json files that are named as images are: where there are many, each says something of one image."""
    found = [path for path in paths if path.lower().endswith(".json") and not _says(path)]
    if len(found) < _MANY:
        return []
    images = {posixpath.splitext(path)[0] for path in paths if is_image(path)}
    found = [path for path in found if path[:-5] in images]
    return found if len(found) >= _MANY else []


def _says(path: str) -> bool:
    """Whether a file's name says that it is a train table or a sample submission."""
    return any(word in posixpath.basename(path).lower() for word in ("train", "sample", "sub"))


def sheet_named(root: Path, sheets: list[Sheet], key: str, name: str) -> Sheet:
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
        if given is None:
            # A column of anything else is known by its first cells.
            says_split = all(cell.strip().casefold() in _SPLIT_WORDS for cell in cells)
        else:
            says_split = column == given
        if not says_split:
            continue
        marked_words = {cell: is_test(cell) for cell in set(cells)}
        says_train = given is not None or any(cell.strip().casefold().startswith("train") for cell in marked_words)
        if says_train and any(marked_words.values()) and not all(marked_words.values()):
            marked = sheet.frame[column].map(is_test)
            rest = sheet.frame.drop(columns=column)
            train, test = (rest[rows].reset_index(drop=True) for rows in (~marked, marked))
            return [Sheet(sheet.name, train, column), Sheet(sheet.name, test, column, is_test=True)]
    return [sheet]


def find_sample(root: Path, sheets: list[Sheet], given: str | None = None) -> Sample | None:
    """Find the sample submission: the given one; else by its name, else by what is in it; None where there is none.

    Raises:
        InputError: two tables are equally good, or the best has no id or no column to fill.
    """
    if given is None:
        chosen = _choose_sample(root, [sheet for sheet in sheets if not sheet.split])
    else:
        chosen = (sheet_named(root, sheets, "data.sample_submission", given), "as was said") if given else None
    if chosen is None:
        return None
    sheet, why = chosen
    id_ = _sample_id(root, sheet)
    targets = [name for name in targets_of(sheet.frame, id_) if name in sheet.cells]
    asked = set(sheet.cells[id_])
    for other in sheets:
        if other is not sheet and id_ in other.unique and set(other.cells[id_]) == asked:
            targets = [name for name in targets_of(sheet.frame, id_, other.frame) if name in targets]
    if not targets:
        raise InputError(f"{root / sheet.name} must have a column to fill beside {id_!r}. It has none")
    return Sample(sheet, id_, tuple(targets), why)


def _choose_sample(root: Path, sheets: list[Sheet]) -> tuple[Sheet, str] | None:
    """Choose the sample submission, and say why.

    Raises:
        InputError: two tables are equally good.
    """
    ranked = sorted((rank, sheet.name.count("/"), sheet.name) for sheet in sheets if (rank := sample_rank(sheet)) < 3)
    by_name = {sheet.name: sheet for sheet in sheets}
    if ranked:
        best = [name for *rank, name in ranked if rank == list(ranked[0][:2])]
        if len(best) > 1 and not by_name[best[0]].frame.equals(by_name[best[1]].frame):
            raise InputError(
                f"{root} must hold one sample submission. Got {quoted(best)}; move all but one out of the folder, "
                f"{SAY} data.sample_submission={best[0]}"
            )
        return by_name[best[0]], "the sample submission, by its name"
    silent = [sheet for sheet in sheets if _says_nothing(sheet) and not _lists_classes(sheet, sheets)]
    # Several that differ in the answer alone (all zeros, all ones) ask for the same.
    if silent and all(_asks_the_same(sheet, silent[0]) for sheet in silent):
        return silent[0], "taken for the sample submission: its answers are all alike"
    asked = [sheet for sheet in sheets if _has_the_test_ids(sheet, sheets)]
    if len(asked) == 1:
        why = "another table lists its ids without answers, and a third one has answers for other ids"
        return asked[0], f"taken for the sample submission: {why}"
    return None


def _sample_id(root: Path, sample: Sheet) -> str:
    """Choose the sample submission's id column: the first whose cells are all different.

    Raises:
        InputError: there is none, or no row.
    """
    if not len(sample.frame):
        raise InputError(f"{root / sample.name} must have at least one row. Got a header only")
    if not sample.unique:
        first = next(iter(sample.cells), "")
        cells = sample.cells.get(first, [""])
        counts = Counter(cells)
        twice = next((cell for cell in cells if cell == "" or counts[cell] > 1), "")
        raise InputError(
            f"{root / sample.name} must have a column with another id in every row. Column {first!r} has {twice!r} "
            f"more than once, or empty; mend it, {SAY} data.sample_submission="
        )
    return sample.unique[0]


def sample_rank(sheet: Sheet) -> int:
    """Rank how surely a name is a sample submission's, from 0 to 2; 3: it is not."""
    says_sample, says_submission = "sample" in sheet.stem, "sub" in sheet.stem
    if "train" in sheet.stem or not (says_sample or says_submission):
        return 3
    if not says_sample:
        return 2
    return 0 if says_submission else 1


def _says_nothing(sheet: Sheet) -> bool:
    """Whether a csv has ids of its own and beside them one and the same answer in every row."""
    if sheet.name.endswith(".json") or not sheet.unique or len(sheet.frame) < 2 or len(sheet.cells) < 2:
        return False
    id_ = sheet.unique[0]
    return all(len(set(cells)) == 1 for name, cells in sheet.cells.items() if name != id_)


def _lists_classes(sheet: Sheet, sheets: list[Sheet]) -> bool:
    """Whether the ids of a csv are what some column of another table repeats, most of them: it describes classes."""
    ids = set(sheet.cells[sheet.unique[0]])
    return any(
        ids >= (values := set(cells)) and 1 < len(values) < len(cells) and 2 * len(values) > len(ids)
        for other in sheets
        if other is not sheet
        for cells in other.cells.values()
    )


def _asks_the_same(sheet: Sheet, other: Sheet) -> bool:
    """Whether two tables have the same header and ids."""
    id_ = sheet.unique[0]
    return list(sheet.cells) == list(other.cells) and sheet.cells[id_] == other.cells[id_]


def _has_the_test_ids(sheet: Sheet, sheets: list[Sheet]) -> bool:
    """Whether another table has a csv's ids and nothing else of it, and a third one its other columns for other ids."""
    if sheet.name.endswith(".json") or not sheet.unique or len(sheet.cells) < 2:
        return False
    id_ = sheet.unique[0]
    ids, rest = set(sheet.cells[id_]), set(sheet.cells) - {id_}
    others = [other for other in sheets if other is not sheet]
    lists = any(
        not rest & set(other.cells) and any(set(other.cells[n]) == ids for n in other.unique) for other in others
    )
    return lists and any(
        (rest <= set(other.cells) or CLASS_OF_COCO in other.cells)
        and not any(ids & set(other.cells[name]) for name in other.unique)
        for other in others
    )


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
