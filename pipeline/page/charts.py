"""Charts as SVG, in colours that the page's style sheet decides, so that they are right on light and dark paper."""

import io
import re
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

Array = np.ndarray[Any, Any]

# Colours that stand for those of the style sheet, by the names that it gives them.
_INK, _LINE, _PAPER = "#010101", "#020202", "#030303"
_SERIES = ("#0a0001", "#0a0002", "#0a0003", "#0a0004", "#0a0005", "#0a0006")
_NAMES = {_INK: "--ink", _LINE: "--line", _PAPER: "--paper"} | {
    colour: f"--series-{number}" for number, colour in enumerate(_SERIES, 1)
}
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "page",
    "text.parse_math": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _INK,
    "axes.titlecolor": _INK,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _LINE,
    "grid.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "axes.prop_cycle": cycler(color=list(_SERIES)),
}
_LONGEST = 28
# Charts wider than this many points are not shrunk to less than a part of themselves, but scroll.
_NARROW, _LEAST = 330, 0.85


def curves(named: Mapping[str, Sequence[float | None]], x_label: str, y_label: str) -> str:
    """Lines over epochs, one for each name."""
    with _figure(3.4, 2.8) as (figure, axis):
        for name, values in named.items():
            shown = np.array([np.nan if value is None else value for value in values], float)
            axis.plot(np.arange(1, len(shown) + 1), shown, label=short(name))
        axis.set_xlabel(x_label)
        axis.set_ylabel(y_label)
        axis.xaxis.get_major_locator().set_params(integer=True)
        _legend(figure, len(named))
        return _svg(figure)


def dots(rows: Mapping[str, tuple[float, float | None, float | None]], x_label: str, *, zero: bool = False) -> str:
    """Values on a line each, with their interval where there is one; `zero`: a line at 0."""
    # As wide as a telephone shows whole.
    with _figure(4.5, 0.7 + 0.3 * len(rows)) as (figure, axis):
        if zero:
            axis.axvline(0, color=_INK, linewidth=1)
        for place, (value, low, high) in enumerate(rows.values()):
            if low is not None and high is not None:
                axis.plot(
                    [low, high], [place, place], color=_SERIES[0], linewidth=4, alpha=0.35, solid_capstyle="round"
                )
            axis.plot([value], [place], "o", color=_SERIES[0], markersize=6)
        axis.set_yticks(range(len(rows)), [short(name) for name in rows])
        axis.set_ylim(len(rows) - 0.5, -0.5)
        axis.set_xlabel(x_label)
        axis.grid(visible=False, axis="y")
        return _svg(figure)


def matrix(counts: Array, names: Sequence[str], x_label: str, y_label: str) -> str:
    """A confusion matrix: in each cell its count, shaded by its share of the row; errors in another colour."""
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    longest = max(len(short(name)) for name in names)
    side = 0.7 + 0.07 * longest + min(6.4, 0.34 * len(names))
    with _figure(side, side) as (figure, axis):
        for row, column in np.argwhere(counts > 0):
            colour = _SERIES[0] if row == column else _SERIES[1]
            box = Rectangle((column - 0.5, row - 0.5), 1, 1, color=colour, linewidth=0)
            box.set_alpha(0.1 + 0.5 * float(share[row, column]))
            axis.add_patch(box)
            if len(names) <= 20:
                axis.text(column, row, f"{counts[row, column]:,}", ha="center", va="center", fontsize=7)
        axis.set_xticks(range(len(names)), [short(name) for name in names], rotation=_turn(longest))
        axis.set_yticks(range(len(names)), [short(name) for name in names])
        axis.set_xlim(-0.5, len(names) - 0.5)
        axis.set_ylim(len(names) - 0.5, -0.5)
        axis.set_xlabel(x_label)
        axis.set_ylabel(y_label)
        axis.set_xticks(np.arange(len(names) + 1) - 0.5, minor=True)
        axis.set_yticks(np.arange(len(names) + 1) - 0.5, minor=True)
        axis.tick_params(which="minor", length=0)
        axis.grid(visible=False)
        axis.grid(which="minor", linewidth=0.3)
        return _svg(figure)


def reliability(edges: Array, confidence: Array, accuracy: Array, shares: Array) -> str:
    """How often the likeliest class is right where it is so sure, the larger the more images; their share below, over
    the bin that they are of, whose edges are (num_bins, 2).
    """
    with _figure(4.2, 3.8) as (figure, axis):
        axis.plot([0, 1], [0, 1], color=_LINE, label="as sure as right")
        axis.plot(confidence, accuracy, color=_SERIES[0], linewidth=0.8, alpha=0.5)
        axis.scatter(confidence, accuracy, 8 + 120 * shares, color=_SERIES[0], zorder=3, label="right", clip_on=False)
        low, high = edges.T
        axis.bar(low, shares, high - low, align="edge", color=_SERIES[1], alpha=0.35, label="share of the images")
        axis.set_xlim(0, 1)
        axis.set_ylim(0, 1)
        axis.set_xlabel("probability of the likeliest class")
        axis.set_ylabel("share of them that are right")
        _legend(figure, 3)
        return _svg(figure)


