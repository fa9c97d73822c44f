"""Several stages in one process: in the order given, until one fails; wrong names are one line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import ensemble, folds, prepare
from pipeline.__main__ import STAGES, main
from pipeline.config import Config

ROOT = Path(__file__).parent.parent


def test_the_stages_are_those_of_run_sh() -> None:
    assert f"-m pipeline {' '.join(STAGES)} --config" in (ROOT / "run.sh").read_text()


def test_stages_run_in_order_until_one_fails(
    competition: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = competition()
    ran: list[str] = []

    def stage(name: str, status: int) -> Callable[[list[str]], int]:
        def run(argv: list[str]) -> int:
            assert argv == ["--config", cfg.path, "--set", "train.lr=0.1"]
            ran.append(name)
            return status

        return run

    for module, status in ((prepare, 0), (folds, 3), (ensemble, 0)):
        name = module.__name__.rpartition(".")[2]
        monkeypatch.setattr(module, "main", stage(name, status))
    assert main(["prepare", "folds", "ensemble", "--config", cfg.path, "--set", "train.lr=0.1"]) == 3
    assert ran == ["prepare", "folds"]


@pytest.mark.parametrize(("argv", "got"), [([], "Got none"), (["tain", "--config", "x.toml"], "Got 'tain'")])
def test_wrong_names_are_one_line(argv: list[str], got: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and got in message
