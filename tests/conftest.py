"""What the tests share: a tiny competition, and where the shared ones are."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from making import TOML, tiny_competition
from pipeline.config import Config
from pipeline.config_file import load

SHARED = Path(__file__).parent.parent.parent / "shared"


def pytest_configure(config: pytest.Config) -> None:
    import torch

    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "shared" in item.keywords and not SHARED.is_dir():
            item.add_marker(pytest.mark.skip(reason="the shared competitions are not beside the checkout"))
        if "gpu" in item.keywords:
            import torch

            if not torch.cuda.is_available():
                item.add_marker(pytest.mark.skip(reason="no CUDA here"))


@pytest.fixture
def shared() -> Path:
    """The folder of shared competitions and odd images."""
    return SHARED


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in which stages are started."""
    monkeypatch.chdir(tmp_path)
    for name in ("input", "configs", "output", "folds"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.fixture
def competition(workplace: Path) -> Callable[..., Config]:
    """A function that writes a tiny competition and its config: 24 train and 8 test images of three classes."""

    def make(*overrides: str, num_train: int = 24, num_test: int = 8, toml: str = TOML) -> Config:
        tiny_competition(workplace, num_train, num_test, toml)
        return load(Path("configs/tiny.toml"), overrides)

    return make
