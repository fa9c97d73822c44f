"""Image size, network, augmentation and epochs, by rule from the number, size and kind of the images."""

import math
import statistics
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.competition.layout.images import UNREADABLE, evenly
from pipeline.competition.layout.settings import Decision
from pipeline.files import InputError

NUM_SAMPLED = 200
SMALL, MEDIUM = 40, 128
# Traces are looked for in images of up to this many pixels a side, twice as many with a GPU.
_LARGEST_TRACES = 256
# Epochs x images for which five folds take about an hour on two cores, at the measured 280 images a second of resnet9
# (width 32, 32 px), 80 of resnet18 at 96 px and 40 at 128 px: each fold trains on four fifths, so all on 4 x images.
_BUDGET = {"small": 240_000, "medium": 60_000, "large": 36_000}
_SPEED = {"small": 280, "medium": 80, "large": 40}
_GPU_FACTOR = 20
_FEWEST, _MOST = 4, 40
# Epochs x images from which a published policy is used on images that are not small. Networks that see fewer do better
# without: cross-validation of ResNet-18, 64 px, 12 epochs of 280 images: mean column AUC 0.935 against 0.817, ROC AUC
# 0.958 against 0.874; accuracy on one fold, 96 px, 20 epochs of 960 photos of clothes: 0.488 against 0.392.
_ENOUGH_FOR_POLICY = 100_000


@dataclass(frozen=True)
class Survey:
    """What the headers of some image files say: median longer side in pixels, and whether all are grey."""

    num_read: int
    num_unreadable: int
    side: float
    grey: bool
    text: str


def survey(root: Path, paths: Sequence[str]) -> Survey:
    """Read the headers of about 200 images, evenly spread.

    Raises:
        InputError: none of them can be read.
    """
    sides, sizes, modes, num_unreadable = [], [], set(), 0
    for number in evenly(len(paths), NUM_SAMPLED):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of large images and odd metadata: only the header is read
                width_and_height, mode = _header(root / paths[number])
                sizes.append(width_and_height)
                modes.add(mode)
        except UNREADABLE:
            num_unreadable += 1
            continue
        sides.append(max(sizes[-1]))
    if not sides:
        raise InputError(
            f"{num_unreadable:,} image files under {root} were looked at and none can be read, the first is "
            f"{paths[0]}; download them again"
        )
    least, most = (pick(sizes, key=lambda size: (size[0] * size[1], size)) for pick in (min, max))
    size = f"{most[0]} x {most[1]}" if least == most else f"{least[0]} x {least[1]} to {most[0]} x {most[1]}"
    text = f"{len(sides):,} images looked at: {size} px, mode {', '.join(sorted(modes))}"
    if num_unreadable:
        text += f"; {num_unreadable:,} more cannot be read"
    grey = all(mode in ("1", "L") or mode.startswith("I") for mode in modes)
    return Survey(len(sides), num_unreadable, float(statistics.median(sides)), grey, text)


def _header(path: Path) -> tuple[tuple[int, int], str]:
    """Width, height and mode of an image file, in Pillow's names; of an array saved by numpy as well."""
    if path.suffix.lower() == ".npy":
        values = np.load(path, mmap_mode="r", allow_pickle=False)
        grey = values.ndim == 2 or values.shape[-1] == 1
        return (int(values.shape[1]), int(values.shape[0])), "L" if grey else "RGB"
    with Image.open(path) as image:
        return image.size, image.mode


def recipe(
    seen: Survey, num_images: int, has_gpu: bool, *, numbers: bool = False, traces: bool = False, sides: str = ""
) -> list[Decision]:
    """The settings of images, network and training.

    Args:
        seen: the images.
        num_images: how many there are to train on.
        has_gpu: whether this machine has a GPU.
        numbers: whether numbers are predicted, not classes.
        traces: whether classes are versions of one image, which differ in faint traces that resampling would blur.
        sides: why a left-right flip would change what an image says; "" where it does not.
    """
    if traces:
        return _for_traces(seen, num_images, has_gpu)
    kind = "small" if seen.side <= SMALL else "medium" if seen.side <= MEDIUM else "large"
    if kind == "small":
        size = max(16, math.ceil(seen.side / 4) * 4)
        why = f"the images' own side ({seen.side:.0f} px) up to the next multiple of 4."
    elif kind == "medium":
        size = max(32, round(seen.side / 32) * 32)
        why = f"the images' side ({seen.side:.0f} px) to the nearest multiple of 32."
    else:
        size = 224 if has_gpu else 128
        why = (
            f"for photos of {seen.side:.0f} px: 224 with a GPU, 128 without; a larger size scores better, more slowly."
        )
    decisions = [
        Decision("folds.num_folds", 5, "Five models, each validated on the fifth that it has not seen."),
        Decision("image.size", size, f"{seen.text}. Size: {why}"),
        Decision("image.channels", 1 if seen.grey else 3),
    ]
    if kind == "large":
        decisions.append(Decision("image.margin", 1.15, "Room for random crops."))
    flips = not (seen.grey or sides)
    budget = _BUDGET[kind] * (_GPU_FACTOR if has_gpu else 1)
    num_epochs = min(_MOST, max(_FEWEST, round(budget / num_images)))
    return [
        *decisions,
        *_augment(kind, size, seen.grey, sides, num_epochs * num_images),
        *_train(kind, num_images, num_epochs, has_gpu, numbers),
        Decision("infer.views", ("identity", "hflip") if flips else ("identity",)),
    ]


