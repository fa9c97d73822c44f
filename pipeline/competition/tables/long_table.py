"""Long tables: a row for each image and class, whose id names both, such as `img7_cat`. They are read as wide ones."""

import re
from collections.abc import Callable, Iterator, Sequence

import pandas as pd

from pipeline.competition.tables.csv_table import counted
from pipeline.files import InputError

# What can separate image and class.
_SEPARATORS = ("_", "-", "|", " ", ":", "/", ".")
_NUM_PROBES = 200
# How many times the separator may stand in the name of a class that is not known.
_MOST_SEPARATORS = 4


def find_id_template(ids: Sequence[str], is_image: Callable[[str], bool]) -> tuple[str, tuple[str, ...]] | None:
    """Find the template of ids that name an image and a class, `{id}_{class}` or `{class}_{id}`, and the classes.

    None where they do not: some of them that are looked at must hold an image's name, and each image must have every
    class once.

    Args:
        ids: the ids.
        is_image: whether a text names an image file.
    """
    probes = ids[:: max(1, len(ids) // _NUM_PROBES)]
    for separator in _SEPARATORS:
        for template in (f"{{id}}{separator}{{class}}", f"{{class}}{separator}{{id}}"):
            cuts = [next((pair for pair in _cuts(id_, template) if is_image(pair[0])), None) for id_ in probes]
            classes = tuple(dict.fromkeys(pair[1] for pair in cuts if pair))
            if len(classes) > 1 and all(cuts) and _images_and_classes(ids, template, classes):
                return template, classes
    return None


def _cuts(id_: str, template: str) -> Iterator[tuple[str, str]]:
    """Cut an id into image and class in every way."""
    class_first, separator = template.startswith("{class}"), re.sub(r"\{\w+\}", "", template)
    pieces = id_.split(separator)
    for cut in range(1, len(pieces)):
        one, other = separator.join(pieces[:cut]), separator.join(pieces[cut:])
        yield (other, one) if class_first else (one, other)


def parse_ids(ids: Sequence[str], template: str, classes: Sequence[str], source: str) -> list[tuple[str, str]]:
    """Read image and class from each id.

    Args:
        ids: the ids.
        template: see `find_id_template`.
        classes: the classes; fewer than two where they are not known.
        source: what to call the table in a message.

    Raises:
        InputError: not every image has every class once.
    """
    pairs = _images_and_classes(ids, template, classes)
    if pairs is None:
        raise InputError(
            f"{source}: by data.rows = {template!r} each image must have a row for every class. "
            f"Got {counted('ids', ids)}"
        )
    return pairs


def is_long(ids: Sequence[str], template: str, classes: Sequence[str]) -> bool:
    """Whether ids name images and classes by this template."""
    return _images_and_classes(ids, template, classes) is not None


def widen(frame: pd.DataFrame, id_column: str, template: str, classes: Sequence[str], source: str) -> pd.DataFrame:
    """Make a row for each image, with a column for each class that holds what stood beside the id.

    Raises:
        InputError: see `parse_ids`; or there is not one column beside the id.
    """
    rest = [name for name in frame.columns if name != id_column and name and not str(name).startswith("Unnamed:")]
    if len(rest) != 1:
        raise InputError(f"{source}: a table with a row for each image and class must have one column beside the id")
    pairs = parse_ids([str(cell) for cell in frame[id_column]], template, classes, source)
    images, names = (list(dict.fromkeys(column)) for column in zip(*pairs, strict=True))
    cells = dict(zip(pairs, map(str, frame[rest[0]]), strict=True))
    wide = {name: [cells[image, name] for image in images] for name in names}
    return pd.DataFrame({id_column: images, **wide}, dtype=str)


def _images_and_classes(ids: Sequence[str], template: str, classes: Sequence[str]) -> list[tuple[str, str]] | None:
    """Read image and class from each id: by the classes where they are known, else with as few separators in their
    names as it takes; None where not every image has every class once.
    """
    if len(classes) > 1:
        known = set(classes)
        found = [next((pair for pair in _cuts(id_, template) if pair[1] in known), None) for id_ in ids]
        return _whole([pair for pair in found if pair], len(ids))
    for num_separators in range(_MOST_SEPARATORS):
        cuts = [list(_cuts(id_, template)) for id_ in ids]
        if any(len(options) <= num_separators for options in cuts):
            return None
        place = num_separators if template.startswith("{class}") else -1 - num_separators
        if whole := _whole([options[place] for options in cuts], len(ids)):
            return whole
    return None


def _whole(pairs: list[tuple[str, str]], count: int) -> list[tuple[str, str]] | None:
    """Return the pairs, where there are as many and each image has every class once."""
    num_images, num_classes = len({image for image, _ in pairs}), len({name for _, name in pairs})
    whole = num_classes > 1 and len(set(pairs)) == count == num_images * num_classes
    return pairs if whole else None
