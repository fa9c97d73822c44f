"""Columns of a table that name another image of each row."""

from collections.abc import Collection

from pipeline.detection.habits import DERIVED
from pipeline.detection.image_files import ENOUGH, evenly_spaced
from pipeline.detection.inventory import Inventory
from pipeline.detection.label_columns import names_files
from pipeline.detection.plain_template import NUM_PROBES
from pipeline.detection.sheets import Sheet


def other_images(inventory: Inventory, sheet: Sheet, paths: Collection[str]) -> list[str]:
    """List the columns whose cells name images other than some, none of them drawn from these, as masks are."""
    used = set(paths)
    return [name for name, cells in sheet.cells.items() if names_files(cells) and _name(inventory, cells, used)]


def _name(inventory: Inventory, cells: list[str], used: set[str]) -> bool:
    probes = [cells[row] for row in evenly_spaced(len(cells), NUM_PROBES)]
    found = 0
    for cell in probes:
        named = [path for path, _ in inventory.images.named(cell.lstrip("./"))] if not cell.isdecimal() else []
        others = [path for path in named if path not in used and not any(word in path.lower() for word in DERIVED)]
        found += len(named) == len(others) > 0
    return found >= ENOUGH * len(probes) > 0
