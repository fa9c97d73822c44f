"""Four runs through every room, and the hashes of what they made: what a change that must change no result is held to.

Run: PYTHONPATH=.:tests python tests/benchmarks/same_bytes.py SHARED FILE
The first call writes FILE, a JSON; every other compares with it, names what differs, and ends with 1. On one machine
only, and by one thread: others give other bytes. SHARED is the folder of the shared competitions.
"""

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from making import write_table

ROOT = Path(__file__).parent.parent.parent
STAGES = ("detect", "prepare", "folds", "train", "infer", "ensemble")
PRODUCTS = ("oof.parquet", "test.parquet", "submission.csv", "model.safetensors")
NUM_CLASSES = 1100
# As detection chose before there were published weights everywhere.
SCRATCH = ("model.pretrained=false", "train.head=random", "train.freeze_norms=false", "train.batch_size=32")
SCRATCH += ("train.lr=0.001", "train.full_lr_steps=0", "train.clip_grad=0.0")


def main() -> int:
    """Make the four runs, and write or compare."""
    shared, file = Path(sys.argv[1]), Path(sys.argv[2])
    mini = shared / "competitions" / "mini"
    made: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for name in ("input", "configs", "output", "folds"):
            (place / name).mkdir()
        shutil.copy(ROOT / "configs" / "digits.toml", place / "configs")
        run(place, "practice", "digits")
        made |= run_all(place, "configs/digits.toml", "train.num_epochs=2")
        for name in ("cassava-leaf-disease-classification", "plant-pathology-2021-fgvc8"):
            shutil.copytree(mini / name / "public", place / "input" / name)
        views, small = 'infer.views=["identity", "hflip"]', ("image.size=32", "train.num_epochs=2", *SCRATCH)
        mixed = ("augment.mixup=0.2", "train.ema=0.9", "train.accumulate=2", "model.name=resnet18", views)
        made |= run_all(place, "input/cassava-leaf-disease-classification", *small, *mixed)
        made |= run_all(place, "input/plant-pathology-2021-fgvc8", *small, "model.name=resnet9", "model.width=8")
        many(place / "input" / "many")
        many_settings = ("image.size=12", "model.name=resnet9", "model.width=8", "train.num_epochs=1")
        made |= run_all(place, "input/many", *many_settings, "folds.num_folds=2", "task.metric=map@5")
    if not file.is_file():
        file.write_text(json.dumps(made, indent=1))
        print(f"{len(made)} products of four runs: their hashes are in {file}")
        return 0
    known = json.loads(file.read_text())
    other = sorted(name for name in known.keys() | made.keys() if known.get(name) != made.get(name))
    print(f"{len(made)} products, {len(other)} differ: {', '.join(other) or 'none'}")
    return 1 if other else 0


def run(place: Path, *arguments: str) -> None:
    """One call of the pipeline, in another folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    module = "pipeline" if arguments[0] in STAGES else f"pipeline.{arguments[0]}"
    rest = arguments if arguments[0] in STAGES else arguments[1:]
    subprocess.run(
        [sys.executable, "-m", module, *rest], cwd=place, env=environment, check=True, stdout=subprocess.PIPE
    )


def run_all(place: Path, target: str, *settings: str) -> dict[str, str]:
    """The whole way; the hash of each product by its path."""
    run(place, *STAGES, "--config", target, "--set", *settings)
    folder = place / "output" / Path(target).stem
    files = [path for path in sorted(folder.rglob("*")) if path.name in PRODUCTS]
    return {str(path.relative_to(place)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def many(root: Path) -> None:
    """Two tiny images of each of more than 1,000 classes."""
    rng, rows = np.random.default_rng(0), {}
    for split, count in (("train", 2 * NUM_CLASSES), ("test", 100)):
        (root / split).mkdir(parents=True)
        rows[split] = [f"{split}{number:04d}" for number in range(count)]
        for id_ in rows[split]:
            Image.fromarray(rng.integers(0, 256, (12, 12, 3)).astype(np.uint8)).save(root / split / f"{id_}.png")
    labels = [f"kind{number % NUM_CLASSES}" for number in range(2 * NUM_CLASSES)]
    random.Random(0).shuffle(labels)
    write_table(root / "train.csv", ["id", "label"], list(map(list, zip(rows["train"], labels, strict=True))))
    write_table(root / "sample_submission.csv", ["id", "label"], [[id_, " ".join(labels[:5])] for id_ in rows["test"]])


if __name__ == "__main__":
    sys.exit(main())
