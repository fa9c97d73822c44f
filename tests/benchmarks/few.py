"""Few images and few epochs: what training makes of the probe, on the images that neither saw, over ten seeds.

Run: PYTHONPATH=.:tests python tests/benchmarks/few.py SHARED NUM_IMAGES NUM_EPOCHS NUM_SEEDS [NAME ...] [KEY=VALUE ...]
Each seed draws other train images, as many of each class as its share; all others validate. SHARED is the folder of the
shared competitions, NAME a miniature, KEY a setting.
"""

import math
import os
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from measure import machine_line
from sklearn.model_selection import train_test_split

from pipeline import detect, folds, prepare
from pipeline.cli import load_target
from pipeline.competition.answers import scoring
from pipeline.competition.answers.probing import fit_probe
from pipeline.competition.folds.fold_table import read_labelled
from pipeline.engine.features import Frozen
from pipeline.engine.fit import Trainer, fit
from pipeline.engine.start import find_normalisation
from pipeline.freshness import read_inputs
from pipeline.images.cache import open_images
from pipeline.model.build import build_model


def compare(name: str, num_images: int, num_epochs: int, num_seeds: int, settings: list[str]) -> None:
    root = Path("input") / name
    cfg = load_target(root, [f"train.num_epochs={num_epochs}", *settings])
    prepare.prepare(cfg)
    folds.make_folds(cfg)
    labelled = read_labelled(cfg)
    images, task = open_images(cfg, "train", labelled.samples.keys), labelled.task
    model = build_model(cfg.model, cfg.image.size, cfg.image.channels, task.num_outputs, 0)
    normalisation = find_normalisation(cfg, model, images, np.arange(len(images)))
    frozen = Frozen.of(cfg, model, task, normalisation)
    features = frozen.features(cfg, "train", labelled.samples.ids, images, read_inputs(cfg).train or "")
    print(f"{name}, {num_images} images, {num_epochs} epochs: {task.metric} of the probe and after each epoch")
    worst = math.inf
    for seed in range(num_seeds):
        chosen, _ = train_test_split(
            np.arange(len(images)), train_size=num_images, stratify=labelled.targets, random_state=seed
        )
        fold = np.zeros(len(images), np.int64)
        fold[chosen] = 1
        drawn = replace(labelled, folds=fold)
        probe = fit_probe(drawn, features, images.readable, [0, 1])[0]
        _, held_out = drawn.split(0)
        said = probe.predict(features[held_out], images.readable[held_out], task, 1)
        first = scoring.score(task, labelled.targets[held_out], said)
        seeded = cfg.model_copy(update={"train": cfg.train.model_copy(update={"seed": seed})})
        trainer = Trainer(seeded, 0, drawn, images, head=probe.linear)
        scores = [float(epoch.row["valid_score"] or 0) for epoch in fit(trainer)]
        assert first is not None
        error = math.sqrt(first * (1 - first) / len(held_out))
        worst = min(worst, (scores[-1] - first) / error)
        print(f"  seed {seed}: {first:.4f}; {', '.join(f'{score:.4f}' for score in scores)}", flush=True)
    print(f"  the least against the probe: {worst:+.2f} standard errors of its score")


if __name__ == "__main__":
    print(machine_line())
    shared = Path(sys.argv[1]).resolve()
    num_images, num_epochs, num_seeds = map(int, sys.argv[2:5])
    settings = [argument for argument in sys.argv[5:] if "=" in argument]
    names = [argument for argument in sys.argv[5:] if "=" not in argument] or [
        "cassava-leaf-disease-classification",
        "paddy-disease-classification",
    ]
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        for folder in ("configs", "input", "output", "folds"):
            Path(folder).mkdir()
        for name in names:
            shutil.copytree(shared / "competitions" / "mini" / name / "public", Path("input") / name)
            assert detect.main(["--config", f"input/{name}"]) == 0
            compare(name, num_images, num_epochs, num_seeds, settings)
