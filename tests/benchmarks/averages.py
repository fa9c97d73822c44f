"""Averaged weights by their warm-up: one training, its last weights averaged in several ways, scored on its fold.

Run: PYTHONPATH=.:tests python tests/benchmarks/averages.py SHARED [clothing cifar10]
The averages change nothing of the training, so all of them are of the same steps. SHARED is the folder of the shared
competitions.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from measure import machine_line
from timm.utils import ModelEmaV3
from torch import nn

from pipeline import detect, folds, prepare
from pipeline.cli import load_target
from pipeline.competition.answers import scoring
from pipeline.competition.folds.fold_table import read_labelled
from pipeline.engine import state
from pipeline.engine.fit import Trainer, fit
from pipeline.images.cache import open_images

# Gamma, power and first update of timm's warm-up: the pipeline's, timm's own, and timm's for shorter trainings.
WARM_UPS = {"9, 1": (9.0, 1.0, -2), "1, 2/3": (1.0, 2 / 3, 0), "1, 3/4": (1.0, 3 / 4, 0)}
DECAYS = (0.9, 0.99, 0.999)
SETTINGS = {"clothing": ("image.size=64", "train.num_epochs=8"), "cifar10": ("image.size=32", "train.num_epochs=4")}
TRAINING = ("model.width=16", "train.optimizer=nesterov", "train.lr=0.05", "train.batch_size=128", "train.ema=0.9")


class Averages:
    """Several averages of one network; `module` is that of the one that is looked at."""

    def __init__(self, model: nn.Module) -> None:
        self.by_name = {
            (warm_up, decay): ModelEmaV3(
                model, decay, update_after_step=after, use_warmup=True, warmup_gamma=gamma, warmup_power=power
            )
            for warm_up, (gamma, power, after) in WARM_UPS.items()
            for decay in DECAYS
        }
        self.module = next(iter(self.by_name.values())).module

    def update(self, model: nn.Module, step: int) -> None:
        for average in self.by_name.values():
            average.update(model, step)


def compare(name: str, schedule: str) -> None:
    settings = [*SETTINGS[name], *TRAINING, "model.name=resnet9", "augment.policy=none", f"train.schedule={schedule}"]
    root = Path("input") / name
    detect.main(["--config", str(root)])
    cfg = load_target(root, [*settings, 'infer.views=["identity"]'])
    prepare.prepare(cfg)
    folds.make_folds(cfg)
    labelled = read_labelled(cfg)
    images = open_images(cfg, "train", labelled.samples.keys)
    trainer = Trainer(cfg, 0, labelled, images)
    for _ in fit(trainer):
        pass
    targets = labelled.targets[trainer.held_out]
    last = trainer.training.state
    averages: Any = last.ema
    print(f"{name}, {schedule}, {last.num_updates} updates: warm-up, then accuracy by decays of {DECAYS}")
    for warm_up in WARM_UPS:
        scores = []
        for decay in DECAYS:
            averages.module = averages.by_name[warm_up, decay].module
            trainer.validate(f"{warm_up} {decay}")
            assert trainer.predicted is not None
            scores.append(scoring.score(labelled.task, targets, trainer.predicted.probs))
        print(f"  {warm_up}: {', '.join(f'{score:.4f}' for score in scores)}", flush=True)


if __name__ == "__main__":
    public, names = Path(sys.argv[1]).resolve(), sys.argv[2:] or list(SETTINGS)
    state.averaged = lambda model, decay: Averages(model)  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        Path("configs").mkdir()
        for competition in names:
            shutil.unpack_archive(public / "competitions" / competition / "public.zip", f"input/{competition}")
            for rule in ("constant", "onecycle"):
                compare(competition, rule)
        os.chdir("/")
    print(machine_line())
