"""Columns of images that must share a fold."""

from collections import Counter
from collections.abc import Iterator, Sequence

from pipeline.detection.found import Choice
from pipeline.detection.habits import LEAST_GROUPS, MAX_GROUP, MIN_GROUP
from pipeline.detection.image_files import ENOUGH
from pipeline.detection.sheets import Sheet, has_fractions


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
    shown, proposals = [], []
    for name, cells in train.cells.items():
        if name in used or not _may_be_groups(cells):
            continue
        text = _in_words(name, cells)
        if test is not None and _are_others(cells, test.cells.get(name, [])):
            shown.append((len(set(cells)), name, text))
        elif len(cells) <= MAX_GROUP * len(set(cells)):
            reason = (
                f"{text}. Not used: set it if it names a person, place or thing, of which the test set shows others:"
            )
            proposals.append(Choice("data.group", name, reason, proposed=True))
    ids = train.cells.get(id_, [])
    asked = test.cells.get(test_id, []) if test is not None else []
    shown += list(_of_other_tables(ids, asked, id_, test_id, others)) if not shown else []
    if not shown:
        return proposals
    _, name, text = min(shown)
    reason = (
        f"{text}, and the test images have others: images of one value share a fold. Where that is not so: "
        '--set data.group=""'
    )
    return [Choice("data.group", name, reason, said=True), *proposals]


def _of_other_tables(
    ids: Sequence[str], asked: Sequence[str], id_: str, test_id: str, others: Sequence[Sheet]
) -> Iterator[tuple[int, str, str]]:
    """List such columns of other tables, as `data.group` names them, with their number of values and what they are."""
    of_train = [sheet for sheet in others if id_ in sheet.unique and _holds(sheet, id_, ids)]
    of_test = [sheet for sheet in others if test_id in sheet.unique and asked and _holds(sheet, test_id, asked)]
    for sheet in of_train:
        known = dict(zip(sheet.cells[id_], range(len(sheet.frame)), strict=True))
        rows = [known[cell] for cell in ids if cell in known]
        for name, cells in sheet.cells.items():
            own = [cells[row] for row in rows]
            if name == id_ or not _may_be_groups(own):
                continue
            for other in of_test:
                wanted = set(asked)
                theirs = other.cells.get(name, [])
                keys = other.cells[test_id]
                tested = [cell for key, cell in zip(keys, theirs, strict=False) if key in wanted]
                if _are_others(own, tested):
                    yield len(set(own)), f"{sheet.name}:{name}", _in_words(f"{sheet.name}:{name}", own)


def _holds(sheet: Sheet, column: str, ids: Sequence[str]) -> bool:
    known = set(sheet.cells[column])
    return len(ids) > 0 and sum(cell in known for cell in ids) >= ENOUGH * len(ids)


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
