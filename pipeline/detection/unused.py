"""What lies in a download and is left unused though it might help: said, as it can cost the score."""

import posixpath
from collections.abc import Sequence

from pipeline.competition.tables.csv_table import counted
from pipeline.detection.candidates import Candidate, Source
from pipeline.detection.found import quoted
from pipeline.detection.habits import TEST_WORDS, says
from pipeline.detection.image_files import HOLD_MANY, way_to_read
from pipeline.detection.inventory import Inventory
from pipeline.detection.lost import Lost
from pipeline.detection.second_images import other_images
from pipeline.quoting import shown


def say_unused(
    inventory: Inventory, train: Candidate, others: Sequence[Candidate], lost: Lost, test_table: str
) -> list[str]:
    """Say, in sentences, which labelled images, images of other kinds and endings, and second images of a row are
    not used.

    Args:
        inventory: the files.
        train: what is trained on.
        others: readings that were not taken.
        lost: images that tables name and that are not there.
        test_table: the table of the images to predict, or their template.
    """
    said = _labelled(inventory, train, [other for other in others if other.name != test_table], lost)
    if folders := [name for name in train.unused if name and not says(name, TEST_WORDS)]:
        said.append(f"folders of classes that are not used: {quoted(folders)}")
    if unread := _meant(inventory, train, lost, test_table):
        said.append(f"{counted('files are of kinds that are not read', unread)}: {way_to_read(unread)}")
    if train.match is None:
        return said
    if twins := _twins(inventory, {*train.paths, *lost.asked}):
        said.append(
            f"{counted('images have the name of a used one with another ending', twins)}, and are not used: the images "
            f"are those by data.image = {train.match.template!r}"
        )
    for column in other_images(inventory, train.sheet, train.paths):
        if column not in (train.id, train.match.key, *train.labels.columns):
            said.append(
                f"column {shown(column)} of {train.name} names another image of each row, which is not used: the "
                f"images are those of column {shown(train.match.key)}, by data.image = {train.match.template!r}"
            )
    return said


def _labelled(inventory: Inventory, train: Candidate, others: Sequence[Candidate], lost: Lost) -> list[str]:
    """Say which tables have labels of images that are neither trained on nor to be predicted."""
    said = []
    for other in others:
        more = set(other.paths) - set(train.paths)
        if other.source is not Source.FILE or other.name == train.name:
            continue
        if more and other.labels.columns == train.labels.columns:
            said.append(
                f"{other.name} has labels of {len(more):,} more images, which are not used: name it in data.extra, or "
                f"add its rows to {train.name}, to train on them too"
            )
        elif more := (more & inventory.images.known).difference(lost.asked):
            said.append(
                f"{other.name} has labels in column {quoted(other.labels.columns)} of {len(more):,} more images, which "
                f"are not used: to train on them too, give them the form and the labels of {train.name}"
            )
    return said


def _meant(inventory: Inventory, train: Candidate, lost: Lost, test_table: str) -> list[str]:
    """Select the files of kinds that are not read that are images of the competition: they have the name of one that
    is not there, or hold many where some are not there, or lie in a folder of images that no table names. Copies in
    another form are none.
    """
    stems = {_stem(path) for path in (*lost.train, *lost.test)}
    unnamed = [*(train.paths if train.match is None else ()), *(lost.asked if "{" in test_table else ())]
    folders = {posixpath.dirname(path) for path in unnamed}
    return [
        path
        for path in inventory.unread
        if _stem(path) in stems
        or (stems and path.lower().endswith(HOLD_MANY))
        or (posixpath.dirname(path) in folders and not path.lower().endswith(HOLD_MANY))
    ]


def _twins(inventory: Inventory, used: set[str]) -> list[str]:
    """Select the images that lie beside used ones, under their names with another ending, and are not used."""
    names = {posixpath.splitext(path)[0] for path in used}
    return [path for path in inventory.images.paths if path not in used and posixpath.splitext(path)[0] in names]


def _stem(path: str) -> str:
    """A file's name without its folder and ending."""
    return posixpath.splitext(posixpath.basename(path))[0]
