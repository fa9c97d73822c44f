"""The command line all stages share: `--config`, `--set`, `--fold`, and what becomes of errors and output."""

import argparse
import errno
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

from pipeline.config import Config, ConfigError
from pipeline.config_file import load
from pipeline.files import InputError
from pipeline.log import log, say, with_log
from pipeline.others import OtherFailed, count, must_say, rank, reaching_others
from pipeline.paths import run_dir
from pipeline.plan import planned
from pipeline.processes import team
from pipeline.roots import is_address, local_root
from pipeline.sharing import must_share
from pipeline.signals import Stopped, signals_stop

DEFAULT_CONFIG = "configs/digits.toml"
# Seconds of a stage that are written down.
_WORTH_A_LINE = 0.2
# What the machine says no to, and what must be done.
_MACHINE_S = {
    errno.ENOSPC: "there must be room on the disk. It is full: make room",
    errno.EDQUOT: "there must be room on the disk. Your share of it is used up: make room",
    errno.EFBIG: "files must be allowed to grow. A limit on their size (ulimit -f) was reached: raise it",
    errno.EROFS: "output/, folds/ and configs/ must be writable. They are read-only: start from another folder",
    errno.EEXIST: "folders must be folders and files files. Here one stands in the other's place: move it away",
    errno.ENOTDIR: "folders must be folders. A file stands in the place of one: move it away",
    errno.EISDIR: "files must be files. A folder stands in the place of one: move it away",
    errno.ELOOP: "links must lead to a file or folder. One leads to itself: delete it",
    errno.EACCES: "output/, folds/ and configs/ must be writable, input/ readable. Permission was denied",
}


def parse(
    stage: str, about: str, argv: Sequence[str] | None, *, fold: bool = False, file: str = ""
) -> argparse.Namespace:
    """Read a stage's arguments; a mistake is one line on stderr and exit 2.

    Args:
        stage: its name.
        about: what it does.
        argv: the arguments.
        fold: whether it works on one fold at a time.
        file: what the file is that it is for; "": for none.
    """
    parser = Parser(stage, about)
    if file:
        parser.add_argument("file", type=Path, metavar="FILE", help=file)
    parser.add_argument(
        "--config",
        type=_target,
        default=Path(DEFAULT_CONFIG),
        help="a config file, or the folder or address of a competition with a detected one (default: "
        f"{DEFAULT_CONFIG})",
    )
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="settings, such as train.lr=0.01"
    )
    if fold:
        parser.add_argument("--fold", metavar="K", help="a fold's number, or full (default: each in turn)")
        parser.add_argument("--in-turn", action="store_true", help="the other folds follow: the time left is of all")
    return parser.parse_args(argv)


def _target(text: str) -> Path | str:
    """A path, or an address, which a path would not leave as it is."""
    return text if is_address(text) else Path(text)


def config_path(target: Path | str) -> Path:
    """The config that `--config` means: a file as it is; for a competition's folder or address, the one detected.

    Raises:
        ConfigError: it is none of these.
    """
    if isinstance(target, str):
        return Path("configs") / f"{local_root(target).name}.toml"
    if target.suffix == ".toml" and not target.is_dir():
        return target
    if not target.is_dir():
        raise ConfigError(
            f"--config must be a config (.toml), a competition's folder or its address (s3://...). {target} does not "
            "exist"
        )
    return Path("configs") / f"{Path(os.path.abspath(target)).name}.toml"


def load_target(target: Path | str, overrides: Sequence[str]) -> Config:
    """The settings that `--config` means.

    Raises:
        ConfigError: there are none, they cannot be used, or a folder's are those of another folder of its name.
    """
    path = config_path(target)
    is_competition = path != target
    if is_competition and not path.is_file():
        raise ConfigError(
            f"{path} does not exist. It is made by: python -m pipeline.detect --config {shlex.quote(str(target))}"
        )
    cfg = load(path, overrides)
    if is_competition and cfg.root.resolve() != local_root(str(target)).resolve():
        raise ConfigError(
            f"{path} must be the config of {target}. Its data.root is {cfg.data.root}: rename one of the two folders, "
            "or name the config that you mean"
        )
    return cfg


