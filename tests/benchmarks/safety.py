"""What safety costs: `pipeline.train` with resume checkpoints, fingerprints, locks against `fit` that saves its model.

Run: PYTHONPATH=.:tests python tests/benchmarks/safety.py [resnet18:128:1200 resnet9:32:2000 lenet5:28:20000 ...]
NETWORK:SIZE:IMAGES, two epochs of half the images each, the other half validates. Images per second of the whole call.
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from measure import line, machine_line, paired

from making import TOML, tiny_competition
from pipeline import folds, prepare, train
from pipeline.competition.folds.fold_table import read_labelled
from pipeline.config_file import load
from pipeline.engine.fit import Trainer, fit
from pipeline.freshness import read_inputs
from pipeline.images.cache import open_images
from pipeline.model.checkpoint import save_checkpoint


def compare(name: str, size: int, num_images: int, num_turns: int = 2) -> str:
    for folder in ("output", "folds"):
        Path(folder).mkdir()
    tiny_competition(Path(), num_train=num_images, num_test=4, toml=TOML)
    settings = (f"model.name={name}", f"image.size={size}", "train.batch_size=64", "augment.hflip=0.5")
    cfg = load(Path("configs/tiny.toml"), settings)
    prepare.prepare(cfg)
    folds.make_folds(cfg)

    def timed(work: Callable[[], object]) -> float:
        start = time.perf_counter()
        work()
        return cfg.train.num_epochs * num_images / 2 / (time.perf_counter() - start)

    def safe() -> float:
        shutil.rmtree("output/tiny/fold0", ignore_errors=True)
        return timed(lambda: train.train(cfg, 0, read_inputs(cfg)))

    def bare() -> float:
        labelled = read_labelled(cfg)
        images = open_images(cfg, "train", labelled.samples.keys)

        def bare_training() -> None:
            trainer = Trainer(cfg, 0, labelled, images)
            for _ in fit(trainer):
                pass
            save_checkpoint(Path("model.safetensors"), trainer.checkpoint())

        return timed(bare_training)

    safe()
    return line(f"{name} {size} px, {num_images:,} images", *paired(safe, bare, num_turns))


if __name__ == "__main__":
    for what in sys.argv[1:] or ["resnet18:128:1200", "resnet9:32:2000", "lenet5:28:20000"]:
        network, side, count = what.split(":")
        with tempfile.TemporaryDirectory() as scratch:
            os.chdir(scratch)
            print(compare(network, int(side), int(count)), flush=True)
            os.chdir("/")
    print(machine_line())
