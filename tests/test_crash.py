"""Killed anywhere, a run that is started again ends with the same bytes, and makes no step twice."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from making import tiny_competition

ROOT = Path(__file__).parent.parent
SETTINGS = (
    *("model.name=resnet9", "model.width=8", "model.dropout=0.2", "train.ema=0.9", "train.num_epochs=4"),
    *("augment.policy=randaugment", "augment.hflip=0.5", "augment.mixup=0.2", "train.checkpoint_minutes=0.0005"),
    *("infer.batch_size=4", "infer.views=['hflip']"),  # another view, so that inference asks the models of their folds
)
STEPS = 2 * 4 * 15
# Points of tests/killed/sitecustomize.py in each stage's own loop, how often an unbroken run reaches them at least, and
# how many of the 25 kills go there.
KILLS = {
    "prepare": (("decode", 264), ("index", 2), ("decode", 264)),
    "folds": (("read", 2), ("assign_folds", 1), ("write_folds", 1)),
    "train": (*[("step", STEPS)] * 6, ("save", 10), ("save", 20)),
    "infer": (("batch", 60), ("batch", 60), ("predictions", 4)),
    "ensemble": (("score", 1), ("fill", 1), ("check", 1)),
    "a file": (("fsync", 40), ("fsync", 20), ("rename", 20)),
    "set-up": (("look", 10), ("load", 6)),
}
# Early enough to be reached whatever was saved before; last the one after which python goes on alone.
SHORT = ("fsync:9:group", "step:60:python", "batch:20:group", "batch:10:bash")
BUSY = "is being made by another process"


@dataclass
class Project:
    """A folder like a checkout, in which `bash run.sh` is started again and again."""

    place: Path
    attempts: list[Path] = field(default_factory=list)

    @property
    def run(self) -> Path:
        return self.place / "output" / "tiny"

    def start(self, kill_at: str = "", num_threads: int = 1) -> "subprocess.Popen[str]":
        """Start run.sh as leader of a process group.

        More threads than cores that are free would wait for each other most of the time.
        """
        self.attempts.append(self.place / f"attempt{len(self.attempts)}")
        environ = {
            **{name: value for name, value in os.environ.items() if name != "CONDA_PREFIX"},
            "VIRTUAL_ENV": sys.prefix,
            "PYTHONPATH": str(ROOT / "tests" / "killed"),
            "OMP_NUM_THREADS": str(num_threads),
            "JOURNAL": f"{self.attempts[-1]}.journal",
            "KILL_AT": kill_at,
        }
        return subprocess.Popen(
            ["bash", "run.sh", "configs/tiny.toml", "--set", *SETTINGS],
            cwd=self.place,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            # Who starts the tests in the background has them ignore it, which bash could not undo.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def finish(self, num_threads: int = 1) -> str:
        """Start run.sh, which must end well; what it said."""
        status, said = end_of(self.start(num_threads=num_threads))
        assert status == 0, said
        return said

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


def end_of(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Exit status of a run.sh and what was said, once whatever it had started has ended too."""
    said, _ = process.communicate()
    return process.returncode, said


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
    project.finish()
    assert project.steps() == [(STEPS, project.steps()[0][1])]
    return project.products()


def kill_once(project: Project, kill_at: str) -> bool:
    """Start run.sh and have somebody killed at a moment; whether it came to that."""
    process = project.start(kill_at)
    if kill_at.endswith("bash") and process.wait() == -signal.SIGKILL:
        # What it had started goes on meanwhile: who comes now finds it at work, or done.
        status, said = end_of(project.start())
        assert status == 0 or BUSY in said, said
    status, said = end_of(process)
    # What was to be reached may be done already: then nothing was killed.
    killed = status in (-signal.SIGKILL, 128 + signal.SIGKILL)
    assert killed or status == 0, said
    return killed


def test_killed_anywhere_the_bytes_are_the_same(
    project: Project, whole: dict[str, bytes], record_property: Callable[[str, object], None]
) -> None:
    project.clear()
    for kill_at in SHORT:
        assert kill_once(project, kill_at), kill_at
    project.finish()
    check(project, whole, SHORT)
    record_property("tried", len(SHORT))


@pytest.mark.slow
def test_killed_anywhere_in_every_stage_the_bytes_are_the_same(
    project: Project, whole: dict[str, bytes], record_property: Callable[[str, object], None]
) -> None:
    draw, report, survived = random.Random(0), [], Counter[str]()
    project.clear()
    # The stages in turn, so that the kills of each find it at work; after each kill the next attempt goes on.
    for stage, points in KILLS.items():
        for point, most in points:
            for _ in range(40):
                # Without a python that has the packages run.sh would make one: it is killed with it.
                who = "group" if stage == "set-up" else draw.choice(["python", "group", "bash"])
                kill_at = f"{point}:{draw.randint(1, most)}:{who}"
                report.append(f"{stage}: {kill_at}")
                if kill_once(project, kill_at):
                    survived[stage] += 1
                    break
                report[-1] += " (not reached)"
                check(project, whole, report)
                project.clear()
    project.finish()
    check(project, whole, report)
    record_property("tried", sum(survived.values()))
    print(f"{sum(survived.values())} kills survived: {dict(survived)}", *report, sep="\n")
    assert all(survived[stage] >= len(points) for stage, points in KILLS.items()), report


def check(project: Project, whole: dict[str, bytes], report: Sequence[str]) -> None:
    assert project.products() == whole, report
    steps = project.steps()
    computed, lost = sum(count for count, _ in steps), sum(after for _, after in steps[:-1])
    assert STEPS <= computed <= STEPS + lost, (steps, report)
    assert not [path for path in project.run.glob("fold*/*") if "resume" in path.name or path.name.endswith(".tmp")]


@pytest.mark.slow
def test_a_second_unbroken_run_of_two_threads_gives_the_same_bytes(project: Project) -> None:
    products = []
    for _ in range(2):
        project.clear()
        project.finish(num_threads=2)
        products.append(project.products())
    assert products[0] == products[1]


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
    ended, said = end_of(project.start(f"step:20:{number.name}{'-group' if to_group else '-bash'}"))
    assert ended == status, said
    assert said.splitlines()[-2:] == [
        "train: stopped; the same command goes on from here",
        "stopped; the same command goes on from here",
    ]
    assert list(project.run.glob("fold0/resume*")) and not (project.run / "fold0" / "model.safetensors").exists()
    said = project.finish()
    assert "train 0: goes on in epoch 2 after 5 steps" in said and not re.search(r"train 0 epoch 1/4", said)
    assert project.steps() == [(20, 0), (STEPS - 20, project.steps()[1][1])], "the step was ended and saved"
    assert project.products() == whole
