"""Cells that hold a class and its box, once or more: `n01 10 20 90 80 n02 5 5 40 60`, as localisation tasks have."""

import re
from dataclasses import replace

from pipeline.detection.candidates import Candidate, Refusal
from pipeline.detection.found import Choice, quoted
from pipeline.detection.inventory import Inventory
from pipeline.detection.label_columns import Labels
from pipeline.detection.readings.table import read_sheet
from pipeline.detection.sheets import Sheet

# A class, then four whole numbers, once or more; the label of an image is its first class.
_BOXES = re.compile(r"(?:[^\s\d]\S*(?: -?\d+){4}(?: |$))+")
_FIRST = r"^(\S+)"


def read(inventory: Inventory) -> list[Candidate | Refusal]:
    """Read the tables that have a column of such cells."""
    found: list[Candidate | Refusal] = []
    for sheet in inventory.sheets:
        for column, cells in sheet.cells.items():
            if cells and all(_BOXES.fullmatch(cell.strip()) for cell in cells):
                found += _read_column(inventory, sheet, column)
    return found


def _read_column(inventory: Inventory, sheet: Sheet, column: str) -> list[Candidate]:
    """Read a table by one column of classes with boxes; nothing where its rows have no images."""
    said = {"data.labels": (column,), **inventory.said, "data.tag_separator": ""}
    candidate = read_sheet(replace(inventory, said=said), sheet)
    if not isinstance(candidate, Candidate) or candidate.labels.columns != (column,):
        return []
    classes = [cell.split()[0] for cell in sheet.cells[column]]
    reason = "the first class in each cell, which holds a class and its box, once or more; boxes are not used"
    names = quoted(sorted(set(classes)))
    own = (
        Choice("data.labels", (column,), f"{len(set(classes)):,} values: {names}; {reason}."),
        Choice("data.label_pattern", _FIRST, "What stands before the first space."),
    )
    return [
        replace(
            candidate,
            sheet=replace(sheet, frame=sheet.frame.assign(**{column: classes})),
            labels=Labels((column,), 0, reason),
            choices=(*(item for item in candidate.choices if item.key != "data.labels"), *own),
            evidence=f"{len(classes):,} rows; {reason}",
            # Before the table's own reading, for which whole cells are labels.
            rank=(-1, *candidate.rank),
        )
    ]
