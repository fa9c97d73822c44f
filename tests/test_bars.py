"""Progress bars: where one is drawn, and that none leaves a line behind, however wide the terminal says that it is."""

import contextlib
import fcntl
import io
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest

from pipeline.bars import is_drawn

# Bars that are drawn at each step, one within another, with a line of the log between.
SCRIPT = """
import sys
from pipeline import bars, log
bars._DELAY = 0
log.with_log(None)
with bars.bar(3, "outer " + 30 * "long ") as outer:
    outer.mininterval = 0
    for number in range(3):
        with bars.bar(2, "inner") as inner:
            inner.mininterval = 0
            inner.set_postfix_str(50 * "loss ")
            inner.update(); inner.refresh(); inner.update()
        outer.update(); outer.refresh()
        log.log.info("line %s", number)
"""
KERNEL = {"JPY_PARENT_PID": "1"}


class Terminal(io.StringIO):
    """A stream to a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "drawn"),
    [
        ({}, True),
        ({**KERNEL, "JPY_SESSION_NAME": "a.ipynb"}, True),  # a notebook in a browser
        (KERNEL, False),  # nbconvert, papermill
        ({**KERNEL, "KAGGLE_KERNEL_RUN_TYPE": "Interactive"}, True),
        ({**KERNEL, "KAGGLE_KERNEL_RUN_TYPE": "Batch"}, False),  # a notebook that is committed
        ({**KERNEL, "KAGGLE_KERNEL_RUN_TYPE": "Batch", "JPY_SESSION_NAME": "a.ipynb"}, False),
    ],
)
def test_bars_are_drawn_where_somebody_looks(environment: dict[str, str], drawn: bool) -> None:
    assert is_drawn(Terminal(), environment) == drawn
    # A notebook's own stderr is none, nor is a file; and who started this may have closed it.
    assert not is_drawn(io.StringIO(), environment) and not is_drawn(None, environment)


@pytest.mark.parametrize("columns", [0, 40, 80, 200])
def test_no_bar_leaves_a_line(columns: int) -> None:
    shown = on_terminal(columns)
    assert "inner" in shown and "outer" in shown, "they are drawn"
    width = columns or 80
    assert shown.count("\n") == 3 and "\x1b" not in shown, "lines of the log alone end one, and no bar goes up"
    parts = [part for line in shown.split("\r\n") for part in line.split("\r")]
    assert max(map(len, parts)) < width, "what is wider takes two lines"
    assert [line.split("\r")[-1] for line in shown.split("\r\n")[:-1]] == ["line 0", "line 1", "line 2"]
    assert shown.split("\r\n")[-1].split("\r")[-1].strip() == "", "the last bar is gone"


def on_terminal(columns: int) -> str:
    """What a script writes to a terminal of so many columns; 0: of none that it says."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24 if columns else 0, columns, 0, 0))
    hidden = ("JPY_", "KAGGLE_", "COLUMNS", "LINES", "TQDM_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    said = b""
    with contextlib.suppress(OSError):  # EIO: the other side is closed
        while chunk := os.read(ours, 65536):
            said += chunk
    os.close(ours)
    assert process.wait() == 0, said.decode()
    return said.decode()
