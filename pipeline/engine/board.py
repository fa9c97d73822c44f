"""What TensorBoard shows of a training: output/<run>/tensorboard/fold<K>; for those who have it, no part of a model."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config import Config, ConfigError
from pipeline.paths import fold_dir, run_dir

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from pipeline.engine.state import Row

_MISSING = (
    "train.tensorboard = true needs the package tensorboard, which is not installed. Install it (pip install "
    "tensorboard), or set train.tensorboard = false"
)


class Board:
    """The curves of one training, a point for each epoch; without a writer nothing is drawn."""

    def __init__(self, writer: "SummaryWriter | None" = None) -> None:
        self._writer = writer

    def add(self, row: "Row", images_per_second: float) -> None:
        """Add the figures of an epoch."""
        if self._writer is None:
            return
        for name, value in {**row, "images_per_second": images_per_second}.items():
            if name != "epoch" and value is not None:
                self._writer.add_scalar(name, value, row["epoch"])
        self._writer.flush()


def must_be_installed(cfg: Config) -> None:
    """Refuse to begin what leads to a training that could not begin; no package is imported for it.

    Raises:
        ConfigError: TensorBoard is asked for, and not installed.
    """
    if cfg.train.tensorboard and find_spec("tensorboard") is None:
        raise ConfigError(_MISSING)


@contextmanager
def open_board(cfg: Config, fold: int | str, *, writes: bool = True) -> Iterator[Board]:
    """The board of a training; an empty one where `train.tensorboard` does not ask for it, or another process `writes`.

    Raises:
        ConfigError: it is asked for, and not installed.
    """
    if not cfg.train.tensorboard or not writes:
        yield Board()
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ConfigError(_MISSING) from None
    with SummaryWriter(str(board_dir(cfg, fold))) as writer:
        yield Board(writer)


def board_dir(cfg: Config, fold: int | str) -> Path:
    """Where the curves of one training are; TensorBoard shows all of a run from the folder above."""
    return run_dir(cfg) / "tensorboard" / fold_dir(cfg, fold).name
