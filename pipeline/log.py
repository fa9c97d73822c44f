"""What the pipeline says: lines on the terminal, and with the time in the run's `log.txt`."""

import contextlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from pipeline.processes import team
from pipeline.quoting import without_secrets

log = logging.getLogger("pipeline")


def with_log(folder: Path | None) -> None:
    """Send the log to the terminal and, with the time, to `log.txt` in the run's folder."""
    log.setLevel(logging.INFO)
    log.propagate = False
    for handler in list(log.handlers):
        log.removeHandler(handler)
        handler.close()
    handlers: list[logging.Handler] = [_Terminal()]
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        file = logging.FileHandler(folder / "log.txt", encoding="utf-8")
        file.setFormatter(_OneLine("%(asctime)s %(message)s"))
        handlers.append(file)
    for handler in handlers:
        handler.addFilter(_speaks)
        log.addHandler(handler)


def _speaks(record: logging.LogRecord) -> bool:
    """Whether this process says it: of several that do the same the first alone, and each of what went wrong."""
    return record.levelno >= logging.ERROR or team().is_first


@contextlib.contextmanager
def errors_alone(logger: logging.Logger = log) -> Iterator[None]:
    """Have a logger say errors alone: by default ours, as what is only tried is said where it is done in earnest."""
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


# What `say_once` has said in this process.
said_once: set[str] = set()


def say_once(key: str, level: int, message: str, *values: object) -> None:
    """Log a line for the first time that it comes up in this process: it is the same for every model of a run."""
    if key not in said_once and log.isEnabledFor(level):
        said_once.add(key)
        log.log(level, message, *values)


def printable(text: str) -> str:
    """Text that is one line and changes nothing on a terminal: names and labels are anybody's, so what is no printable
    character in them (escapes, line ends, bytes that are no UTF-8) is shown as Python writes it.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def say(text: str, stream: TextIO | None) -> None:
    """Print a line on stdout or stderr, whatever their encoding, without breaking a progress bar that is drawn."""
    if stream is None:
        return  # it was closed by who started this
    encoding = stream.encoding or "utf-8"
    line = printable(without_secrets(text)).encode(encoding, "backslashreplace").decode(encoding)
    bar = sys.modules.get("tqdm")
    if bar is not None:
        bar.tqdm.write(line, file=stream)
    else:
        print(line, file=stream, flush=True)


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(without_secrets(super().format(record)))


class _Terminal(logging.Handler):
    """Messages to stdout, errors to stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        say(self.format(record), sys.stderr if record.levelno >= logging.ERROR else sys.stdout)
