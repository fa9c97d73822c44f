"""Whole jobs by wall time: `bash run.sh`, from the CSV to the submission, against `tutorial.py`.

Run: PYTHONPATH=. python tests/benchmarks/jobs.py SHARED [photos small cifar10] [--turns N]
SHARED is the folder of the shared competitions (clothing/public.zip, cifar10/public.zip). Before each timed run
`output/` and `folds/` are empty; the environment and the system's file cache are warm.
"""

import argparse
import csv
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

from measure import machine_line

ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Job:
    """A competition cut to size, the tutorial's arguments, and what our config says beside them."""

    source: str
    num_train: int
    num_test: int
    arguments: dict[str, str]
    settings: str
    variants: tuple[str, ...]


PHOTOS = """
[image]
size = 128
margin = 1.25
[augment]
policy = "autoaugment-imagenet"
hflip = 0.5
min_area = 0.35
[model]
name = "resnet18"
normalisation = "imagenet"
"""
SMALL = """
[image]
size = 32
[augment]
policy = "autoaugment-cifar10"
hflip = 0.5
pad_crop = 4
[model]
name = "{model}"
"""
JOBS = {
    "photos": Job(
        "clothing", 1500, 500, {"model": "resnet18", "size": "128", "batch": "32"}, PHOTOS, ("plain", "tuned")
    ),
    "small": Job("cifar10", 5000, 2000, {"model": "resnet10t", "size": "32", "batch": "128"}, SMALL, ("plain",)),
    "cifar10": Job(
        "cifar10",
        50_000,
        10_000,
        {"model": "lenet5", "size": "32", "batch": "128", "folds": "5", "epochs": "1"},
        SMALL,
        ("plain",),
    ),
}


def make_competition(job: Job, shared: Path, root: Path) -> dict[str, str]:
    """Cut a shared competition to size under `root`; returns the answers. Too few images are taken twice."""
    with zipfile.ZipFile(shared / job.source / "public.zip") as archive:
        archive.extractall(root)
    for name, wanted in (("train.csv", job.num_train), ("sample_submission.csv", job.num_test)):
        with (root / name).open(newline="") as stream:
            header, *rows = csv.reader(stream)
        part = "train" if name == "train.csv" else "test"
        for number in range(max(0, wanted - len(rows))):
            shutil.copy(root / part / f"{rows[number][0]}.jpg", root / part / f"again_{number}.jpg")
            rows.append([f"again_{number}", *rows[number][1:]])
        with (root / name).open("w", newline="") as stream:
            csv.writer(stream).writerows([header, *rows[:wanted]])
    with (shared / job.source / "answers.csv").open(newline="") as stream:
        return {row[0]: row[1] for row in csv.reader(stream)}


def accuracy(path: Path, answers: dict[str, str]) -> float:
    with path.open(newline="") as stream:
        rows = list(csv.reader(stream))[1:]
    return sum(answers[row[0]] == row[1] for row in rows) / len(rows)


def copy_project(target: Path) -> None:
    """The project without its products, with this environment."""
    for name in ("pipeline", "run.sh", "pyproject.toml"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target / name)
    for name in ("configs", "input"):
        (target / name).mkdir()
    os.symlink(ROOT / ".venv", target / ".venv")


def write_config(job: Job, name: str, project: Path) -> None:
    """Our config of a job; the first two columns of the shared competitions are id and label."""
    with (project / "input" / name / "train.csv").open(newline="") as stream:
        id_, label = next(csv.reader(stream))[:2]
    asked = {"folds": "2", "epochs": "2", **job.arguments}
    (project / "configs" / f"{name}.toml").write_text(
        f'[data]\nroot = "input/{name}"\nid = "{id_}"\nlabels = ["{label}"]\n'
        f'image = "train/{{{id_}}}.jpg"\ntest_image = "test/{{{id_}}}.jpg"\n'
        f"[folds]\nnum_folds = {asked['folds']}\n{job.settings.format(**asked)}"
        f"[train]\nnum_epochs = {asked['epochs']}\nbatch_size = {asked['batch']}\n"
        'optimizer = "adamw"\nlr = 1e-3\nschedule = "onecycle"\n'
    )


def ours(name: str, project: Path) -> tuple[float, Path]:
    for folder in ("output", "folds"):
        shutil.rmtree(project / folder, ignore_errors=True)
    start = time.perf_counter()
    done = subprocess.run(["bash", "run.sh", f"configs/{name}.toml"], cwd=project, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout, file=sys.stderr)
    return seconds, project / "output" / name / "submission.csv"


def tutorial(job: Job, name: str, project: Path, variant: str) -> tuple[float, Path]:
    output = project / f"{variant}.csv"
    options = [part for key, value in job.arguments.items() for part in (f"--{key}", value)]
    script = str(ROOT / "tests" / "benchmarks" / "tutorial.py")
    command = [sys.executable, script, str(project / "input" / name), str(output), *options]
    start = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, *(tuning() if variant == "tuned" else [])], capture_output=True, text=True, env=environment
    )
    seconds = time.perf_counter() - start
    assert done.returncode == 0, done.stderr
    print(variant, done.stdout, file=sys.stderr)
    return seconds, output


def tuning() -> list[str]:
    """What an expert would switch on here."""
    from torch import nn

    from pipeline.engine.machine import find_machine

    precision = find_machine("auto", nn.Conv2d(3, 3, 3), (3, 8, 8)).precision
    return ["--tuned", *(["--bfloat16"] if precision == "bfloat16" else [])]


def compare(name: str, shared: Path, num_turns: int) -> list[str]:
    job = JOBS[name]
    with tempfile.TemporaryDirectory() as scratch:
        project = Path(scratch)
        copy_project(project)
        answers = make_competition(job, shared, project / "input" / name)
        write_config(job, name, project)
        times: dict[str, list[float]] = {"ours": [], **{variant: [] for variant in job.variants}}
        scores: dict[str, float] = {}
        for _ in range(num_turns):
            for who in times:
                seconds, file = ours(name, project) if who == "ours" else tutorial(job, name, project, who)
                times[who].append(seconds)
                scores[who] = accuracy(file, answers)
        rows = [f"{name}: run.sh {statistics.median(times['ours']):.1f} s, accuracy {scores['ours']:.4f}"]
        for variant in job.variants:
            ratio = statistics.median(a / b for a, b in zip(times["ours"], times[variant], strict=True))
            median = statistics.median(times[variant])
            rows.append(f"  {variant} loop {median:.1f} s, accuracy {scores[variant]:.4f}; run.sh / it {ratio:.3f}")
        return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("shared", type=Path)
    parser.add_argument("jobs", nargs="*", choices=[[], *JOBS], default=[])
    parser.add_argument("--turns", type=int, default=3)
    args = parser.parse_args()
    for chosen in args.jobs or list(JOBS):
        print(*compare(chosen, args.shared.resolve(), args.turns), sep="\n", flush=True)
    print(machine_line())
