"""Progress bars: one line each, drawn where somebody looks at a terminal, and gone when they are done."""

import os
import sys
from collections.abc import Mapping
from typing import TextIO

from tqdm import tqdm

from pipeline.others import rank

# Where a terminal does not say how wide it is, as in some containers: a bar of no width would not be cut to its line.
_COLUMNS = 80
# Any number from 2 on: a terminal that says it has none would show no bar.
_ROWS = 24
# What is worth most stands first: on a narrow terminal the end is cut.
_FORMAT = "{l_bar}{bar}| {remaining}, {rate_fmt}{postfix}"
# Seconds of a pass that is worth a bar.
_DELAY = 1


def bar(total: int | None, name: str, unit: str = "img") -> "tqdm[None]":
    """Open a bar on stderr; all of them take the same line, as a notebook cannot go up to another. Of several processes
    the first has bars.

    Args:
        total: what it counts to; None where that is not known.
        name: what stands in front of it.
        unit: what it counts; B for bytes.
    """
    stream = sys.stderr
    is_shown = rank() == 0 and is_drawn(stream, os.environ)
    return tqdm(
        total=total,
        desc=name,
        unit=unit,
        unit_scale=unit == "B",
        file=stream,
        disable=not is_shown,
        leave=False,
        delay=_DELAY,
        smoothing=0.1,
        position=0,
        ncols=_width(stream) if is_shown else None,
        nrows=_ROWS,
        bar_format=_FORMAT if total is not None else None,
    )


def is_drawn(stream: TextIO | None, environment: Mapping[str, str]) -> bool:
    """Whether a bar is drawn: where each of its states replaces the one before, and somebody sees it.

    Stages that a notebook runs in its own process (%run) write to no terminal. Those that it starts (!) write to one,
    which honours carriage returns; but where nobody looks, as when a hosted notebook is committed or nbconvert runs it,
    all that is written is kept, and a page shows each state as a line.
    """
    if stream is None or not stream.isatty():
        return False
    if "KAGGLE_KERNEL_RUN_TYPE" in environment:
        return environment["KAGGLE_KERNEL_RUN_TYPE"] == "Interactive"
    # jupyter_client names itself to every kernel, jupyter_server the notebook that is open in a browser.
    return "JPY_PARENT_PID" not in environment or "JPY_SESSION_NAME" in environment


def _width(stream: TextIO) -> int:
    """Columns that a bar may take: all but the last, after which some terminals begin a line."""
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except OSError:
        columns = 0
    return (columns or _COLUMNS) - 1
