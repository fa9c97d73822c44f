"""What the tests share: a tiny competition, and where the shared ones are; and what keeps time and chance out."""

import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch

from making import TOML, tiny_competition
from pipeline import prepare
from pipeline.config import Config
from pipeline.config_file import load
from pipeline.log import said_once
from played_hub import PlayedHub
from running import CONFIG, run_all

SHARED = Path(__file__).parent.parent.parent / "shared"

# The same examples at every run, however slow the machine is at the moment.
hypothesis.settings.register_profile(
    "same", deadline=None, derandomize=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("same")


def pytest_configure(config: pytest.Config) -> None:
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # as the pipeline does: without a network the question is a warning


@pytest.fixture(scope="session", autouse=True)
def no_waiting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Spare what tests would only wait for.

    No test sees whether bytes are on the disk itself: an fsync takes 5 ms. And where the packages were installed
    without bytecode, processes that tests start compile torch once, not each for itself: that takes 6 s.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        if not Path(torch.__cached__).is_file():
            patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
            patch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path_factory.mktemp("bytecode")))
        yield


@pytest.fixture(autouse=True)
def same_draws() -> None:
    """What draws without a seed of its own draws the same, whichever tests ran before."""
    random.seed(0)
    np.random.seed(0)
    torch.default_generator.manual_seed(0)


@pytest.fixture(autouse=True)
def nothing_said() -> None:
    """What is said once in a process is said once in a test."""
    said_once.clear()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "shared" in item.keywords and not SHARED.is_dir():
            item.add_marker(pytest.mark.skip(reason="the shared competitions are not beside the checkout"))
        if "gpu" in item.keywords and not torch.cuda.is_available():
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


@pytest.fixture(scope="session")
def trained_place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every stage of the tiny competition has run."""
    place = tmp_path_factory.mktemp("trained")
    tiny_competition(place)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert run_all() == 0
    return place


@pytest.fixture
def trained(trained_place: Path, workplace: Path) -> Config:
    """The tiny competition and all its products, in a folder of the test's own: what it may change is a copy."""
    shutil.copytree(trained_place, workplace, ignore=shutil.ignore_patterns("cache"), dirs_exist_ok=True)
    assert prepare.main(CONFIG) == 0  # the images of another folder have another cache
    return load(Path("configs/tiny.toml"))


@pytest.fixture
def nowhere(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> PlayedHub:
    """A machine with no weights but those of installed packages, and a hub that is played, with nothing there yet."""
    from huggingface_hub import constants

    from pipeline.model import published

    monkeypatch.delenv(published.VARIABLE, raising=False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TORCH_HOME", str(workplace / "torch"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(workplace / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(published, "ATTACHED", workplace / "attached")
    hub = PlayedHub()
    hub.play(monkeypatch)
    return hub
