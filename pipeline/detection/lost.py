"""Images that are asked for and cannot be had, as far as that is known before all are read.

A few train images are left out, which is printed. Test images are not: each costs a row of the submission, so `prepare`
stops and names the setting.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.competition.tables.csv_table import counted
from pipeline.detection.asked import test_sheet
from pipeline.detection.candidates import Candidate
from pipeline.detection.found import Choice
from pipeline.detection.habits import FEW, MOST_LOST
from pipeline.detection.inventory import Inventory
from pipeline.detection.label_columns import tags_of
from pipeline.detection.plain_template import images_of, paths_fitting
from pipeline.detection.survey import Survey, read_headers
from pipeline.quoting import shown


@dataclass(frozen=True)
class Lost:
    """The images that tables name and that are not there, or of a kind that is not read; `asked`: all test images."""

    train: tuple[str, ...]
    test: tuple[str, ...]
    asked: tuple[str, ...]


def find_lost(inventory: Inventory, train: Candidate, asked: list[Choice]) -> Lost:
    """Find the images that tables name and that are not among the files.

    Args:
        inventory: the files.
        train: what is trained on.
        asked: the settings of the test images.
    """
    values = {item.key: str(item.value) for item in asked}
    table, template = values["data.test"], values["data.test_image"]
    if "{" in table:
        own = set(train.paths)
        paths = [path for path in paths_fitting(table, inventory.images.paths) if path not in own]
    else:
        sheet = test_sheet(inventory, train, asked)
        paths = images_of(template, sheet.frame, inventory.images) if sheet else []
    known = inventory.images.known
    labelled = [path for path, cell in zip(train.paths, _cells(train), strict=True) if cell is not None]
    return Lost(
        tuple(path for path in labelled if path not in known),
        tuple(path for path in paths if path not in known),
        tuple(paths),
    )


def choose_bad_images(
    inventory: Inventory, train: Candidate, lost: Lost, seen: Survey, *, numbers: bool
) -> Choice | None:
    """Choose to leave out train rows that have no label, no image, or one that cannot be read; None where there are
    none, or so many that it is rather the download that lacks something, or a class would lose all its images, or a
    test image is lost too.

    Args:
        inventory: the files.
        train: what is trained on.
        lost: what is not there.
        seen: the headers of train images.
        numbers: whether labels are numbers, not classes.
    """
    cells = _cells(train)
    unlabelled = cells.count(None)
    share = len(lost.train) / len(cells) + len(seen.unreadable) / seen.num_looked_at
    if not unlabelled and not share:
        return None
    few = unlabelled < FEW * len(cells) and share <= MOST_LOST
    gone = {*lost.train, *seen.unreadable}
    if not few or lost.test or (gone and not numbers and _loses_a_class(train, gone)):
        return None
    if read_headers(inventory.opened, lost.asked)[1]:
        return None
    reasons = []
    if unlabelled:
        first = train.sheet.cells[train.id][cells.index(None)]
        what = f"{unlabelled:,} of {len(cells):,} rows have no label"
        reasons.append(f"{what}, such as {shown(first)}: they are left out.")
    if gone:
        files = set(inventory.files)
        kinds = {
            "are missing": [path for path in lost.train if path not in files],
            "are of a kind that is not read": [path for path in lost.train if path in files],
            "cannot be read": seen.unreadable,
        }
        parts = [counted(f"train images {text}", paths, 3) for text, paths in kinds.items() if paths]
        reasons.append(
            f"{' and '.join(parts)}, of {len(cells):,}: they are left out. To stop instead: --set data.bad_images=error"
        )
    return Choice("data.bad_images", "drop", " ".join(reasons), said=True)


def _cells(train: Candidate) -> list[tuple[str, ...] | None]:
    """The label, or the labels, of each row; None for a row without one. With tags an empty cell is an answer."""
    labels = train.labels
    rows = zip(*(train.sheet.cells[name] for name in labels.columns), strict=True)
    may_be_empty = len(labels.columns) > 1 or labels.separator
    return [row if may_be_empty or row[0] else None for row in rows]


def _loses_a_class(train: Candidate, gone: set[str]) -> bool:
    """Whether a class, a tag or a flag has no image that is left."""
    separator, cells = train.labels.separator, _cells(train)

    def classes(rows: Sequence[tuple[str, ...] | None]) -> set[tuple[int, str]]:
        return {
            (place, name)
            for row in rows
            for place, cell in enumerate(row or ())
            for name in (tags_of(cell, separator) if separator else [cell])
        }

    kept = [row for path, row in zip(train.paths, cells, strict=True) if path not in gone]
    return classes(kept) != classes(cells)
