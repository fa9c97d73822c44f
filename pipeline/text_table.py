"""Tables on the terminal: aligned columns, whatever the script of their words."""

import re
import unicodedata
from collections.abc import Sequence

from pipeline.log import printable

# Places of a terminal that a column takes at most.
_WIDEST = 40


def text_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lay rows out under the names of their columns, a line each; columns of numbers are aligned to the right.

    A cell that is very long stands out of its column, in its own line alone.
    """
    lines = [[printable(cell) for cell in row] for row in (columns, *rows)]
    laid_out = []
    for cells in zip(*lines, strict=True):
        room = max(min(_width(cell), _WIDEST) for cell in cells)
        is_numeric = all(re.fullmatch(r"[-+]?[\d.,e+-]*", cell) for cell in cells[1:])
        laid_out.append([_padded(cell, room, is_numeric=is_numeric) for cell in cells])
    return ["  ".join(line).rstrip() for line in zip(*laid_out, strict=True)]


def _padded(cell: str, room: int, *, is_numeric: bool) -> str:
    blanks = " " * (room - _width(cell))
    return blanks + cell if is_numeric else cell + blanks


def _width(text: str) -> int:
    """How many places of a terminal a text takes: two for each of the wide characters of East Asia."""
    return sum(1 + (unicodedata.east_asian_width(char) in "WF") for char in text)
