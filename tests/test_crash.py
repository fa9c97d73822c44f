"""Killed anywhere, a run that is started again ends with the same bytes, and makes no step twice."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.config import Config

ROOT = Path(__file__).parent.parent
STAGES = ("prepare", "folds", "train", "infer", "ensemble")
SETTINGS = (
    *("model.name=resnet9", "model.width=8", "model.dropout=0.2", "train.ema=0.9", "train.num_epochs=6"),
    *("augment.policy=randaugment", "augment.hflip=0.5", "augment.mixup=0.2", "train.checkpoint_minutes=0.0005"),
)
RUN = Path("output/tiny")


def start() -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "pipeline", *STAGES, "--config", "configs/tiny.toml", "--set", *SETTINGS]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def products() -> dict[str, bytes]:
    names = ["oof.parquet", "test.parquet", "submission.csv", "scores.json"]
    names += [f"fold{k}/{name}" for k in (0, 1) for name in ("model.safetensors", "history.csv", "oof.parquet")]
    return {name: (RUN / name).read_bytes() for name in names}


def clear() -> None:
    subprocess.run(["rm", "-rf", "output", "folds"], check=True)
    for name in ("output", "folds"):
        Path(name).mkdir()


def whole_run() -> tuple[dict[str, bytes], float]:
    began = time.monotonic()
    process = start()
    said, _ = process.communicate()
    assert process.returncode == 0, said
    return products(), time.monotonic() - began


def killed_run(seed: int, num_kills: int, longest: float) -> tuple[dict[str, bytes], list[str]]:
    """Kill, start again, and so on; what each attempt said."""
    draw, said = random.Random(seed), []
    while True:
        process = start()
        try:
            text, _ = process.communicate(timeout=draw.uniform(1.0, longest) if len(said) < num_kills else None)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            text, _ = process.communicate()
        said.append(text)
        if process.returncode == 0:
            return products(), said
        assert process.returncode == -signal.SIGKILL, text


@pytest.mark.parametrize("num_kills", [3, pytest.param(25, marks=pytest.mark.slow)])
def test_killed_anywhere_the_bytes_are_the_same(competition: Callable[..., Config], num_kills: int) -> None:
    competition(num_train=240, num_test=24)
    whole, seconds = whole_run()
    clear()
    seed = random.randrange(10**6)
    print("seed", seed)
    broken, said = killed_run(seed, num_kills, seconds)
    assert broken == whole, (seed, said)
    assert not list(RUN.glob("fold*/resume.safetensors"))


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_waits_for_the_step_and_the_run_goes_on(
    competition: Callable[..., Config], number: signal.Signals, status: int
) -> None:
    competition(num_train=240, num_test=24)
    process = start()
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "epoch 2/6" in line:
            process.send_signal(number)
            break
    rest, _ = process.communicate()
    assert process.returncode == status, (lines, rest)
    assert rest.splitlines()[-1] == "train: stopped; the same command goes on from here"
    assert (RUN / "fold0" / "resume.safetensors").is_file() and not (RUN / "fold0" / "model.safetensors").exists()
    process = start()
    said, _ = process.communicate()
    assert (
        process.returncode == 0 and "train 0: goes on in epoch" in said and "epoch 1/6" not in said.split("train 1")[0]
    )
    again = products()
    clear()
    assert whole_run()[0] == again
