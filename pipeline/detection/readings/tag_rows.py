"""A row for each tag of an image: `1.jpg,red` and below it `1.jpg,green`, as tables of image-level labels have.

Rows of which most say the same of their image are several people's, who were asked for one label.
"""

from dataclasses import replace

import pandas as pd

from pipeline.detection.candidates import Candidate, Refusal
from pipeline.detection.found import Choice, quoted
from pipeline.detection.habits import MANY_TAGS
from pipeline.detection.inventory import Inventory
from pipeline.detection.label_columns import Labels
from pipeline.detection.readings.table import read_sheet
from pipeline.detection.sample_table import sample_rank
from pipeline.detection.sheets import Sheet

_SEPARATORS = (" ", ",", "|", ";")


def read(inventory: Inventory) -> list[Candidate | Refusal]:
    """Read the tables in which the rows of an image differ in one column alone, if the user lets rows be joined."""
    sample = inventory.sample
    if inventory.said.get("data.tag_separator") == "":
        return []
    found: list[Candidate | Refusal] = []
    for sheet in inventory.sheets:
        if sheet.is_test or sample_rank(sheet) < 3 or (sample and sheet is sample.sheet):
            continue
        for id_ in _repeated_ids(inventory, sheet):
            found += _read_rows(inventory, sheet, id_)
    return found


def _repeated_ids(inventory: Inventory, sheet: Sheet) -> list[str]:
    """Which columns name an image, or are as the sample's ids are called, and repeat themselves."""
    said = inventory.said.get("data.id") or (sheet.column(inventory.sample.id) if inventory.sample else None)
    names = [said] if said else [name for name, cells in sheet.cells.items() if cells and _is_file(inventory, cells[0])]
    return [
        name for name in names if name in sheet.cells and "" not in (cells := sheet.cells[name]) and _repeats(cells)
    ]


def _is_file(inventory: Inventory, cell: str) -> bool:
    return bool(cell) and next(inventory.images.named(cell), None) is not None


def _repeats(cells: list[str]) -> bool:
    return len(set(cells)) < len(cells)


def _read_rows(inventory: Inventory, sheet: Sheet, id_: str) -> list[Candidate]:
    """Read a table by the tags of each id; nothing where more than the tag differs, or ids have no images."""
    named = sheet.frame[list(sheet.cells)]
    differ_by_id = named.groupby(id_, sort=False).nunique()
    columns = [str(name) for name in differ_by_id if (differ_by_id[name] > 1).any()]
    num_ids, num_repeated = len(differ_by_id), int((differ_by_id > 1).any(axis=1).sum())
    if len(columns) != 1 or num_ids < 2 or num_repeated < MANY_TAGS * num_ids:
        return []
    (column,) = columns
    if "data.tag_separator" not in inventory.said and _agree(named, id_, column):
        return []
    rows = named.drop_duplicates()
    tags = sorted(set(rows[column]) - {""})
    separator = next((mark for mark in _SEPARATORS if not any(mark in tag for tag in tags)), None)
    if separator is None:
        return []
    joined = rows.groupby(id_, sort=False)[column].agg(lambda cells: separator.join(filter(None, cells)))
    frame = rows.drop_duplicates(id_).assign(**{column: joined.to_numpy()}).reset_index(drop=True)
    said = {"data.labels": (column,), "data.id": id_, **inventory.said, "data.tag_separator": separator}
    candidate = read_sheet(replace(inventory, said=said), replace(sheet, frame=frame))
    if not isinstance(candidate, Candidate) or candidate.labels.columns != (column,):
        return []
    reason = f"{len(rows):,} rows, each a tag of its image, of {len(frame):,} images"
    own = (
        Choice("data.labels", (column,), f"{len(tags):,} tags: {quoted(tags)}; {reason}."),
        Choice("data.tag_separator", separator, "Rows of one image are joined, their tags in one cell.", said=True),
    )
    keys = {item.key for item in own}
    return [
        replace(
            candidate,
            labels=Labels((column,), 0, reason, separator),
            choices=(*(item for item in candidate.choices if item.key not in keys), *own),
            evidence=reason,
        )
    ]


def _agree(frame: pd.DataFrame, id_: str, column: str) -> bool:
    """Whether most images have several rows that say the same."""
    is_copy = frame.duplicated([id_, column])
    return 2 * frame.loc[is_copy, id_].nunique() > frame[id_].nunique()
