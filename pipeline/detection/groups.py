"""Columns of images that must share a fold."""

from collections import Counter
from collections.abc import Iterator, Sequence

from pipeline.competition.tables.rows_by_id import rows_by_id
from pipeline.detection.found import Choice
from pipeline.detection.habits import GROUP_WORDS, LEAST_GROUPS, MAX_GROUP, MIN_GROUP, says
from pipeline.detection.image_files import ENOUGH
from pipeline.detection.sheets import Sheet, has_fractions, numbers_of
from pipeline.quoting import shown


def choose_groups(
    train: Sheet, id_: str, test: Sheet | None, test_id: str, used: Sequence[str], others: Sequence[Sheet]
) -> list[Choice]:
    """Choose the column whose values repeat and of which the test images have others: it names a person, place or
    thing, and folds that share none are as far from what they are trained on as the test images are. Columns
    of which the test images tell nothing are proposed.

    Args:
        train: the train table.
        id_: its id column.
        test: the table of the test ids, where there is one.
        test_id: its id column.
        used: columns of the train table that are something else.
        others: the other tables, which may say more of the same images.
    """
    found, proposals = [], []
    for name, cells in train.cells.items():
        if name in used or not _may_be_groups(cells):
            continue
        text = _in_words(name, cells)
        if test is not None and _are_others(cells, test.cells.get(name, [])):
            found.append((*_rank(name, cells), name, text))
        elif len(cells) <= MAX_GROUP * len(set(cells)):
            reason = (
                f"{text}. Not used: set it if it names a person, place or thing, of which the test set shows others:"
            )
            proposals.append(Choice("data.group", name, reason, proposed=True))
    ids = train.cells.get(id_, [])
    asked = test.cells.get(test_id, []) if test is not None else []
    found += list(_of_other_tables(ids, asked, id_, test_id, others)) if not found else []
    if not found:
        return proposals
    *_, name, text = min(found)
    reason = (
        f"{text}, and the test images have others: images of one value share a fold. Where that is not so: "
        '--set data.group=""'
    )
    return [Choice("data.group", name, reason, said=True), *proposals]


def _of_other_tables(
    ids: Sequence[str], asked: Sequence[str], id_: str, test_id: str, others: Sequence[Sheet]
) -> Iterator[tuple[bool, bool, int, str, str]]:
    """List such columns of other tables, with their `_rank`, as `data.group` names them, and what they are."""
    of_train = [(sheet, *found) for sheet in others if (found := _rows(sheet, ids, id_))]
    of_test = [(sheet, found[1]) for sheet in others if (found := _rows(sheet, asked, test_id))]
    for sheet, key, rows in of_train:
        for name, cells in sheet.cells.items():
            own = [cells[row] for row in rows]
            if name == key or not _may_be_groups(own):
                continue
            for other, test_rows in of_test:
                theirs = other.cells.get(name, [])
                if theirs and _are_others(own, [theirs[row] for row in test_rows]):
                    text = _in_words(f"{sheet.name}:{name}", own)
                    by_key = f", by its column {shown(key)}" if key != id_ else ""
                    yield *_rank(name, own), f"{sheet.name}:{name}", text + by_key


def _rows(sheet: Sheet, ids: Sequence[str], first: str) -> tuple[str, list[int]] | None:
    """Find the column of a table that has (nearly) all ids, and their rows; None where none has."""
    key, rows = rows_by_id({name: sheet.cells[name] for name in sheet.unique}, ids, first)
    found = [row for row in rows if row is not None]
    return (key, found) if key and len(found) >= ENOUGH * len(ids) else None


def _rank(name: str, cells: Sequence[str]) -> tuple[bool, bool, int]:
    """How likely a column names a person, place or thing, the likeliest first: by its name, no number, few values."""
    return not says(name, GROUP_WORDS), numbers_of(cells) is not None, len(set(cells))


def _may_be_groups(cells: Sequence[str]) -> bool:
    """Whether values repeat, and are enough of them to be split over folds."""
    distinct = len(set(cells))
    return (
        distinct >= LEAST_GROUPS and "" not in cells and not has_fractions(cells) and len(cells) >= MIN_GROUP * distinct
    )


def _are_others(cells: Sequence[str], test_cells: Sequence[str]) -> bool:
    """Whether the test images have values, and none of the train images'."""
    return len(test_cells) > 0 and "" not in test_cells and not set(cells) & set(test_cells)


def _in_words(name: str, cells: Sequence[str]) -> str:
    distinct, most = len(set(cells)), max(Counter(cells).values())
    return f"{name!r} has {distinct:,} values, {len(cells) / distinct:.1f} images each on average, {most:,} at most"
