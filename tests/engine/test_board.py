"""TensorBoard: its curves are those of the history, and a model is the same with and without it."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pipeline import folds, prepare, train
from pipeline.__main__ import main
from pipeline.config import Config
from pipeline.engine import board
from pipeline.files import read_rows
from running import CONFIG, RUN, run_sh


class Writer:
    """In the place of TensorBoard's, which may not be installed: it remembers what it is told."""

    told: list[tuple[str, str, float, int]]

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.told.append((self.folder, name, value, step))

    def flush(self) -> None:
        pass

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *error: object) -> None:
        pass


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, float, int]]:
    """What TensorBoard is told."""
    module: Any = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setattr(Writer, "told", [], raising=False)
    return Writer.told


def test_its_curves_are_the_history_and_the_model_is_the_same(
    competition: Callable[..., Config], told: list[tuple[str, str, float, int]]
) -> None:
    competition()
    assert prepare.main(CONFIG) == folds.main(CONFIG) == train.main([*CONFIG, "--fold", "0"]) == 0
    names = ("model.safetensors", "history.csv", "valid.parquet")
    before = {name: (RUN / "fold0" / name).read_bytes() for name in names}
    asked = [*CONFIG, "--fold", "0", "--set", "train.tensorboard=true"]
    # The setting alone asks for no other model.
    assert train.main(asked) == 0 and told == []
    for path in (RUN / "fold0").iterdir():
        path.unlink()
    assert train.main(asked) == 0
    assert {name: (RUN / "fold0" / name).read_bytes() for name in names} == before
    rows = read_rows(RUN / "fold0" / "history.csv")
    figures = {(name, step): value for folder, name, value, step in told if folder == "output/tiny/tensorboard/fold0"}
    for row in rows:
        for name in ("lr", "train_loss", "train_score", "valid_loss", "valid_score"):
            assert figures[name, int(row["epoch"])] == float(row[name])
        assert figures["images_per_second", int(row["epoch"])] > 0
    assert len(figures) == 6 * len(rows)


def test_where_it_is_not_installed_that_is_said_before_training(
    competition: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    competition()
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert prepare.main(CONFIG) == folds.main(CONFIG) == 0
    assert train.main([*CONFIG, "--set", "train.tensorboard=true"]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("train: train.tensorboard = true needs the package tensorboard, which is not installed.")
    assert "epoch" not in said.out and not (RUN / "fold0" / "model.safetensors").exists()
    assert not Path("output/tiny/tensorboard").exists()


def test_run_sh_says_so_before_it_decodes_anything(
    competition: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    competition()
    monkeypatch.setattr(board, "find_spec", lambda name: None)
    assert run_sh("train.tensorboard=true") == 2
    said = capsys.readouterr()
    assert said.err.startswith("train: train.tensorboard = true needs the package tensorboard")
    assert not (RUN / "audit.csv").exists()
    assert main(["prepare", "infer", *CONFIG, "--set", "train.tensorboard=true"]) == 1
    assert (RUN / "audit.csv").exists(), "who trains nothing needs no TensorBoard"
