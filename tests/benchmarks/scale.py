"""A million train images of 20,000 classes, 200,000 test images: time and memory of all that is not pixels.

Run: PYTHONPATH=. python tests/benchmarks/scale.py [--rows 1000000] [--classes 20000]
Image files are links to one file. Each step is a process of its own; its peak memory is that of the process.
"""

import argparse
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
KEEP = 100


def make(folder: Path, num_rows: int, num_classes: int) -> None:
    from PIL import Image

    root = folder / "input" / "big"
    draw = random.Random(0)
    for part, count in (("train", num_rows), ("test", num_rows // 5)):
        (root / part).mkdir(parents=True)
        source = root / f"{part}.jpg"
        Image.new("RGB", (32, 32)).save(source)
        for number in range(count):
            if number % 60_000 == 0:  # file systems bound the links of one file
                first = root / part / f"{number:07d}.jpg"
                first.write_bytes(source.read_bytes())
            else:
                os.link(first, root / part / f"{number:07d}.jpg")
        source.unlink()
    with (root / "train.csv").open("w") as stream:
        stream.write("image_id,label\n")
        stream.writelines(f"{number:07d},c{draw.randrange(num_classes):05d}\n" for number in range(num_rows))
    with (root / "sample_submission.csv").open("w") as stream:
        stream.write("image_id,label\n")
        stream.writelines(f"{number:07d},c00000\n" for number in range(num_rows // 5))


def detect() -> None:
    from pipeline import detect as stage

    stage.detect(Path("input/big"))


def folds() -> None:
    from pipeline.config_file import load
    from pipeline.folds import make_folds

    make_folds(load(Path("configs/big.toml")))


def decide() -> None:
    """Scores, ensemble and submission of predictions that are made up."""
    import numpy as np

    from pipeline.competition.answers import scoring, submission
    from pipeline.competition.answers.ensembling import combine
    from pipeline.competition.answers.form import read_form
    from pipeline.competition.answers.predictions import Predictions, read_predictions, write_predictions
    from pipeline.competition.answers.probs import Probs
    from pipeline.competition.folds.fold_table import read_labelled
    from pipeline.competition.tables.table import read_test
    from pipeline.config_file import load

    cfg = load(Path("configs/big.toml"))
    labelled, test = read_labelled(cfg), read_test(cfg)
    num_classes, draw = len(labelled.task.classes), np.random.default_rng(0)

    def guesses(ids: list[str]) -> Probs:
        values = draw.random((len(ids), KEEP), np.float32) / KEEP
        few = Probs.top(values, draw.integers(0, num_classes, values.shape, dtype=np.int32), num_classes)
        write_predictions(Path("p.parquet"), Predictions(ids, labelled.task.classes, few))
        return read_predictions(Path("p.parquet"), "").probs

    oof = {}
    for part in range(cfg.folds.num_folds):
        _, numbers = labelled.split(part)
        oof[str(part)] = (numbers, guesses(labelled.ids(numbers)))
    print(scoring.cross_validation(labelled.task, labelled.targets, oof)["cv"])
    combined = combine([guesses(test.ids) for _ in range(cfg.folds.num_folds)], "mean", labelled.task, KEEP)
    form = read_form(cfg, labelled.task, test.ids)
    submission.write(
        Path("submission.csv"), form, labelled.task, submission.fill(form, labelled.task, test.ids, combined)
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--classes", type=int, default=20_000)
    parser.add_argument("--step", choices=["detect", "folds", "decide"])
    args = parser.parse_args()
    if args.step:
        start = time.perf_counter()
        {"detect": detect, "folds": folds, "decide": decide}[args.step]()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"RESULT {args.step}: {time.perf_counter() - start:.1f} s, peak {peak:,.0f} MB")
    else:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            for name in ("configs", "output", "folds"):
                (folder / name).mkdir()
            make(folder, args.rows, args.classes)
            print(f"{args.rows:,} train images, {args.classes:,} classes")
            for step in ("detect", "folds", "decide"):
                command = [sys.executable, os.path.abspath(__file__), "--step", step]
                environment = {**os.environ, "PYTHONPATH": str(ROOT)}
                done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
                print(*(line for line in done.stdout.splitlines() if line.startswith("RESULT")), done.stderr[-2000:])
            from measure import machine_line

            print(machine_line())
