"""Which of a download's tables is the sample submission, its id column and the columns to fill."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from pipeline.competition.tables.sample import gives_an_answer, targets_of
from pipeline.detection.found import SAY, quoted
from pipeline.detection.habits import CLASS_OF_COCO
from pipeline.detection.sheets import Sheet, sheet_named
from pipeline.files import InputError
from pipeline.quoting import shown

# The way on from a sample that cannot be used.
_WITHOUT = f"{SAY} data.sample_submission=TABLE for another one, or nothing behind the = for an id and a label column"


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


def find_sample(root: Path, sheets: Sequence[Sheet], given: str | None = None) -> Sample | None:
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
        raise InputError(f"{root / sheet.name} must have a column to fill beside {shown(id_)}. It has none; {_WITHOUT}")
    if sheet.headerless and len(targets) > 1:
        raise InputError(
            f"{root / sheet.name} must have a header line that says which of its {len(targets):,} columns to fill is "
            "which class. Its first line names an image; write one above it, and take it out of the submission"
        )
    return Sample(sheet, id_, tuple(targets), why)


def _choose_sample(root: Path, sheets: Sequence[Sheet]) -> tuple[Sheet, str] | None:
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
        raise InputError(f"{root / sample.name} must have at least one row. Got a header only; {_WITHOUT}")
    if not sample.unique:
        first = next(iter(sample.cells), "")
        cells = sample.cells.get(first, [""])
        counts = Counter(cells)
        twice = next((cell for cell in cells if cell == "" or counts[cell] > 1), "")
        raise InputError(
            f"{root / sample.name} must have a column with another id in every row. Column {shown(first)} has "
            f"{shown(twice)} more than once, or empty; mend it, {_WITHOUT}, or "
            f"data.headerless='[\"{sample.name}\"]' where its first line is a row"
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
    if sheet.headerless or not sheet.is_csv or not sheet.unique or len(sheet.frame) < 2 or len(sheet.cells) < 2:
        return False
    id_ = sheet.unique[0]
    return all(len(set(cells)) == 1 for name, cells in sheet.cells.items() if name != id_)


def _lists_classes(sheet: Sheet, sheets: Sequence[Sheet]) -> bool:
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


def _has_the_test_ids(sheet: Sheet, sheets: Sequence[Sheet]) -> bool:
    """Whether another table has a csv's ids and nothing else of it, and a third one its other columns for other ids."""
    if sheet.headerless or not sheet.is_csv or not sheet.unique or len(sheet.cells) < 2:
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