def lines(named: Mapping[str, tuple[Array, Array]], x_label: str, y_label: str) -> str:
    """Curves of points in the unit square, such as ROC, and precision against recall."""
    with _figure(4.2, 3.8) as (figure, axis):
        for name, (x, y) in named.items():
            axis.plot(x, y, label=short(name))
        axis.set_xlabel(x_label)
        axis.set_ylabel(y_label)
        axis.set_xlim(0, 1)
        axis.set_ylim(0, 1.02)
        _legend(figure, len(named))
        return _svg(figure)


def scatter(x: Array, y: Array, x_label: str, y_label: str) -> str:
    """Points against each other, with the line on which both are equal."""
    with _figure(4.2, 3.8) as (figure, axis):
        low, high = float(min(x.min(), y.min())), float(max(x.max(), y.max()))
        axis.plot([low, high], [low, high], color=_LINE)
        axis.plot(x, y, "o", color=_SERIES[0], markersize=3, alpha=0.5, markeredgewidth=0)
        axis.set_xlabel(x_label)
        axis.set_ylabel(y_label)
        return _svg(figure)


def bars(groups: Mapping[str, Array], names: Sequence[str], y_label: str) -> str:
    """Bars side by side: of each group one for each name."""
    width = 0.8 / max(len(groups), 1)
    longest = max(len(short(name)) for name in names)
    with _figure(min(9.0, 2.2 + 0.42 * len(names)), 2.5 + 0.07 * longest) as (figure, axis):
        for number, (label, values) in enumerate(groups.items()):
            axis.bar(np.arange(len(names)) + (number + 0.5) * width - 0.4, values, width * 0.92, label=label)
        axis.set_xticks(range(len(names)), [short(name) for name in names], rotation=_turn(longest))
        axis.set_ylabel(y_label)
        axis.grid(visible=False, axis="x")
        _legend(figure, len(groups))
        return _svg(figure)


def histogram(parts: Mapping[str, Array], x_label: str, num_bins: int = 30) -> str:
    """How values are distributed: of each part, as a share of itself. The outermost bars hold what lies far out too."""
    with _figure(4.2, 3.0) as (figure, axis):
        values = np.concatenate(list(parts.values()))
        low, high = usual_range(values)
        edges = np.linspace(low, high, num_bins + 1)
        for name, part in parts.items():
            counts = np.histogram(part.clip(edges[0], edges[-1]), edges)[0]
            axis.stairs(counts / len(part), edges, label=name, fill=True, alpha=0.4)
        beyond = int(((values < edges[0]) | (values > edges[-1])).sum())
        axis.set_xlabel(f"{x_label} ({beyond:,} further out, in the outermost bars)" if beyond else x_label)
        axis.set_ylabel("share")
        _legend(figure, len(parts))
        return _svg(figure)


def usual_range(values: Array) -> tuple[float, float]:
    """From the least to the greatest of values that are not far out: by three interquartile ranges beyond a quartile
    (Tukey 1977, "Exploratory Data Analysis", section 2), or a tenth of the median where these are less.
    """
    first, median, third = np.quantile(values, [0.25, 0.5, 0.75])
    fence = 3 * max(third - first, 0.1 * abs(median))
    inside = values[(values >= first - fence) & (values <= third + fence)]
    low, high = float(inside.min()), float(inside.max())
    # Where all are equal: some room on both sides.
    room = fence / 3 or 0.5
    return (low, high) if low < high else (low - room, high + room)


def short(name: str) -> str:
    """A name as charts have room for."""
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}\u2026"


def _turn(longest: int) -> int:
    """By how many degrees names are turned that stand side by side."""
    return 90 if longest > 3 else 0


def _legend(figure: Figure, count: int) -> None:
    """Name the lines above the drawing, where there are several and colours for all."""
    if 1 < count <= len(_SERIES):
        figure.legend(loc="outside upper left", ncols=3)


@contextmanager
def _figure(width: float, height: float) -> Iterator[tuple[Figure, Any]]:
    """A figure and its axes; width and height in inches."""
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # The reader's own fonts draw what this machine's lack.
        warnings.filterwarnings("ignore", message="Glyph")
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.subplots()


def _svg(figure: Figure) -> str:
    """A figure's source, without what stands before its root, in the page's colours and font."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    # Names of clips and markers must differ from those of the page's other charts.
    salt = f"c{zlib.crc32(text.encode()):08x}-"
    text = re.sub(r'(id="|url\(#|href="#)', lambda match: match[1] + salt, text)
    for colour, name in _NAMES.items():
        text = text.replace(colour, f"var({name})")
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font: \1 var(--font)", text)
    text = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL)
    root = r'<svg [^>]*?viewBox="0 0 ([\d.]+) ([\d.]+)"[^>]*>'
    width = 72 * figure.get_figwidth()
    least = f' style="min-width: {_LEAST * width:.0f}pt"' if width > _NARROW else ""
    # Its numbers are points.
    new = rf'<svg viewBox="0 0 \1 \2" width="\1pt" height="\2pt"{least} aria-hidden="true">'
    return re.sub(root, new, text, count=1).strip()
