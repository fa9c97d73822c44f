"""What lies in a download and is left unused though it might help: said, as it can cost the score."""

from collections.abc import Sequence

from pipeline.competition.tables.csv_table import counted
from pipeline.detection.candidates import Candidate, Source
from pipeline.detection.found import quoted
from pipeline.detection.habits import TEST_WORDS, says
from pipeline.detection.inventory import Inventory
from pipeline.detection.second_images import other_images


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
                f"{other.name} has labels of {len(more):,} more images, which are not used: name it in data.extra, or "
                f"add its rows to {train.name}, to train on them too"
            )
    if folders := [name for name in train.unused if name and not says(name, TEST_WORDS)]:
        said.append(f"folders of classes that are not used: {quoted(folders)}")
    if train.match is None:
        return said
    if inventory.unread:
        said.append(
            f"{counted('files are of kinds that are not read', inventory.unread)}: convert them to PNG or JPEG; where "
            "tables name them, data.bad_images = 'drop' leaves them out"
        )
    for column in other_images(inventory, train.sheet, train.paths):
        if column not in (train.id, train.match.key, *train.labels.columns):
            said.append(
                f"column {column!r} of {train.name} names another image of each row, which is not used: the images are "
                f"those of column {train.match.key!r}, by data.image = {train.match.template!r}"
            )
    return said
