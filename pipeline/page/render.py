"""The page itself: sections in one HTML file that asks nothing of anybody."""

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from pipeline.log import printable
from pipeline.page.blocks import Block, Cell, Section, Table

_HERE = Path(__file__).parent


def render(title: str, headline: Sequence[tuple[str, str]], sections: Sequence[Section]) -> str:
    """Render a page; every text from elsewhere is escaped.

    Args:
        title: of the page.
        headline: what stands in large letters on top: names and values.
        sections: those without blocks are left out.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"cell": cell_text, "sort_key": sort_key, "drawn": _drawn, "numeric": _is_numeric}
    template = environment.from_string((_HERE / "page.html").read_text(encoding="utf-8"))
    return template.render(
        title=printable(title),
        headline=headline,
        sections=[section for section in sections if section.blocks],
        style=Markup((_HERE / "style.css").read_text(encoding="utf-8")),
        script=Markup((_HERE / "sort.js").read_text(encoding="utf-8")),
        is_number=lambda value: isinstance(value, (int, float)),
    )


def cell_text(value: Cell) -> str:
    """A cell as it is read."""
    if value is None:
        return "\u2013"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 1000 else f"{value:,.1f}"
    return value


def sort_key(value: Cell) -> str:
    """A cell as tables are sorted by it."""
    return "" if value is None else str(value)


def _is_numeric(table: Table, column: int) -> bool:
    """Whether a column holds numbers."""
    return any(isinstance(row[column], (int, float)) for row in table.rows)


def _drawn(block: Block) -> Markup:
    """A chart's own source, which the pipeline has drawn."""
    return Markup(getattr(block, "svg", ""))
