"""How each stage's time and peak memory grow with the number of images: from a thousand to a million, 100 classes.

Run: PYTHONPATH=. python tests/benchmarks/scaling.py [--most 1000000] [--steps folds ensemble ...]
Images are made for `prepare` alone, up to 100,000 of 32 px; the others get tables that are made up. Each step is a
process of its own, its peak memory that of the process, before the step and after it. The exponent is the slope of a
line of least squares through log time against log images, over the largest sizes down to a tenth of the last.
"""

import argparse
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).parent.parent.parent
SIZES = (1_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
MOST_IMAGES = 100_000
NUM_CLASSES, NUM_FOLDS, NUM_FEATURES = 100, 5, 128
CLASSES = tuple(f"c{number:02d}" for number in range(NUM_CLASSES))
# What is submitted: the likeliest class, or a column for each.
TASKS = {"labels": "accuracy", "columns": "log_loss"}


def make(num_images: int, task: str, *, with_images: bool) -> None:
    """A competition of so many train images, and as many test images, in the folder that this runs in."""
    import numpy as np

    draw = np.random.default_rng(0)
    root = Path("input/many")
    for name in ("configs", "folds", "output", "input/many/train", "input/many/test"):
        Path(name).mkdir(parents=True, exist_ok=True)
    labels = draw.integers(0, NUM_CLASSES, num_images)
    with (root / "train.csv").open("w") as stream:
        stream.write("id,label\n")
        stream.writelines(f"a{row:07d},{CLASSES[label]}\n" for row, label in enumerate(labels.tolist()))
    names, cells = (["label"], CLASSES[0]) if task == "labels" else (CLASSES, ",".join(["0.01"] * NUM_CLASSES))
    with (root / "sample_submission.csv").open("w") as stream:
        stream.write(f"id,{','.join(names)}\n")
        stream.writelines(f"b{row:07d},{cells}\n" for row in range(num_images))
    Path("configs/many.toml").write_text(
        f'[data]\nroot = "input/many"\n[task]\nmetric = "{TASKS[task]}"\n[folds]\nnum_folds = {NUM_FOLDS}\n'
        "[image]\nsize = 32\n[probe]\nenabled = false\n"
    )
    if with_images:
        from PIL import Image

        for split, letter in (("train", "a"), ("test", "b")):
            for row in range(num_images if split == "train" else num_images // 10):
                coarse = Image.fromarray(draw.integers(0, 256, (8, 8, 3), dtype=np.uint8))
                coarse.resize((32, 32), Image.Resampling.BICUBIC).save(root / split / f"{letter}{row:07d}.png")
        with (root / "sample_submission.csv").open("w") as stream:
            stream.write("id,label\n")
            stream.writelines(f"b{row:07d},{CLASSES[0]}\n" for row in range(num_images // 10))


def config():
    from pipeline.config_file import load

    return load(Path("configs/many.toml"))


def prepare() -> Callable[[], object]:
    """Read, hash, decode, audit, look for versions."""
    from pipeline import prepare as stage

    cfg = config()
    return lambda: stage.prepare(cfg)


def folds() -> Callable[[], object]:
    """Split."""
    from pipeline.folds import make_folds

    cfg = config()
    return lambda: make_folds(cfg)


def probe() -> Callable[[], object]:
    """Read features that are kept, fit the classifiers, predict with them and write what they say."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from pipeline.competition.answers.predictions import Predictions, write_predictions
    from pipeline.competition.answers.probing import fit_probe, out_of_fold
    from pipeline.competition.answers.probs import Probs
    from pipeline.competition.folds.fold_table import read_labelled
    from pipeline.engine.features import IMAGES_A_FILE, Frozen
    from pipeline.files import digest
    from pipeline.images.decode import VERSION
    from pipeline.paths import features_dir

    cfg = config()
    labelled = read_labelled(cfg)
    ids, draw, readable = labelled.samples.ids, np.random.default_rng(0), np.ones(len(labelled.samples), np.bool_)
    pixels = [cfg.image.model_dump(mode="json", exclude={"cache_limit"}), VERSION, "images"]
    folder = features_dir(cfg, digest(["network", "float32", pixels])[:12]) / "train"
    folder.mkdir(parents=True)
    centres = draw.standard_normal((NUM_CLASSES, NUM_FEATURES), np.float32)
    for number, start in enumerate(range(0, len(ids), IMAGES_A_FILE)):
        part = slice(start, start + IMAGES_A_FILE)
        features = centres[labelled.targets[part]]
        features = (features + 4 * draw.standard_normal(features.shape, np.float32)).astype(np.float16)
        column = pa.FixedSizeListArray.from_arrays(pa.array(features.reshape(-1)), NUM_FEATURES)
        pq.write_table(pa.table({"id": ids[part], "features": column}), folder / f"{number:05d}.parquet")
    # What is kept is read without a network.
    frozen = Frozen(SimpleNamespace(machine=SimpleNamespace(precision="float32")), ("identity",), "network")

    def run() -> None:
        features = frozen.features(cfg, "train", ids, SimpleNamespace(readable=readable), "images")
        fitted = fit_probe(labelled, features, readable, list(range(NUM_FOLDS)))
        indices, probs = out_of_fold(labelled, features, readable, fitted, 100)
        write_predictions(Path("oof.parquet"), Predictions(labelled.ids(indices), labelled.task.classes, probs))
        said = Probs.mean([one.predict(features, readable, labelled.task, 100) for one in fitted.values()], 100)
        write_predictions(Path("test.parquet"), Predictions(ids, labelled.task.classes, said))

    return run


def infer() -> Callable[[], object]:
    """Gather what one network says of the test images, batch by batch, and write it."""
    import numpy as np
    import torch

    from pipeline.competition.answers.predictions import Predictions, write_predictions
    from pipeline.competition.answers.task import make_task
    from pipeline.competition.tables.table import read_test, read_train
    from pipeline.engine.gathered import Gathered
    from pipeline.images.batches import Batch

    cfg = config()
    task, test = make_task(cfg, read_train(cfg)), read_test(cfg)
    logits, pixels = torch.randn(256, NUM_CLASSES), torch.zeros((256, 1, 1, 1), dtype=torch.uint8)

    def run() -> None:
        gathered = Gathered(task, len(test), torch.device("cpu"))
        for step, start in enumerate(range(0, len(test), 256)):
            num = min(256, len(test) - start)
            gathered.add(Batch(pixels[:num], None, step), logits[:num], None)
        said = gathered.probs(0).filled(np.zeros(NUM_CLASSES, np.float32), np.ones(len(test), np.bool_), 100)
        write_predictions(Path("infer.parquet"), Predictions(test.ids, task.classes, said))

    return run


def predictions() -> Callable[[], object]:
    """What the folds' models say, right in about half of the images; for the ensemble and the report."""
    import numpy as np

    from pipeline.competition.answers.predictions import Predictions, write_predictions
    from pipeline.competition.answers.probs import Probs
    from pipeline.competition.folds.fold_table import read_labelled
    from pipeline.competition.tables.table import read_test
    from pipeline.paths import fold_dir

    cfg, draw = config(), np.random.default_rng(0)
    labelled, test = read_labelled(cfg), read_test(cfg)

    def write(fold: int, name: str, ids: list[str], targets: np.ndarray) -> None:
        probs = draw.random((len(ids), NUM_CLASSES), np.float32)
        probs[np.arange(len(ids)), targets] += 2 * draw.random(len(ids), np.float32)
        probs /= probs.sum(1, keepdims=True)
        fold_dir(cfg, fold).mkdir(parents=True, exist_ok=True)
        write_predictions(fold_dir(cfg, fold) / name, Predictions(ids, labelled.task.classes, Probs.dense(probs)))

    def run() -> None:
        for fold in range(NUM_FOLDS):
            _, indices = labelled.split(fold)
            write(fold, "oof.parquet", labelled.ids(indices), labelled.targets[indices])
            write(fold, "test.parquet", test.ids, np.arange(len(test)) % NUM_CLASSES)

    return run


def ensemble() -> Callable[[], object]:
    """Read what five models say of train and test images, score, combine and write the submission."""
    from pipeline.freshness import read_inputs
    from pipeline.paths import run_dir
    from pipeline.scores.products import make as make_products

    cfg = config()
    return lambda: make_products(
        cfg, list(range(NUM_FOLDS)), read_inputs(cfg), run_dir(cfg) / "scores.json", probed=False
    )


def report() -> Callable[[], object]:
    """Write the page."""
    from pipeline import report as stage
    from pipeline.page import render, score  # noqa: F401

    cfg = config()
    return lambda: stage.report(cfg)


STEPS = {step.__name__: step for step in (prepare, folds, probe, infer, predictions, ensemble, report)}
# What each is measured on, in one folder, and what must have run there before.
MEASURED = {
    "prepare": ("prepare",),
    "folds": ("folds",),
    "probe": ("folds", "probe"),
    "infer": ("infer",),
    "ensemble": ("folds", "predictions", "ensemble"),
    "report": ("folds", "predictions", "ensemble", "report"),
}


def run_step(name: str) -> None:
    """One step in this process: seconds, peak memory before and after it in MB."""
    step = STEPS[name]()
    before, start = peak(), time.perf_counter()
    step()
    print(f"RESULT {time.perf_counter() - start} {before} {peak()}")


def peak() -> float:
    """The process' largest resident memory so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def exponent(seconds: dict[int, float]) -> float:
    """The slope of log time against log images over the largest sizes, down to a tenth of the last."""
    points = [(math.log(size), math.log(took)) for size, took in seconds.items() if size >= max(seconds) / 10]
    means = [sum(values) / len(points) for values in zip(*points, strict=True)]
    above = sum((x - means[0]) * (y - means[1]) for x, y in points)
    below = sum((x - means[0]) ** 2 for x, _ in points)
    return above / below if below else math.nan


def call(folder: Path, *arguments: str) -> list[float]:
    """This file in another process and folder; what it measured."""
    command = [sys.executable, os.path.abspath(__file__), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)}: {done.stderr[-3000:]}")
    lines = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("RESULT")]
    return [float(value) for value in lines[-1]] if lines else []


def measure(wanted: list[str], task: str, most: int) -> None:
    """The steps that are wanted at all sizes; prints a row for each."""
    seconds: dict[str, dict[int, float]] = {}
    for size in (size for size in SIZES if size <= most):
        with tempfile.TemporaryDirectory() as scratch:
            call(Path(scratch), "--make", str(size), task, *(["images"] if wanted == ["prepare"] else []))
            for step in dict.fromkeys(step for name in wanted for step in MEASURED[name]):
                took, before, after = call(Path(scratch), "--step", step)
                if step in wanted:
                    seconds.setdefault(step, {})[size] = took
                    print(f"| {step}, {task} | {size:,} | {took:.2f} | {before:,.0f} | {after:,.0f} |", flush=True)
    for step, took_by_size in seconds.items():
        print(f"exponent of {step}, {task}: {exponent(took_by_size):.2f}", flush=True)


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--most", type=int, default=SIZES[-1], help="images in the largest competition")
    parser.add_argument("--steps", nargs="+", choices=list(MEASURED), default=list(MEASURED))
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--step", choices=list(STEPS), help=argparse.SUPPRESS)
    parser.add_argument("--make", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step:
        run_step(args.step)
        return
    if args.make:
        make(int(args.make[0]), args.make[1], with_images="images" in args.make)
        return
    print("| step | images | seconds | MB before | MB at most |\n|---|---|---|---|---|")
    if "prepare" in args.steps:
        measure(["prepare"], args.tasks[0], min(args.most, MOST_IMAGES))
    for task in args.tasks:
        # What is submitted changes the last two alone.
        several = ("ensemble", "report") if task != args.tasks[0] else ("folds", "probe", "infer", "ensemble", "report")
        measure([step for step in several if step in args.steps], task, args.most)


if __name__ == "__main__":
    main()
