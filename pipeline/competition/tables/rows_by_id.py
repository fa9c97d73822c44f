"""The rows of another table that are of some ids: by the column whose cells are these ids, whatever it is called, with
the endings of files or without.
"""

import posixpath
import re
from collections.abc import Mapping, Sequence

_ENDING = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,4}$")


def rows_by_id(columns: Mapping[str, Sequence[str]], ids: Sequence[str], first: str) -> tuple[str, list[int | None]]:
    """Find the column that has the most of some ids, and the row of each.

    Args:
        columns: the table's cells by their columns.
        ids: what to look for.
        first: the column that is taken where others have as many, such as the one that has the ids elsewhere; of cells
            that it has twice the last counts. Other columns must have no cell twice.

    Returns:
        The column, "" where none has any, and for each id the row; None where there is none.
    """
    best: tuple[str, list[int | None]] = ("", [None] * len(ids))
    most = 0
    short_ids = [_without_ending(id_) for id_ in ids]
    for name in sorted(columns, key=lambda name: name != first):
        cells = columns[name]
        forms = [(cells, ids)]
        if len(set(short_ids)) == len(set(ids)):
            forms.append(([_without_ending(cell) for cell in cells], short_ids))
        for place, (keys, wanted) in enumerate(forms):
            if len(set(keys)) < len(keys) and (name != first or place > 0):
                continue
            known = {key: row for row, key in enumerate(keys) if key}
            rows = [known.get(id_) for id_ in wanted]
            found = len(rows) - rows.count(None)
            if found > most:
                best, most = (name, rows), found
    return best


def _without_ending(cell: str) -> str:
    """A file's name without its folder and ending; a number with a point is none."""
    return _ENDING.sub("", posixpath.basename(cell))