def run_stage(
    stage: str,
    about: str,
    work: Callable[[Config, str | None], None],
    argv: Sequence[str] | None = None,
    *,
    fold: bool = False,
    together: bool = False,
) -> int:
    """Parse, load, call a stage's function, and turn what the user can cause into one message and an exit status.

    Args:
        stage: its name.
        about: what it does.
        work: its function.
        argv: the arguments.
        fold: whether it works on one fold at a time.
        together: whether several processes share the work; else the first does it, and the others wait.

    Returns:
        0; 1 where the data or the machine is the cause; 2 for arguments and settings. Bugs keep their traceback.
    """
    arguments = parse(stage, about, argv, fold=fold)
    try:
        cfg = load_target(arguments.config, arguments.set)
    except ConfigError as error:
        return _failed(stage, str(error), 2)
    asked = getattr(arguments, "fold", None)
    cfg = cfg.model_copy(update={"in_turn": getattr(arguments, "in_turn", False)})
    begins = partial(must_share, cfg)
    return guarded(
        stage, lambda: work(planned(cfg), asked), run_dir(cfg), asked or "", together=together, begins=begins
    )


def guarded(
    stage: str,
    work: Callable[[], None],
    folder: Path | None,
    fold: str = "",
    *,
    together: bool = False,
    begins: Callable[[], None] = lambda: None,
) -> int:
    """Call a stage's work with the log open; errors that the user can mend become one line.

    SIGTERM and Ctrl-C end the work where it is, so that nothing half-written is left behind; see `stops_after_step`.

    Args:
        stage: its name.
        work: what it does.
        folder: of the run; None where it concerns none.
        fold: what it was asked for; "" for all.
        together: whether several processes share the work; else the first does it, and the others wait.
        begins: is called first, by all processes.
    """
    began, members = time.perf_counter(), team()
    with signals_stop():
        try:
            with reaching_others():
                with_log(folder)
                # A message may come late, a tensor not: who is done with its own models may wait for hours.
                members.meet()
                begins()
                if together or members.is_first:
                    work()
                members.meet()
                if folder is not None and members.is_first:
                    _write_seconds(folder, stage, fold, time.perf_counter() - began)
        except ConfigError as error:
            return _failed(stage, str(error), 2)
        except (InputError, OSError, MemoryError) as error:
            return _failed(stage, _in_words(error), 1)
        except (KeyboardInterrupt, Stopped) as error:
            status = error.status if isinstance(error, Stopped) else 130
            return _failed(stage, "stopped; the same command goes on from here", status, is_news=False)
        except OtherFailed as error:
            return _failed(stage, "it ends, as another process has ended", error.status, is_news=False)
    return 0


def _failed(stage: str, message: str, status: int, *, is_news: bool = True) -> int:
    """Say what went wrong, once where several processes meet it, and in which; gives the exit status."""
    if must_say(message, status, is_news=is_news):
        # A mistake in the settings is no process's own.
        of_process = f"process {rank()}: " if is_news and status != 2 and count() > 1 else ""
        if log.handlers:
            log.error("%s: %s%s", stage, of_process, message)
        else:
            say(f"{stage}: {of_process}{message}", sys.stderr)
    return status


def _write_seconds(folder: Path, stage: str, fold: str, seconds: float) -> None:
    """Add what a stage took to the run's `seconds.csv`; nothing for one that had nothing to do."""
    if seconds < _WORTH_A_LINE:
        return
    path = folder / "seconds.csv"
    header = "" if path.is_file() else "stage,fold,seconds\n"
    with path.open("a", encoding="utf-8") as stream:
        stream.write(f"{header}{stage},{fold},{seconds:.3f}\n")


def _in_words(error: Exception) -> str:
    """What is said of an error that the data or the machine caused."""
    if isinstance(error, MemoryError) and not str(error):
        return "memory has run out. End other programs; the same command goes on from here"
    if not isinstance(error, OSError) or error.errno not in _MACHINE_S:
        return str(error) or type(error).__name__
    where = f" ({error.filename})" if error.filename else ""
    return f"{_MACHINE_S[error.errno]}{where}; nothing that was finished is lost, the same command goes on from here"


class Parser(argparse.ArgumentParser):
    """The arguments of `python -m pipeline.<command>`; usage errors are one line and exit 2, not the whole usage."""

    def __init__(self, command: str, about: str, names: str = "") -> None:
        """Make a parser; `names` are the arguments that begin with a name, which may begin with a dash."""
        super().__init__(f"python -m pipeline.{command}", description=about, allow_abbrev=False)
        self.names = names

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and end."""
        if self.names and message.startswith(("unrecognized arguments", "the following arguments are required")):
            message += f". A name that begins with a dash stands behind --: {self.prog} -- {self.names}"
        say(f"{self.prog}: {message}", sys.stderr)
        raise SystemExit(2)
