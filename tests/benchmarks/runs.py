"""Whole runs on the machine's own device: one that is killed and resumed; the fast config of CIFAR-10.

Run: PYTHONPATH=.:tests python tests/benchmarks/runs.py [resume] [cifar]
`resume` kills a training with `train.deterministic = true` in the middle of an epoch, starts it again, and compares its
models with those of an unbroken one, to the byte, and those of two unbroken ones. `cifar` runs
configs/cifar10_fast.toml on input/cifar10; where that is not there on as many made images, which are easy, and without
a GPU on a few of them.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from measure import machine_line

from making import TOML, tiny_competition, write_table
from pipeline.combinations import WIDE

Done = subprocess.CompletedProcess[str]

ROOT = Path(__file__).parent.parent.parent
HAS_GPU = torch.cuda.is_available()
# Network, size and images of two folds; the optimizers differ too.
TRAININGS = (
    [("resnet18", 64, 512, "adamw"), ("cifarnet", 32, 512, "muon"), ("convnext_atto", 64, 512, "nesterov")]
    if HAS_GPU
    else [("resnet9", 16, 96, "adamw")]
)
BATCH_SIZE, NUM_EPOCHS = 16, 3
SETTINGS = (
    *(f"train.batch_size={BATCH_SIZE}", f"train.num_epochs={NUM_EPOCHS}", "train.checkpoint_minutes=0"),
    *("train.deterministic=true", "train.ema=0.9", "augment.policy=randaugment", "augment.mixup=0.2"),
)


def stages(names: str, place: Path, config: Path, settings: Sequence[str], kill_at: str = "") -> Done:
    """Run some stages in a folder; KILL_AT as in tests/killed/sitecustomize.py."""
    paths = (ROOT / "tests" / "killed", ROOT, os.environ.get("PYTHONPATH", ""))
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        **({"OMP_NUM_THREADS": "1"} if HAS_GPU else {}),  # several runs at once, whose work is the GPU's
        **({"JOURNAL": str(place / "journal"), "KILL_AT": kill_at} if kill_at else {}),
    }
    command = [sys.executable, "-m", "pipeline", *names.split(), "--config", str(config), "--set", *settings]
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True)


def trained(settings: Sequence[str], num_images: int, kill_at: str = "") -> list[bytes]:
    """The models of a training, killed at a point and resumed where one is given.

    Raises:
        RuntimeError: a stage fails, or the killed training does not go on.
    """
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        tiny_competition(place, num_train=num_images, num_test=8, toml=TOML)
        run = partial(stages, "prepare folds train", place, Path("configs/tiny.toml"), settings)
        killed = run(kill_at) if kill_at else None
        done = run()
        if done.returncode or (
            killed is not None and (killed.returncode >= 0 or "goes on in epoch" not in done.stdout)
        ):
            raise RuntimeError((killed.stderr if killed else "") + done.stdout[-300:] + done.stderr[-600:])
        return [(place / f"output/tiny/fold{k}/model.safetensors").read_bytes() for k in (0, 1)]


def resume(name: str, size: int, num_images: int, optimizer: str) -> bool:
    """Whether a training that was killed and resumed gives the models of an unbroken one."""
    settings = (*SETTINGS, f"model.name={name}", f"image.size={size}", f"train.optimizer={optimizer}")
    if name in WIDE:
        settings = (*settings, "model.width=16")
    num_steps = num_images // 2 // BATCH_SIZE * NUM_EPOCHS
    try:
        # At once: most of the time is the start of processes.
        with ThreadPoolExecutor() as pool:
            first, second = (pool.submit(trained, settings, num_images) for _ in range(2))
            killed = pool.submit(trained, settings, num_images, f"step:{num_steps // 2}:python")
            same = killed.result() == first.result()
            said = "the same bytes" if same else "OTHER BYTES"
            said += f"; two unbroken ones: {'the same' if first.result() == second.result() else 'others'}"
    except RuntimeError as error:
        same, said = False, f"FAILED: {error}"
    print(f"{name} {size} px, {optimizer}, resumed after a kill: {said}", flush=True)
    return same


def made_cifar(root: Path, num_train: int, num_test: int) -> None:
    """A competition like CIFAR-10: ten patterns under noise."""
    generator = np.random.default_rng(0)
    patterns = [cv2.resize(generator.random((4, 4, 3)), (32, 32)) for _ in range(10)]
    rows: dict[str, list[list[object]]] = {}
    for part, count in (("train", num_train), ("test", num_test)):
        (root / part).mkdir(parents=True)
        rows[part] = [[f"{number:05d}", f"class{number % 10}"] for number in range(count)]
        for number, (id_, _) in enumerate(rows[part]):
            pixels = 60 * patterns[number % 10] + generator.integers(0, 196, (32, 32, 3))
            cv2.imwrite(str(root / part / f"{id_}.png"), pixels.astype(np.uint8))
    write_table(root / "train.csv", ["id", "label"], rows["train"])
    write_table(root / "answers.csv", ["id", "label"], rows["test"])
    write_table(root / "sample_submission.csv", ["id", "label"], [[id_, "class0"] for id_, _ in rows["test"]])


def cifar() -> bool:
    """Run the fast config; prints what the run says of its training, its seconds and the accuracy."""
    with tempfile.TemporaryDirectory() as scratch:
        place, root = Path(scratch), ROOT / "input" / "cifar10"
        settings: tuple[str, ...] = ()
        if not HAS_GPU or not root.is_dir():
            root = place / "input" / "cifar10"
            made_cifar(root, *((50_000, 10_000) if HAS_GPU else (400, 100)))
        if not HAS_GPU:
            settings = ("train.batch_size=100", "train.num_epochs=2", "model.width=8")
        start = time.perf_counter()
        config, names = ROOT / "configs" / "cifar10_fast.toml", "prepare folds train infer ensemble"
        done = stages(names, place, config, (f"data.root={root}", *settings))
        print(*[line for line in done.stdout.splitlines() if line.startswith(("train", "score"))], sep="\n")
        print(
            f"cifar10_fast on {'made images' if place in root.parents else root}: {time.perf_counter() - start:.1f} s"
        )
        print(done.stderr.strip()[-600:])
        return done.returncode == 0


if __name__ == "__main__":
    chosen = sys.argv[1:] or ["resume", "cifar"]
    well = []
    if "resume" in chosen:
        with ThreadPoolExecutor(len(TRAININGS)) as pool:
            well += pool.map(lambda training: resume(*training), TRAININGS)
    well += [cifar()] if "cifar" in chosen else []
    print(machine_line())
    sys.exit(not all(well))
