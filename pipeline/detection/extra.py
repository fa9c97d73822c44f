"""More labelled tables of a download, such as one of validation images: their rows are train rows too."""

from collections.abc import Sequence

from pipeline.competition_config import DataConfig
from pipeline.detection.asked import test_sheet
from pipeline.detection.candidates import Candidate, Source
from pipeline.detection.found import Choice, Given
from pipeline.detection.habits import TEST_WORDS, says
from pipeline.detection.inventory import Inventory
from pipeline.detection.plain_template import images_of, paths_fitting
from pipeline.detection.sheets import numbers_of

# Settings by which all labelled tables are read: an extra table must ask for the same; of the last, or for none.
_SAME = ("data.id", "data.labels", "data.label_pattern")
_SAME_OR_NONE = ("data.tag_separator", "data.any_case", "data.bad_images")


def labelled_too(inventory: Inventory, train: Candidate, lost: Sequence[Candidate]) -> list[Candidate]:
    """List the tables that are read as the train table is and have labels of other images; none where no images would
    be left to be predicted.
    """
    taken, found = set(train.paths), []
    for other in sorted(lost, key=lambda item: item.name):
        if _is_read_alike(train, other) and taken.isdisjoint(other.paths):
            found.append(other)
            taken.update(other.paths)
    return found if inventory.asked or not taken.issuperset(inventory.images.paths) else []


def choose_extra(
    inventory: Inventory, train: Candidate, others: Sequence[Candidate], choices: Sequence[Choice], *, numbers: bool
) -> list[Candidate]:
    """Choose of the tables that `labelled_too` lists those with known labels, and whose images are not to be predicted.

    Args:
        inventory: the files.
        train: the train table.
        others: the tables.
        choices: the settings of the test images and the box.
        numbers: whether labels are numbers, which need not be known.
    """
    values = {item.key: item.value for item in choices if not item.proposed}
    tested, box = _tested(inventory, train, choices), values.get("data.box")
    return [
        other
        for other in others
        if tested.isdisjoint(other.paths)
        and set(box if isinstance(box, tuple) else ()) <= set(other.sheet.cells)
        and (_are_numbers(other) if numbers else _labels(train, other) <= _labels(train, train))
    ]


def settings_of_extra(train: Candidate, chosen: Sequence[Candidate], choices: Sequence[Choice]) -> list[Choice]:
    """Make the settings by which extra tables are read; nothing where there are none."""
    if not chosen:
        return []
    images = {other.name: other.values["data.image"] for other in chosen}
    items = [name if image == train.values["data.image"] else f"{name}:{image}" for name, image in images.items()]
    counts = ", ".join(f"{other.name} has labels of {len(other.paths):,} more images" for other in chosen)
    found = [
        Choice("data.extra", tuple(items), f"{counts}: they are trained on too, and take part in folds.", said=True)
    ]
    if more := [other.name for other in chosen if other.sheet.headerless]:
        known = [item.value for item in choices if item.key == "data.headerless" and isinstance(item.value, tuple)]
        both = (*known[-1], *more) if known else tuple(more)
        found.append(Choice("data.headerless", both, "Their first lines name images, as the others do."))
    return found


def tables_said(given: Given) -> set[str]:
    """The tables, or templates, that the user has named in `data.extra`."""
    return {table for table, _ in DataConfig(extra=given.get("data.extra", ())).labelled[1:]}


def _is_read_alike(train: Candidate, other: Candidate) -> bool:
    """Whether a table has the train table's columns and every image, and is not of test images by its name."""
    if train.source is not Source.FILE or other.source is not Source.FILE or other.match is None:
        return False
    own, wanted = other.values, train.values
    return (
        other.match.num_found == other.match.num_rows
        and not says(other.name, TEST_WORDS)
        and not set(other.name) & set(":{")
        and "data.split" not in own
        and all(own.get(key) == wanted.get(key) for key in _SAME)
        and all(own.get(key) in (None, wanted.get(key)) for key in _SAME_OR_NONE)
        # One and the same label in every row is no label, but what is to be filled in.
        and len(_labels(train, other)) > 1
    )


def _labels(train: Candidate, other: Candidate) -> set[str]:
    """What stands in the label columns, where these are several; else the classes, read as the train table's are."""
    columns = train.labels.columns
    if len(columns) > 1:
        return {cell for name in columns for cell in other.sheet.cells[name]}
    return train.labels.classes(other.sheet)


def _are_numbers(other: Candidate) -> bool:
    return all(numbers_of(other.sheet.cells[name]) is not None for name in other.labels.columns)


def _tested(inventory: Inventory, train: Candidate, choices: Sequence[Choice]) -> set[str]:
    """The images that are to be predicted."""
    image = next(str(item.value) for item in choices if item.key == "data.test_image")
    sheet = test_sheet(inventory, train, choices)
    return set(
        images_of(image, sheet.frame, inventory.images) if sheet else paths_fitting(image, inventory.images.paths)
    )
