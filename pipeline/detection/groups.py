"""Columns of images that must share a fold."""

from collections import Counter
from collections.abc import Sequence

from pipeline.detection.found import Choice
from pipeline.detection.habits import MAX_GROUP
from pipeline.detection.sheets import Sheet, has_fractions


def propose_groups(sheet: Sheet, used: Sequence[str]) -> list[Choice]:
    """Propose columns whose values repeat, few images each: they may name what must not be split over folds."""
    proposals = []
    for name, cells in sheet.cells.items():
        distinct = len(set(cells))
        if name in used or distinct < 10 or "" in cells or has_fractions(cells):
            continue
        mean = len(cells) / distinct
        if 1.2 <= mean <= MAX_GROUP:
            most = max(Counter(cells).values())
            proposals.append(
                Choice(
                    "data.group",
                    name,
                    f"{name!r} has {distinct:,} values, {mean:.1f} images each on average, {most:,} at most. Not "
                    "used: set it if it names a person, place or thing, of which the test set shows others:",
                    proposed=True,
                )
            )
    return proposals
