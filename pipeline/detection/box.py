"""Four columns of the tables that are a box in each image: what the images are cropped to."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.detection.found import Choice, quoted
from pipeline.detection.image_files import evenly_spaced
from pipeline.detection.sheets import Sheet, numbers_of
from pipeline.image_kinds import BROKEN, open_image

Array = np.ndarray[Any, Any]
_NUM_PROBES = 40
# What a side of a box is called, alone or beside other words: x, y1, xmin, left, width, bbox_0.
_SIDE = re.compile(
    r"(?:^|[^a-z])(?:[xywh]\d?|[xy]_?(?:min|max)|(?:min|max)_?[xy]|left|top|right|bottom|width|height)(?:$|[^a-z])|b?box",
    re.IGNORECASE,
)


def choose_box(root: Path, train: Sheet, paths: Sequence[str], test: Sheet | None, used: Sequence[str]) -> list[Choice]:
    """Choose the settings of the box, where four neighbouring columns of both tables are one in every image.

    Args:
        root: where the images are read.
        train: the train table.
        paths: its images, a path for each row.
        test: the test table.
        used: columns that are something else.
    """
    numeric = {name: values for name in train.cells if name not in used and (values := _whole(train, name)) is not None}
    names = list(train.cells)
    runs = [names[start : start + 4] for start in range(len(names) - 3)]
    # Left, top, right, bottom; or left, right, top, bottom.
    runs = [[run[place] for place in order] for run in runs for order in ((0, 1, 2, 3), (0, 2, 1, 3))]
    runs = [run for run in runs if all(name in numeric and _SIDE.search(name) for name in run)]
    rows = [row for row in evenly_spaced(len(paths), _NUM_PROBES) if (root / paths[row]).is_file()]
    sizes = _sizes(root, [paths[row] for row in rows])
    for run in runs:
        sides = np.stack([numeric[name] for name in run], axis=1)
        for has_size in (False, True):
            last = sides[:, :2] + sides[:, 2:] if has_size else sides[:, 2:]
            corners = np.concatenate([sides[:, :2], last], axis=1)
            if not _are_boxes(corners, corners[rows], sizes):
                continue
            reason = f"{quoted(run)} are a box inside each of the {len(rows)} images looked at"
            if test is None or not set(run) <= set(test.cells):
                return [Choice("data.box", tuple(run), f"{reason}; the test table has none, so it is not used:", True)]
            size = [Choice("data.box_has_size", True, "Left, top, width, height.")] if has_size else []
            return [
                Choice("data.box", tuple(run), f"{reason}; images are cropped to it. [] for whole images."),
                *size,
            ]
    return []


def _whole(sheet: Sheet, name: str) -> Array | None:
    """A column's numbers, none of them below 0; None where it has others, or 0 and 1 in turn. All may begin at 0."""
    values = numbers_of(sheet.cells[name])
    return np.array(values) if values and min(values) >= 0 and (max(values) > 1 or max(values) == 0) else None


def _are_boxes(
    corners: Array,
    probed: Array,
    sizes: Array,
) -> bool:
    """Whether all have an area, and those looked at lie inside their images and fill a fraction of them."""
    if not len(sizes) or not (corners[:, 2:] > corners[:, :2]).all():
        return False
    inside = (probed[:, 2:] <= sizes + 1).all()
    shares = np.prod(probed[:, 2:] - probed[:, :2], axis=1) / np.prod(sizes, axis=1)
    return bool(inside and 0.02 < np.median(shares) < 0.98)


def _sizes(root: Path, paths: Sequence[str]) -> Array:
    """Read the width and height of each image."""
    sizes = []
    for path in paths:
        try:
            with open_image(root / path) as image:
                sizes.append(image.size)
        except BROKEN:
            sizes.append((0, 0))
    return np.array(sizes, float).reshape(-1, 2)
