"""Peak anonymous memory of a whole job by the number of images: 10,000 against 100,000 of 64 px.

Run: PYTHONPATH=. python tests/benchmarks/memory.py [10000 100000]
RssAnon + RssShmem of `bash run.sh` and all its children, sampled ten times a second. The images are PNG files of 64 px
made here (a hundred different ones, linked under many names); the job is one fold of two, LeNet-5, one epoch.
"""

import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from jobs import copy_project
from measure import machine_line, smooth_images
from PIL import Image


def make_competition(root: Path, num_images: int) -> None:
    pictures = smooth_images(100, 64).numpy()
    (root / "pictures").mkdir(parents=True)
    for number, picture in enumerate(pictures):
        # Labels that can be seen.
        picture[:8, :8] = 25 * (number % 10)
        Image.fromarray(picture).save(root / "pictures" / f"{number}.png")
    for part, count, label in (("train", num_images, True), ("test", num_images // 10, False)):
        (root / part).mkdir()
        for number in range(count):
            os.link(root / "pictures" / f"{number % 100}.png", root / part / f"{number:06d}.png")
        with (root / ("train.csv" if label else "sample_submission.csv")).open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["id", "label"])
            writer.writerows(
                [f"{number:06d}", f"class {number % 10}" if label else "class 0"] for number in range(count)
            )


def children(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for folder in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in folder.read_text().split():
            found += children(int(child))
    return found


def anonymous(pid: int) -> int:
    """RssAnon + RssShmem of a process and its children, in kB."""
    total = 0
    for each in children(pid):
        try:
            for row in Path(f"/proc/{each}/status").read_text().splitlines():
                if row.startswith(("RssAnon", "RssShmem")):
                    total += int(row.split()[1])
        except OSError:
            continue
    return total


def peak(num_images: int) -> float:
    """Peak anonymous memory of the job, in MB."""
    with tempfile.TemporaryDirectory() as scratch:
        project = Path(scratch)
        copy_project(project)
        make_competition(project / "input" / "many", num_images)
        (project / "configs" / "many.toml").write_text(
            '[data]\nroot = "input/many"\n[folds]\nnum_folds = 2\n[image]\nsize = 64\n'
            '[augment]\npolicy = "autoaugment-cifar10"\nhflip = 0.5\n'
            '[model]\nname = "lenet5"\n[train]\nnum_epochs = 1\nbatch_size = 256\n'
        )
        run = subprocess.Popen(["bash", "run.sh", "configs/many.toml"], cwd=project, stdout=sys.stderr)
        highest = 0
        while run.poll() is None:
            highest = max(highest, anonymous(run.pid))
            time.sleep(0.1)
        assert run.returncode == 0
        return highest / 1000


if __name__ == "__main__":
    few, many = (int(value) for value in (sys.argv[1:] or ["10000", "100000"]))
    small, large = peak(few), peak(many)
    print(f"{few:,} images: {small:,.0f} MB; {many:,} images: {large:,.0f} MB; ratio {large / small:.3f}")
    print(machine_line())
