"""The page itself: sections in one HTML file that asks nothing of anybody."""

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from pipeline.log import printable
from pipeline.page.blocks import Block, Cell, Section, Table
from pipeline.quoting import without_secrets

_HERE = Path(__file__).parent
# Characters of a cell above which it is clamped.
_LONG = 80


def render(title: str, headline: Sequence[tuple[str, str]], sections: Sequence[Section]) -> str:
    """Render a page; every text from elsewhere is escaped.

    Args:
        title: of the page.
        headline: what stands in large letters on top: names and values.
        sections: those without blocks are left out.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "cell": cell_text,
        "sort_key": sort_key,
        "drawn": _drawn,
        "forms": _forms,
        "clamped": _clamped,
    }
    template = environment.from_string((_HERE / "page.html").read_text(encoding="utf-8"))
    page = template.render(
        title=printable(title),
        headline=headline,
        sections=[section for section in sections if section.blocks],
        style=Markup((_HERE / "style.css").read_text(encoding="utf-8")),
        script=Markup((_HERE / "sort.js").read_text(encoding="utf-8")),
    )
    return without_secrets(page)


def cell_text(value: Cell, decimals: int | None) -> str:
    """A cell as it is read; of numbers that are not whole with so many decimals."""
    if value is None:
        return "\u2013"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.{decimals or 0}f}"
    return value


def _clamped(text: str) -> Markup:
    """A cell's text; of a long one a few lines alone are shown, until it is pointed at."""
    return Markup('<span class="long">{}</span>').format(text) if len(text) > _LONG else escape(text)


def sort_key(value: Cell) -> str:
    """A cell as tables are sorted by it."""
    return "" if value is None else str(value)


def _forms(table: Table) -> list[int | None]:
    """How each column is written: None for texts; of numbers how many decimals those have that are not whole."""
    forms: list[int | None] = []
    for place, name in enumerate(table.columns):
        numbers = [row[place] for row in table.rows if isinstance(row[place], (int, float))]
        usual = 1 if any(isinstance(number, float) and abs(number) >= 1000 for number in numbers) else 4
        forms.append(table.decimals.get(name, usual) if numbers else None)
    return forms


def _drawn(block: Block) -> Markup:
    """A chart's own source, which the pipeline has drawn."""
    return Markup(getattr(block, "svg", ""))
