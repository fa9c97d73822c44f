"""Fine-tuning from published weights, one change at a time: cross-validation scores after as much time.

Run: PYTHONPATH=.:tests python tests/benchmarks/ablation.py SHARED RESULTS.csv [NAME=VALUE ...]
NAME: competitions, variants (commas between; all by default), seeds (3), folds (5, as many of the first are trained).

RESULTS.csv gets a row for each training; what is in it is not trained again, so that a call that was stopped goes on.
The table of all rows is printed at the end; its seconds are those of the processor. SHARED is the folder of the
shared competitions. The hidden answers are not read: settings are chosen by cross-validation alone.
"""

import csv
import os
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from measure import machine_line

from pipeline import detect, folds, prepare, probe
from pipeline.cli import load_target
from pipeline.competition.answers import metrics, scoring
from pipeline.competition.folds.fold_table import read_labelled
from pipeline.engine.fit import Trainer, fit
from pipeline.engine.heads import read_head
from pipeline.images.cache import open_images
from pipeline.paths import head_path

COMPETITIONS = (
    "clothing",
    "cassava-leaf-disease-classification",
    "paddy-disease-classification",
    "plant-pathology-2020-fgvc7",
    "dog-breed-identification",
)
# Settings beside what `detect` writes; where the images have another size, as many epochs as take the same time.
VARIANTS: dict[str, tuple[str, ...]] = {
    "as detected": (),
    "random classifier": ("train.head=random",),
    "random classifier alone for an epoch": ("train.head=random", "train.freeze_epochs=1"),
    "random classifier at ten times the rate": ("train.head=random", "train.head_lr=10.0"),
    "norms learn": ("train.freeze_norms=false",),
    "rate 3e-4": ("train.lr=0.0003",),
    "rate 2e-3": ("train.lr=0.002",),
    "layer decay 0.8": ("train.layer_decay=0.8",),
    "weight decay 0.1": ("train.weight_decay=0.1",),
    "label smoothing 0.1": ("train.label_smoothing=0.1",),
    "averaged weights 0.98": ("train.ema=0.98",),
    "drop path 0.1": ("model.drop_path=0.1",),
    "trivialaugment": ("augment.policy=trivialaugment",),
    "crops from 0.35": ("augment.min_area=0.35",),
    "mixup 0.2 until 0.8": ("augment.mixup=0.2", "augment.strong_until=0.8"),
    "96 px": ("image.size=96", "train.num_epochs=*1.75"),
    "160 px": ("image.size=160", "train.num_epochs=*0.65"),
}
Row = dict[str, str]


def settings_of(variant: str, num_epochs: int, seed: int) -> list[str]:
    """A variant's settings; `*` is a factor of the epochs."""
    settings = [f"train.seed={seed}"]
    for setting in VARIANTS[variant]:
        key, _, value = setting.partition("=")
        settings.append(f"{key}={max(1, round(num_epochs * float(value[1:])))}" if value.startswith("*") else setting)
    return settings


def train(name: str, variant: str, seed: int, fold: int) -> Row:
    """Train one model, and score it on its fold."""
    root = Path("input") / name
    num_epochs = load_target(root, []).train.num_epochs
    cfg = load_target(root, settings_of(variant, num_epochs, seed))
    prepare.prepare(cfg)
    folds.make_folds(cfg)
    probe.probe(cfg)
    labelled = read_labelled(cfg)
    images = open_images(cfg, "train", labelled.samples.keys)
    head = read_head(head_path(cfg, fold)).fitted.linear if cfg.train.head == "probe" else None
    began = time.process_time()
    trainer = Trainer(cfg, fold, labelled, images, head=head)
    for epoch in fit(trainer):
        last = epoch.row
    seconds = time.process_time() - began
    assert trainer.predicted is not None
    score = scoring.score(labelled.task, labelled.targets[trainer.held_out], trainer.predicted.probs)
    values = {"score": score, "loss": last["valid_loss"], "seconds": seconds}
    row = {"competition": name, "variant": variant, "seed": str(seed), "fold": str(fold)}
    return row | {key: "" if value is None else f"{value:.5f}" for key, value in values.items()}


def table(rows: list[Row], name: str) -> list[str]:
    """The lines of a competition: of each variant the mean, and the paired difference from the first."""
    by_variant: dict[str, dict[tuple[str, str], Row]] = defaultdict(dict)
    for row in rows:
        if row["competition"] == name and row["score"]:
            by_variant[row["variant"]][row["seed"], row["fold"]] = row
    lines = []
    for variant, own in by_variant.items():
        score, loss, seconds = (
            np.mean([float(row[key]) for row in own.values()]) for key in ("score", "loss", "seconds")
        )
        first = by_variant["as detected"]
        paired = [float(own[key]["score"]) - float(first[key]["score"]) for key in own.keys() & first.keys()]
        error = np.std(paired, ddof=1) / np.sqrt(len(paired)) if len(paired) > 1 else float("nan")
        mean = np.mean(paired) if paired else float("nan")
        lines.append(
            f"| {variant} | {len(own)} | {score:.4f} | {mean:+.4f} +- {error:.4f} | {loss:.3f} | {seconds:.0f} |"
        )
    return lines


def main(shared: Path, results: Path, asked: dict[str, str]) -> None:
    names = asked.get("competitions", ",".join(COMPETITIONS)).split(",")
    variants = asked.get("variants", ",".join(VARIANTS)).split(",")
    known = list(csv.DictReader(results.open(encoding="utf-8"))) if results.is_file() else []
    done = {(row["competition"], row["variant"], row["seed"], row["fold"]) for row in known}
    for name in names:
        root = Path("input") / name
        if name == "clothing":
            shutil.unpack_archive(shared / "competitions" / name / "public.zip", root)
        else:
            shutil.copytree(shared / "competitions" / "mini" / name / "public", root)
        assert detect.main(["--config", str(root)]) == 0
    for seed in range(int(asked.get("seeds", "3"))):
        for name in names:
            for variant in variants:
                for fold in range(int(asked.get("folds", "5"))):
                    if (name, variant, str(seed), str(fold)) in done:
                        continue
                    row = train(name, variant, seed, fold)
                    is_new = not results.is_file()
                    with results.open("a", encoding="utf-8", newline="") as stream:
                        writer = csv.DictWriter(stream, list(row))
                        if is_new:
                            writer.writeheader()
                        writer.writerow(row)
                    known.append(row)
    for name in names:
        direction = (
            "higher" if metrics.get(load_target(Path("input") / name, []).task.metric).higher_is_better else "lower"
        )
        print(
            f"\n{name} ({direction} is better)\n\n| variant | trainings | score | against the first | loss | seconds |"
        )
        print("|---|---|---|---|---|---|")
        print("\n".join(table(known, name)))


if __name__ == "__main__":
    print(machine_line())
    shared, results = (Path(argument).resolve() for argument in sys.argv[1:3])
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        for folder in ("configs", "input", "output", "folds"):
            Path(folder).mkdir()
        main(shared, results, dict(argument.partition("=")[::2] for argument in sys.argv[3:]))
