"""Without a network and without a home: nothing but published weights that are not there asks for either."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch

from pipeline.config import Config

ROOT = Path(__file__).parent.parent


def run_offline(place: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    """Run a command where no network and no home folder is."""
    (place / "home").mkdir(exist_ok=True)
    (place / "home").chmod(0o500)
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "HF_", "TORCH_"))},
        # A folder in which nothing can be made, whoever asks.
        "HOME": "/proc/self/none",
        "PYTHONPATH": f"{ROOT / 'tests' / 'offline'}:{ROOT}",
        "REACHED": str(place / "reached.txt"),
        "VIRTUAL_ENV": sys.prefix,
    }
    return subprocess.run(command, cwd=place, env=environ, capture_output=True, text=True)


def test_the_demo_needs_neither(tmp_path: Path) -> None:
    for name in ("run.sh", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    (tmp_path / "pipeline").symlink_to(ROOT / "pipeline")
    done = run_offline(tmp_path, "bash", "run.sh", "--set", "train.num_epochs=1", "folds.num_folds=2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "output" / "digits" / "submission.csv").is_file()
    assert not (tmp_path / "reached.txt").exists()


def test_published_weights_that_are_not_there_are_one_line(competition: Callable[..., Config], workplace: Path) -> None:
    competition()
    settings = ("model.name=resnet18", "model.pretrained=true", "image.size=32")
    stages = ("prepare", "folds", "train")
    done = run_offline(
        workplace, sys.executable, "-m", "pipeline", *stages, "--config", "configs/tiny.toml", "--set", *settings
    )
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert "huggingface.co" in done.stderr and "input/weights as resnet18.a1_in1k.safetensors" in done.stderr
    assert len((workplace / "reached.txt").read_text().splitlines()) == 1, "one attempt, and none again"


def test_published_weights_that_are_brought_need_neither(competition: Callable[..., Config], workplace: Path) -> None:
    competition()
    place = workplace / "input" / "weights"
    place.mkdir()
    torch.save(timm.create_model("test_resnet").state_dict(), place / "test_resnet.r160_in1k.pth")
    settings = ("model.name=test_resnet", "model.pretrained=true", "image.size=32", "train.num_epochs=1")
    stages = ("prepare", "folds", "train", "infer", "ensemble")
    done = run_offline(
        workplace, sys.executable, "-m", "pipeline", *stages, "--config", "configs/tiny.toml", "--set", *settings
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_resnet.r160_in1k are input/weights/test_resnet.r160_in1k.pth" in done.stdout
    assert not (workplace / "reached.txt").exists()
    place.rename(workplace / "attached")
    environ = {"PIPELINE_WEIGHTS": str(workplace / "attached")}
    again = run_offline(
        workplace,
        *("env", *(f"{name}={value}" for name, value in environ.items()), sys.executable, "-m", "pipeline", "train"),
        *("--config", "configs/tiny.toml", "--set", *settings),
    )
    assert again.returncode == 0 and again.stdout.count("up to date") == 2, "the same weights at another place"


@pytest.mark.slow
def test_the_default_suite_needs_neither() -> None:
    """In a network of its own, with nothing in it, where the system allows that."""
    shield = ["unshare", "--net", "--map-root-user"]
    if shutil.which("unshare") is None or subprocess.run([*shield, "true"], capture_output=True).returncode:
        pytest.skip("unshare is not allowed here")
    environ = {**os.environ, "HOME": "/proc/self/none"}
    done = subprocess.run([*shield, sys.executable, "-m", "pytest", "-q"], cwd=ROOT, env=environ)
    assert done.returncode == 0
