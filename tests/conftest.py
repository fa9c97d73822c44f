"""What the tests share: a tiny competition, and where the shared ones are."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from making import picture, write_table
from pipeline.config import Config
from pipeline.config_file import load

SHARED = Path(__file__).parent.parent.parent / "shared"

TOML = """
[data]
root = "input/tiny"
answers = "answers.csv"
[folds]
num_folds = 2
[image]
size = 12
[model]
name = "mlp"
[train]
num_epochs = 2
batch_size = 8
lr = 0.01
"""


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
        root = workplace / "input" / "tiny"
        names = ["ant", "bee", "cow"]
        rows: dict[str, list[list[object]]] = {"train": [], "test": []}
        for part, count in (("train", num_train), ("test", num_test)):
            for number in range(count):
                label, id_ = number % 3, f"{number:03d}"
                (root / part).mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture(label, number + 1000 * (part == "test"))).save(root / part / f"{id_}.png")
                rows[part].append([id_, names[label]])
        write_table(root / "train.csv", ["id", "label"], rows["train"])
        write_table(root / "answers.csv", ["id", "label"], rows["test"])
        write_table(root / "sample_submission.csv", ["id", "label"], [[id_, names[0]] for id_, _ in rows["test"]])
        (workplace / "configs" / "tiny.toml").write_text(toml, encoding="utf-8")
        return load(Path("configs/tiny.toml"), overrides)

    return make
