"""What lies in a download and is left unused though it might help: said, as it can cost the score."""

from collections.abc import Sequence

from pipeline.detection.candidates import Candidate, Source
from pipeline.detection.found import quoted
from pipeline.detection.image_files import ENOUGH, evenly_spaced
from pipeline.detection.inventory import Inventory
from pipeline.detection.label_columns import names_files
from pipeline.detection.plain_template import NUM_PROBES


def say_unused(inventory: Inventory, train: Candidate, lost: Sequence[Candidate], test_table: str) -> list[str]:
    """Say, in sentences, which labelled images and which second images of a row are not used.

    Args:
        inventory: the files.
        train: what is trained on.
        lost: readings that were not taken.
        test_table: the table of the images to predict, or their template.
    """
    said = []
    for other in lost:
        more = set(other.paths) - set(train.paths)
        alike = other.source is Source.FILE and other.labels.columns == train.labels.columns
        if alike and more and other.name not in (train.name, test_table):
            said.append(
                f"{other.name} has labels of {len(more):,} more images, which are not used: add its rows to "
                f"{train.name} to train on them too"
            )
    if train.unused:
        said.append(f"folders of classes that are not used: {quoted([name or '.' for name in train.unused])}")
    if train.match is None:
        return said
    for column in train.sheet.cells:
        if column not in (train.id, train.match.key, *train.labels.columns) and _names_others(inventory, train, column):
            said.append(
                f"column {column!r} of {train.name} names another image of each row, which is not used: the images are "
                f"those of column {train.match.key!r}, by data.image = {train.match.template!r}"
            )
    return said


def _names_others(inventory: Inventory, train: Candidate, column: str) -> bool:
    """Whether a column names images that are no train images yet."""
    cells = train.sheet.cells[column]
    if not names_files(cells):
        return False
    used, probes = set(train.paths), [cells[row] for row in evenly_spaced(len(cells), NUM_PROBES)]
    found = [
        cell
        for cell in probes
        if not cell.isdecimal() and any(path not in used for path, _ in inventory.images.named(cell.lstrip("./")))
    ]
    return len(found) >= ENOUGH * len(probes) > 0
