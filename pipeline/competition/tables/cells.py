"""Columns whose cells are written in a way of their own: numbers with a decimal comma, with points between thousands
or without, and lists as text.

They are read as plain cells, `0,25` as `0.25`, `1.234,5` as `1234.5` and `['a', 'b']` as `a|b`, and written back as
they were: a column is taken for one of these only where each of its cells comes back to the letter.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

# What separates the items of a list in a plain cell.
BETWEEN = "|"
_DECIMAL = re.compile(r"[+-]?\d+(,\d+)?([eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"([+-]?)(\d{1,3}(?:\.\d{3})*)(,\d+)?")
_QUOTES = ("'", '"', "")
_SEPARATORS = (", ", ",", " ")


@dataclass(frozen=True)
class DecimalComma:
    """Numbers with a decimal comma, as spreadsheets of many countries write them."""

    def read(self, cell: str) -> str | None:
        """The plain cell; None where it is written otherwise."""
        return cell.replace(",", ".") if not cell or _DECIMAL.fullmatch(cell) else None

    def write(self, cell: str) -> str:
        """A plain cell as the column writes it."""
        return cell.replace(".", ",")


@dataclass(frozen=True)
class DecimalCommaAndPoints(DecimalComma):
    """Numbers with a decimal comma and a point between thousands, as in `1.234,5`."""

    def read(self, cell: str) -> str | None:
        """The plain cell; None where it is written otherwise."""
        return cell.replace(".", "").replace(",", ".") if not cell or _THOUSANDS.fullmatch(cell) else None

    def write(self, cell: str) -> str:
        """A plain cell as the column writes it."""
        parts = re.fullmatch(r"([+-]?)(\d+)(\.\d+)?", cell)
        if parts is None:
            return super().write(cell)
        sign, whole, fraction = parts.groups(default="")
        return f"{sign}{re.sub(r'(?<=[0-9])(?=([0-9]{3})+$)', '.', whole)}{super().write(fraction)}"


@dataclass(frozen=True)
class ListAsText:
    """Lists as Python, JSON and numpy print them: `quote` about each item, `separator` between two."""

    quote: str
    separator: str

    def read(self, cell: str) -> str | None:
        """The plain cell, items with a bar between them; None where it is no list, or could not be written back."""
        if not (cell.startswith("[") and cell.endswith("]")) or BETWEEN in cell or "\\" in cell:
            return None
        inner = cell[1:-1]
        if not inner:
            return ""
        border = r"(?<=['\"])%s(?=['\"])" if self.quote else "%s"
        parts = re.split(border % re.escape(self.separator), inner)
        items = [part[1:-1] if self.quote else part for part in parts]
        if any(not item or item != item.strip() or set(item) & set("[]") for item in items):
            return None
        if self.quote and any(part[0] in item for part, item in zip(parts, items, strict=True)):
            return None
        if not self.quote and any(set(item) & set("'\", ") for item in items):
            return None
        plain = BETWEEN.join(items)
        return plain if self.write(plain) == cell else None

    def write(self, cell: str) -> str:
        """A plain cell as the column writes it."""
        items = cell.split(BETWEEN) if cell else []
        return f"[{self.separator.join(self._quoted(item) for item in items)}]"

    def _quoted(self, item: str) -> str:
        # As Python does.
        quote = '"' if self.quote == "'" and "'" in item and '"' not in item else self.quote
        return f"{quote}{item}{quote}"


Writing = DecimalComma | ListAsText


def find_writing(cells: Sequence[str], *, may_be_decimal: bool) -> Writing | None:
    """Find the way in which a column's cells are written; None where they are plain.

    Args:
        cells: of the column.
        may_be_decimal: whether a comma can be a decimal one, as it does not separate the table's cells.
    """
    if may_be_decimal and _are_decimal(cells):
        return DecimalComma()
    if may_be_decimal and any("." in cell and "," in cell for cell in cells):
        style = DecimalCommaAndPoints()
        return style if all(style.read(cell) is not None for cell in cells) else None
    if not any(cell.startswith("[") for cell in cells):
        return None
    styles = (ListAsText(quote, separator) for quote in _QUOTES for separator in _SEPARATORS)
    return next((style for style in styles if _are_lists(cells, style)), None)


def _are_decimal(cells: Sequence[str]) -> bool:
    """Whether cells are numbers with a decimal comma.

    Two tags that are numbers, `3,17`, would be rising, without zeros before them, and of one vocabulary.
    """
    if any(DecimalComma().read(cell) is None for cell in cells):
        return False
    pairs = [cell.split(",") for cell in cells if "," in cell]
    rising = all(
        first.isdecimal() and second.isdecimal() and str(int(second)) == second and int(first) < int(second)
        for first, second in pairs
    )
    shared = {first for first, _ in pairs} & {second for _, second in pairs}
    return bool(pairs) and not (rising and shared)


def _are_lists(cells: Sequence[str], style: ListAsText) -> bool:
    """Whether cells are lists of this style; a bracket alone may be a part of a name."""
    plain = [style.read(cell) for cell in cells]
    return None not in plain and (style.quote != "" or any(BETWEEN in cell for cell in plain if cell))
