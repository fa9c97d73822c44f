"""What a page is made of: sections, each of tables, charts, pictures and lines of text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

Cell = str | int | float | None


@dataclass(frozen=True)
class Text:
    """A paragraph. `is_warning`: it speaks against the run."""

    text: str
    is_warning: bool = False
    kind: ClassVar[str] = "text"


@dataclass(frozen=True)
class Table:
    """Rows under named columns, which a click sorts; numbers are aligned, None is a dash.

    decimals: of numbers that are not whole, by the name of their column, where that is not the usual.

    Of very many rows the first are on the page: those of 20,000 classes would be most of its bytes.
    """

    MOST: ClassVar[int] = 1000

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    decimals: Mapping[str, int] = field(default_factory=dict)
    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class Chart:
    """A drawing. svg: its source; alt: what it shows, for who does not see it."""

    caption: str
    svg: str
    alt: str
    kind: ClassVar[str] = "chart"


@dataclass(frozen=True)
class Picture:
    """A small image.

    src: a data URI; alt: what it is; lines: what stands below it, the first in bold; width: in which it is shown, in
    pixels of the page, 0 for its own; is_coarse: that is a multiple of its own, and each of its pixels a block.
    """

    src: str
    alt: str
    lines: Sequence[str] = ()
    width: int = 0
    is_coarse: bool = False


@dataclass(frozen=True)
class Gallery:
    """Pictures side by side. `is_large`: they are wider than others."""

    caption: str
    pictures: Sequence[Picture]
    is_large: bool = False
    kind: ClassVar[str] = "gallery"


@dataclass(frozen=True)
class Source:
    """Text that stands as it is, such as a config; folded away at first."""

    caption: str
    text: str
    kind: ClassVar[str] = "source"


Block = Text | Table | Chart | Gallery | Source


@dataclass(frozen=True)
class Section:
    """A part of the page. anchor: its name in links."""

    anchor: str
    title: str
    blocks: Sequence[Block] = field(default_factory=list)
