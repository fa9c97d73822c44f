"""Killed anywhere, a run that is started again ends with the same bytes, and makes no step twice."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from making import tiny_competition

ROOT = Path(__file__).parent.parent
SETTINGS = (
    *("model.name=resnet9", "model.width=8", "model.dropout=0.2", "train.ema=0.9", "train.num_epochs=6"),
    *("augment.policy=randaugment", "augment.hflip=0.5", "augment.mixup=0.2", "train.checkpoint_minutes=0.0005"),
    *("infer.batch_size=4", "infer.views=['hflip']"),  # another view, so that inference asks the models of their folds
)
STEPS = 2 * 6 * 15
# Points of tests/killed/sitecustomize.py in each stage's own loop, how often an unbroken run reaches them, and how many
# of the 25 kills go there.
KILLS = {
    "prepare": (("decode", 264), ("index", 2), ("decode", 264)),
    "folds": (("read", 2), ("split", 1), ("write_folds", 1)),
    "train": (*[("step", STEPS)] * 6, ("save", 10), ("save", 20)),
    "infer": (("batch", 60), ("batch", 60), ("predictions", 4)),
    "ensemble": (("score", 1), ("fill", 1), ("check", 1)),
    "a file": (("fsync", 40), ("fsync", 20), ("rename", 20)),
    "set-up": (("seconds", 1), ("seconds", 1)),
}
SHORT = {"a file": (("fsync", 20),), "train": (("step", STEPS), ("step", STEPS)), "infer": (("batch", 60),)}
BUSY = "is being made by another process"


@dataclass
class Project:
    """A folder like a checkout, in which `bash run.sh` is started again and again."""

    place: Path
    attempts: list[Path] = field(default_factory=list)

    @property
    def run(self) -> Path:
        return self.place / "output" / "tiny"

    def start(self, kill_at: str = "") -> "subprocess.Popen[bytes]":
        """Start run.sh as leader of a process group, what it says going to a file."""
        self.attempts.append(self.place / f"attempt{len(self.attempts)}")
        environ = {
            **{name: value for name, value in os.environ.items() if name != "CONDA_PREFIX"},
            "VIRTUAL_ENV": sys.prefix,
            "PYTHONPATH": str(ROOT / "tests" / "killed"),
            "OMP_NUM_THREADS": "2",
            "JOURNAL": f"{self.attempts[-1]}.journal",
            "KILL_AT": kill_at,
        }
        command = ["bash", "run.sh", "configs/tiny.toml", "--set", *SETTINGS]
        with self.said_file().open("wb") as said:
            return subprocess.Popen(
                command,
                cwd=self.place,
                env=environ,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # Who starts the tests in the background has them ignore it, which bash could not undo.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    def said_file(self) -> Path:
        return Path(f"{self.attempts[-1]}.txt")

    def said(self) -> str:
        return self.said_file().read_text()

    def finish(self) -> None:
        """Start run.sh until it ends well: what outlived a killed run.sh is waited for."""
        for _ in range(200):
            process = self.start()
            if process.wait() == 0:
                return
            assert BUSY in self.said(), self.said()
            time.sleep(0.3)
        raise AssertionError("another process never ended")

    def steps(self) -> list[tuple[int, int]]:
        """Of each attempt the steps that it computed, and those of them that are in no state on the disk."""
        journals = [Path(f"{attempt}.journal") for attempt in self.attempts]
        texts = [journal.read_text() if journal.exists() else "" for journal in journals]
        return [(text.count("s"), lost_of(text)) for text in texts]

    def products(self) -> dict[str, bytes]:
        names = ["oof.parquet", "test.parquet", "submission.csv", "scores.json"]
        names += [f"fold{k}/{name}" for k in (0, 1) for name in ("model.safetensors", "history.csv", "oof.parquet")]
        return {name: (self.run / name).read_bytes() for name in names}

    def clear(self) -> None:
        for name in ("output", "folds"):
            shutil.rmtree(self.place / name)
            (self.place / name).mkdir()
        for attempt in self.attempts:
            Path(f"{attempt}.journal").unlink(missing_ok=True)
        self.attempts.clear()


def lost_of(journal: str) -> int:
    """Steps after the last state that was written whole: training goes on while one is written."""
    num_written = journal.count("c")
    handed_over = [place for place, letter in enumerate(journal) if letter == "b"]
    if num_written > len(handed_over):  # the last was just being handed over
        return 0
    return journal[handed_over[num_written - 1] if num_written else 0 :].count("s")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    place = tmp_path_factory.mktemp("project")
    for name in ("run.sh", "pyproject.toml"):
        shutil.copy(ROOT / name, place)
    (place / "pipeline").symlink_to(ROOT / "pipeline")
    for name in ("output", "folds"):
        (place / name).mkdir()
    tiny_competition(place, num_train=240, num_test=24)
    return Project(place)


@pytest.fixture(scope="module")
def whole(project: Project) -> dict[str, bytes]:
    """What the unbroken run leaves."""
    project.clear()
    assert project.start().wait() == 0, project.said()
    assert project.steps() == [(STEPS, project.steps()[0][1])]
    return project.products()


def kill_once(project: Project, draw: random.Random, point: str, most: int) -> str:
    """Start run.sh and have somebody killed at a drawn moment; what was drawn."""
    who = draw.choice(["python", "group", "bash"])
    number = draw.randint(1, most)
    if point == "seconds":  # run.sh looks for its python, which then imports
        process = project.start()
        seconds = draw.uniform(0.0, 1.5)
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return f"{seconds:.2f} seconds:group"
    process = project.start(f"{point}:{number}:{who}")
    status = process.wait()
    # What was to be reached may be done already: then nothing was killed.
    killed = status in (-signal.SIGKILL, 128 + signal.SIGKILL)
    assert killed or status == 0 or BUSY in project.said(), project.said()
    return f"{point}:{number}:{who}" + ("" if killed else " (not reached)")


@pytest.mark.parametrize("kills", [SHORT, pytest.param(KILLS, marks=pytest.mark.slow)], ids=["short", "long"])
def test_killed_anywhere_the_bytes_are_the_same(
    project: Project,
    whole: dict[str, bytes],
    kills: dict[str, tuple[tuple[str, int], ...]],
    record_property: Callable[[str, object], None],
) -> None:
    seed = random.randrange(10**6)
    draw, report, survived = random.Random(seed), [], Counter[str]()
    project.clear()
    # The stages in turn, so that the kills of each find it at work; after each kill the next attempt goes on.
    for stage, points in kills.items():
        for point, most in points:
            for _ in range(40):
                drawn = kill_once(project, draw, point, most)
                report.append(f"{stage}: {drawn}")
                if "not reached" not in drawn:
                    survived[stage] += 1
                    break
                if BUSY in project.said():
                    time.sleep(0.3)  # a run.sh was killed alone; what it had started goes on
                else:
                    check(project, whole, seed, report)
                    project.clear()
    project.finish()
    check(project, whole, seed, report)
    record_property("tried", sum(survived.values()))
    print(f"seed {seed}: {sum(survived.values())} kills survived: {dict(survived)}", *report, sep="\n")
    assert all(survived[stage] >= len(points) for stage, points in kills.items()), report


def check(project: Project, whole: dict[str, bytes], seed: int, report: list[str]) -> None:
    assert project.products() == whole, (seed, report)
    steps = project.steps()
    computed, lost = sum(count for count, _ in steps), sum(after for _, after in steps[:-1])
    assert STEPS <= computed <= STEPS + lost, (seed, steps, report)
    assert not [path for path in project.run.glob("fold*/*") if "resume" in path.name or path.name.endswith(".tmp")]


@pytest.mark.slow
def test_a_second_unbroken_run_gives_the_same_bytes(project: Project, whole: dict[str, bytes]) -> None:
    project.clear()
    assert project.start().wait() == 0, project.said()
    assert project.products() == whole


@pytest.mark.parametrize(
    ("number", "status", "to_group"),
    [
        (signal.SIGTERM, 143, False),
        (signal.SIGINT, 130, True),
        pytest.param(signal.SIGTERM, 143, True, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, 130, False, marks=pytest.mark.slow),
    ],
)
def test_a_signal_waits_for_the_step_and_the_run_goes_on(
    project: Project, whole: dict[str, bytes], number: signal.Signals, status: int, to_group: bool
) -> None:
    project.clear()
    process = project.start()
    while "epoch 2/6" not in project.said():
        assert process.poll() is None, project.said()
        time.sleep(0.01)
    (os.killpg if to_group else os.kill)(process.pid, number)
    assert process.wait() == status, project.said()
    assert project.said().splitlines()[-2:] == [
        "train: stopped; the same command goes on from here",
        "stopped; the same command goes on from here",
    ]
    assert list(project.run.glob("fold0/resume*")) and not (project.run / "fold0" / "model.safetensors").exists()
    project.finish()
    said = project.said()
    assert "train 0: goes on in epoch" in said and not re.search(r"train 0 epoch 1/6", said)
    assert project.steps()[0][1] == 0, "the step was ended and saved"
    assert sum(count for count, _ in project.steps()) == STEPS
    assert project.products() == whole