def _augment(kind: str, size: int, grey: bool, sides: str, num_seen: int) -> list[Decision]:
    """Augmentation, the stronger the more images a network will see: `num_seen`, epochs x images."""
    if grey:
        return [
            Decision("augment.policy", "none", "Grey images may be characters or digits: no flips, small shifts only."),
            Decision("augment.pad_crop", 2 if kind == "small" else size // 16),
        ]
    hflip = Decision("augment.hflip", 0.5, "0 where left and right differ in meaning (then no hflip in infer.views).")
    if sides:
        why = f"No flips: {sides}. 0.5 where flipped images are of the same class (then hflip in infer.views too)."
        hflip = Decision("augment.hflip", 0.0, why, said=True)
    if kind == "small":
        return [
            Decision("augment.policy", "autoaugment-cifar10", "Small colour images."),
            hflip,
            Decision("augment.pad_crop", max(2, size // 8)),
        ]
    strong = "trivialaugment" if kind == "medium" else "autoaugment-imagenet"
    gentle = num_seen < _ENOUGH_FOR_POLICY
    few = f"Epochs x images are {num_seen:,}: too few to learn from {strong!r}, which is for {_ENOUGH_FOR_POLICY:,}."
    return [
        Decision("augment.policy", "none" if gentle else strong, few if gentle else "Colour images."),
        hflip,
        Decision("augment.min_area", 0.7 if gentle else 0.5, "Random crops of this part of the image's area or more."),
    ]


def _for_traces(seen: Survey, num_images: int, has_gpu: bool) -> list[Decision]:
    """Nothing that resamples pixels, and a network whose first layer whitens: faint high frequencies get as strong as
    the picture. ResNet-18 stays at chance where it finds every trace (280 images at 64 px, one fold of five).
    """
    size = min(math.ceil(seen.side / 4) * 4, _LARGEST_TRACES * (2 if has_gpu else 1))
    budget = _BUDGET["medium"] * (_GPU_FACTOR if has_gpu else 1)
    num_epochs = min(_MOST, max(_FEWEST, round(budget / num_images)))
    why = "Classes are versions of one image, told apart by faint traces: nothing that resamples pixels."
    return [
        Decision("folds.num_folds", 5, "Five models, each validated on the fifth that it has not seen."),
        Decision("image.size", size, f"{seen.text}. Size: the images' own, as scaling would blur the traces."),
        Decision("image.channels", 1 if seen.grey else 3),
        Decision("augment.policy", "none", why),
        Decision("augment.hflip", 0.5),
        Decision("augment.vflip", 0.5),
        Decision("model.name", "cifarnet", "Its first layer whitens, which makes faint high frequencies strong."),
        Decision("train.num_epochs", num_epochs, f"{budget:,} / {num_images:,} images, {_FEWEST} to {_MOST}."),
        Decision("train.batch_size", 32),
        Decision("train.optimizer", "muon"),
        Decision("train.lr", 0.02),
        Decision("train.momentum", 0.6),
        Decision("train.weight_decay", 0.5),
        Decision("train.schedule", "cosine"),
        Decision("train.warmup", 0.1),
        Decision("train.label_smoothing", 0.1),
        Decision("infer.views", ("identity", "hflip")),
    ]


def _train(kind: str, num_images: int, num_epochs: int, has_gpu: bool, numbers: bool) -> list[Decision]:
    budget = _BUDGET[kind] * (_GPU_FACTOR if has_gpu else 1)
    minutes = 4 * num_images * num_epochs / _SPEED[kind] / 60
    cost = f"about {minutes:,.0f} minutes on two cores" if not has_gpu else "by the budget of a GPU"
    epochs = Decision(
        "train.num_epochs",
        num_epochs,
        f"{budget:,} / {num_images:,} images, at least {_FEWEST}, at most {_MOST}: five folds take {cost}.",
    )
    few = num_images < 5000
    if kind == "small":
        return [
            Decision("model.name", "resnet9"),
            Decision("model.width", 32),
            epochs,
            Decision("train.batch_size", 64 if few else 256),
            Decision("train.optimizer", "nesterov"),
            Decision("train.lr", 0.1 if few else 0.2),
            Decision("train.weight_decay", 5e-4),
            Decision("train.schedule", "onecycle"),
            *([] if numbers else [Decision("train.label_smoothing", 0.1)]),
        ]
    return [
        Decision("model.name", "resnet18", "Any name of timm; pretrained = true starts from its published weights."),
        epochs,
        Decision("train.batch_size", 32 if few else 64),
        Decision("train.optimizer", "adamw"),
        Decision("train.lr", 1e-3),
    ]
