"""Image size, network, augmentation and epochs by rule: a row for each kind of images, with what it was chosen by."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from pipeline.combinations import DETECTED_WIDTH
from pipeline.config import ENOUGH_FOR_POLICY
from pipeline.detection.found import Choice, Facts

Settings = tuple[Choice, ...]

# Networks of which the published weights are taken where they are here, the best first, and the gigabytes that a GPU
# must have for each; 0: there may be none. EfficientNet-Lite0 comes with the installation. Over all tasks ConvNeXt-Base
# is one of the two best of 61 published networks (Goldblum et al. 2023, "Battle of the Backbones"); of those with fewer
# than 30 million parameters ConvNeXt-Tiny is the best over six domains, and attention does worse on few images (Jeevan
# and Sethi 2024, "Which Backbone to Use"). Cards of 24 GB say 22.5 or more.
PUBLISHED = {"convnext_base": 22.0, "convnext_tiny": 7.5, "tf_efficientnet_lite0": 0.0}
# How much more a GPU does in the same time, about.
_GPU_FACTOR = 20
# Train images below which batches are small: there would be few steps in an epoch.
_FEW = 5000
# And below which they are smaller still, from published weights: accuracy on images that neither saw, 140 photos, 8
# epochs from the probe's classifier: 0.721 in batches of 8, 0.607, as the probe, in batches of 32.
_SCARCE = 500
# Traces are looked for in images of up to this many pixels a side, twice as many with a GPU.
_LARGEST_TRACES = 256
_CROPS = "Random crops of this part of the image's area or more."


@dataclass(frozen=True)
class Row:
    """The settings for one kind of images.

    most_side: longer side of the median image, in pixels, up to which the row is for.
    size: height and width that the network sees, in pixels, and why, from that side and whether there is a GPU.
    crop_grey, crop_colour: pixels by which grey images and those in colour are moved, from the size; 0: they are not.
    budget: epochs x images for which five folds take about an hour on two cores at `speed` images a second: each fold
        trains on four fifths, so all on 4 x images.
    policy: of images in colour, why, and the epochs x images from which it is used.
    augment: more for images in colour: where the policy is used, and where it is not.
    network, few, many: network and training; what suits few images, and many.
    scarce: instead of `few`, what suits very few.
    images: more for the images' size.
    epochs: the fewest and the most.
    gpu_budget: as `budget`, with a GPU; 0: about twenty times as much.
    """

    most_side: float
    size: Callable[[float, bool], tuple[int, str]]
    crop_grey: Callable[[int], int]
    crop_colour: Callable[[int], int]
    budget: int
    speed: int
    policy: tuple[str, str, int]
    augment: tuple[Settings, Settings]
    network: Settings
    few: Settings
    many: Settings
    images: Settings = ()
    epochs: tuple[int, int] = (4, 40)
    gpu_budget: int = 0
    scarce: Settings = ()


def _own_size(side: float, has_gpu: bool) -> tuple[int, str]:
    return max(16, math.ceil(side / 4) * 4), f"the images' own side ({side:.0f} px) up to the next multiple of 4."


def _near_size(side: float, has_gpu: bool) -> tuple[int, str]:
    return max(32, round(side / 32) * 32), f"the images' side ({side:.0f} px) to the nearest multiple of 32."


def _photo_size(side: float, has_gpu: bool) -> tuple[int, str]:
    what = "for photos of" if side > _SMALL.most_side else "as the published network knows large images, enlarged from"
    why = f"{what} {side:.0f} px: 224 with a GPU, 128 without; a larger size scores better, more slowly."
    return 224 if has_gpu else 128, why


_SMALL = Row(
    most_side=40,
    size=_own_size,
    crop_grey=lambda size: 2,
    crop_colour=lambda size: max(2, size // 8),
    budget=240_000,
    speed=280,  # resnet9, width 32, 32 px
    policy=("autoaugment-cifar10", "Small colour images.", 0),
    augment=((), ()),
    network=(
        Choice("model.name", "resnet9"),
        Choice("model.width", DETECTED_WIDTH),
        Choice("train.optimizer", "nesterov"),
        Choice("train.weight_decay", 5e-4),
        Choice("train.schedule", "onecycle"),
        Choice("train.label_smoothing", 0.1),
    ),
    few=(Choice("train.batch_size", 64), Choice("train.lr", 0.1)),
    many=(Choice("train.batch_size", 256), Choice("train.lr", 0.2)),
)
_MEDIUM = Row(
    most_side=128,
    size=_near_size,
    crop_grey=lambda size: size // 16,
    crop_colour=lambda size: 0,
    budget=60_000,
    speed=80,  # resnet18, 96 px
    policy=("trivialaugment", "Colour images.", ENOUGH_FOR_POLICY),
    augment=((Choice("augment.min_area", 0.5, _CROPS),), (Choice("augment.min_area", 0.7, _CROPS),)),
    network=(
        Choice("model.name", "resnet18", "Any name of timm; pretrained = true starts from its published weights."),
        Choice("train.optimizer", "adamw"),
        Choice("train.lr", 1e-3),
    ),
    few=(Choice("train.batch_size", 32),),
    many=(Choice("train.batch_size", 64),),
)
_LARGE = Row(
    most_side=math.inf,
    size=_photo_size,
    crop_grey=_MEDIUM.crop_grey,
    crop_colour=_MEDIUM.crop_colour,
    budget=36_000,
    speed=40,  # resnet18, 128 px
    policy=("autoaugment-imagenet", "Colour images.", ENOUGH_FOR_POLICY),
    augment=_MEDIUM.augment,
    network=_MEDIUM.network,
    few=_MEDIUM.few,
    many=_MEDIUM.many,
    images=(Choice("image.margin", 1.15, "Room for random crops."),),
)
ROWS = (_SMALL, _MEDIUM, _LARGE)


# From the probe's classifier networks are soon sure of everything, of wrong answers too. Mixing two images lowers the
# loss on images not seen by a tenth to a half, on clothes and four miniatures, at no accuracy, in twelve epochs. In six
# of 280 images it gains nothing, so that few images are not mixed; see the benchmarks' README.
_MIXED = (
    Choice("augment.mixup", 0.2, "Networks that begin well grow too sure; mixed images keep them honest."),
    Choice("augment.strong_until", 0.8, "The last epochs see images as they are."),
)
# What suits classes alone, not numbers, and what does not suit grades either: mixed photos of eyes, hard to tell apart,
# were not learnt (280 images, 6 epochs: kappa out of fold 0.39 for 0.61).
_FOR_CLASSES = ("train.label_smoothing", "augment.mixup", "augment.strong_until")
_NOT_FOR_GRADES = tuple(choice.key for choice in _MIXED)
_KEPT = Choice("train.freeze_norms", True, "Few images: statistics and parameters of norms stay as published.")


def _rate(lr: float, full_lr_steps: int) -> Settings:
    """Choose a rate that trainings of so many steps or more have in full.

    From the probe's classifier (see the benchmarks' README): of 180 steps in batches of 32 (960 photos), 1e-3 is better
    than 3e-4; of 65 steps in batches of 8 (100 photos), 1e-4 keeps what the probe can and 2e-4 does not; of 144 steps
    (140 photos), 3e-4 is better than 1e-4.
    """
    steps = Choice("train.full_lr_steps", full_lr_steps, "Few steps at a high rate spoil what the network knows.")
    return Choice("train.lr", lr), steps


# By one fold of 960 photos of clothes at 128 px, see the benchmarks' README: accuracy 0.788 in 12 epochs and in 20,
# 0.713 in 6; 0.608 in 6 where norms learn. ResNet-18 from scratch: 0.488.
_LITE = replace(
    _LARGE,
    budget=66_000,
    speed=73,  # tf_efficientnet_lite0, 128 px
    network=(Choice("train.optimizer", "adamw"),),
    few=(Choice("train.batch_size", 32), *_rate(1e-3, 180), *_MIXED, _KEPT),
    many=(Choice("train.batch_size", 64), *_rate(1e-3, 180), *_MIXED),
    scarce=(
        Choice("train.batch_size", 8, "Few images would make few steps in larger ones."),
        *_rate(5e-4, 250),
        Choice("train.clip_grad", 1.0, "No single step undoes what the network knows."),
        _KEPT,
    ),
    epochs=(3, 12),
)


def _convnext(gpu_speed: int, drop_path: float) -> Row:
    """Choose for a ConvNeXt on a GPU; nothing of it was measured here.

    Rates, drop path and at most 30 epochs: as its authors fine-tune at 224 px (facebookresearch/ConvNeXt, TRAINING.md,
    from ImageNet-22K); five epochs give accurate results too (Capelle 2022, "Finding the New ResNet18"). Batches of 32
    and 64: timm's benchmark trains Tiny in batches of 256 and Base in 128 on an RTX 3090 of 24 GB, 819 and 339 images a
    second (pytorch-image-models, results/benchmark-train-amp-nhwc-pt112-cu113-rtx3090.csv).

    Args:
        gpu_speed: images a second.
        drop_path: as published.
    """
    return replace(
        _LARGE,
        network=(
            Choice("model.drop_path", drop_path, "As its authors train it."),
            Choice("train.optimizer", "adamw"),
            Choice("train.lr", 5e-5, "As published for fine-tuning; not measured here."),
            Choice("train.layer_decay", 0.8),
        ),
        epochs=(5, 30),
        gpu_budget=900 * gpu_speed,  # an hour of 4 x images
    )


# Tiny is for the smaller cards too, which are taken to do a third of what an RTX 3090 does.
_FINE_TUNED = {
    "convnext_base": _convnext(339, 0.2),
    "convnext_tiny": _convnext(819 // 3, 0.1),
    "tf_efficientnet_lite0": _LITE,
}


def _with_weights(name: str) -> Row:
    """Choose for images of `takes_weights`, where the published weights of a network are here."""
    row = _FINE_TUNED[name]
    start = (
        Choice("model.name", name, "Its published weights are here; which others are: python -m pipeline.weights."),
        Choice("model.pretrained", True, "Trained on ImageNet before; false starts at random."),
        Choice("train.head", "probe", "The classifier starts as the one that made the first submission."),
    )
    return replace(row, network=(*start, *row.network))


# Versions of one image are told apart by faint traces: nothing that resamples pixels, and a network whose first layer
# whitens, which makes faint high frequencies as strong as the picture. ResNet-18 stays at chance where it finds every
# trace (280 images at 64 px, one fold of five).
_TRACES = (
    Choice(
        "augment.policy",
        "none",
        "Classes are versions of one image, told apart by faint traces: nothing that resamples pixels.",
    ),
    Choice("augment.hflip", 0.5),
    Choice("augment.vflip", 0.5),
    Choice("model.name", "cifarnet", "Its first layer whitens, which makes faint high frequencies strong."),
    Choice("train.batch_size", 32),
    Choice("train.optimizer", "muon"),
    Choice("train.lr", 0.02),
    Choice("train.momentum", 0.6),
    Choice("train.weight_decay", 0.5),
    Choice("train.schedule", "cosine"),
    Choice("train.warmup", 0.1),
    Choice("train.label_smoothing", 0.1),
    Choice("infer.views", ("identity", "hflip")),
)


def recipe(facts: Facts, *, gpu_memory: float, published: str = "") -> list[Choice]:
    """Choose the settings of folds, images, network, training and inference.

    Args:
        facts: what is known of the images and their classes.
        gpu_memory: gigabytes of this machine's GPU, which means larger images, more epochs; 0 for none.
        published: the network of `wanted` whose weights are here; "" for none.
    """
    row, has_gpu = _row(facts, published if takes_weights(facts, gpu_memory=gpu_memory) else ""), gpu_memory > 0
    budget = (row.gpu_budget or _GPU_FACTOR * row.budget) if has_gpu else row.budget
    fewest, most = row.epochs
    num_epochs = min(most, max(fewest, round(budget / facts.num_images)))
    choices = [
        Choice("folds.num_folds", 5, "Five models, each validated on the fifth that it has not seen."),
        Choice("image.channels", 1 if facts.grey else 3),
    ]
    shares = f"{budget:,} / {facts.num_images:,} images"
    if facts.versions:
        size = min(math.ceil(facts.side / 4) * 4, _LARGEST_TRACES * (2 if has_gpu else 1))
        why = f"{facts.text}. Size: the images' own, as scaling would blur the traces."
        epochs = Choice("train.num_epochs", num_epochs, f"{shares}, {fewest} to {most}.")
        return [*choices, Choice("image.size", size, why), *_TRACES, epochs]
    size, why = row.size(facts.side, has_gpu)
    minutes = 4 * facts.num_images * num_epochs / row.speed / 60
    cost = "by the budget of a GPU" if has_gpu else f"about {minutes:,.0f} minutes on two cores"
    epochs = Choice(
        "train.num_epochs",
        num_epochs,
        f"{shares}, at least {fewest}, at most {most}: five folds take {cost}.",
    )
    flips = not (facts.grey or facts.against_hflip)
    return [
        *choices,
        Choice("image.size", size, f"{facts.text}. Size: {why}"),
        *row.images,
        *_augment(row, facts, size, num_epochs * facts.num_images),
        *(item for item in (*row.network, *_by_number(row, facts.num_images)) if _suits(item.key, facts)),
        epochs,
        Choice("infer.views", ("identity", "hflip") if flips else ("identity",)),
    ]


def _suits(key: str, facts: Facts) -> bool:
    """Whether a setting suits what is predicted."""
    if facts.grades:
        return key not in _NOT_FOR_GRADES
    return not facts.numbers or key not in _FOR_CLASSES


def wanted(gpu_memory: float) -> list[str]:
    """List the networks of `PUBLISHED` that are for this machine, the best first.

    Args:
        gpu_memory: gigabytes of its GPU; 0 for none.
    """
    return [name for name, least in PUBLISHED.items() if gpu_memory >= least]


def epochs_of(network: str, *, pretrained: bool) -> tuple[int, int]:
    """The fewest and the most epochs that pay, by the network, and whether it was trained before."""
    if pretrained:
        return _FINE_TUNED.get(network.partition(".")[0], _LITE).epochs
    return _LARGE.epochs


def takes_weights(facts: Facts, *, gpu_memory: float) -> bool:
    """Whether published weights serve such images: no faint traces, nor small images that are grey, as digits are, or
    so many that the fewest epochs of them enlarged would take more than the budget.

    By cross-validation of images of 32 px, ours and enlarged, see the benchmarks' README: colour, 300 images, accuracy
    0.490 and 0.708; 280, ROC AUC 0.605 and 0.751; digits, 300, no difference, and ours five times as fast.

    Args:
        facts: what is known of the images.
        gpu_memory: gigabytes of this machine's GPU; 0 for none.
    """
    if facts.side > _SMALL.most_side or facts.versions:
        return not facts.versions
    if facts.grey:
        return False
    return facts.num_images * _LITE.epochs[0] <= _LITE.budget * (_GPU_FACTOR if gpu_memory else 1)


def _row(facts: Facts, published: str) -> Row:
    if facts.versions:
        return _MEDIUM
    if published:
        return _with_weights(published)
    return next(row for row in ROWS if facts.side <= row.most_side)


def _by_number(row: Row, num_images: int) -> Settings:
    if num_images < _SCARCE and row.scarce:
        return row.scarce
    return row.few if num_images < _FEW else row.many


def _augment(row: Row, facts: Facts, size: int, num_seen: int) -> list[Choice]:
    """Choose augmentation, the stronger the more images a network will see: `num_seen`, epochs x images."""
    if facts.grey:
        why = "Grey images may be characters or digits: no flips, small shifts only."
        return [Choice("augment.policy", "none", why), Choice("augment.pad_crop", row.crop_grey(size))]
    policy, why, enough = row.policy
    strong, gentle = row.augment
    if num_seen < enough:
        why = f"Epochs x images are {num_seen:,}: too few to learn from {policy!r}, which is for {enough:,}."
        policy, strong = "none", gentle
    hflip = Choice("augment.hflip", 0.5, "0 where left and right differ in meaning (then no hflip in infer.views).")
    if facts.against_hflip:
        why_not = (
            f"No flips: {facts.against_hflip}. "
            "0.5 where flipped images are of the same class (then hflip in infer.views)."
        )
        hflip = Choice("augment.hflip", 0.0, why_not, said=True)
    crop = row.crop_colour(size)
    crops = [Choice("augment.pad_crop", crop)] if crop else []
    return [Choice("augment.policy", policy, why), hflip, *crops, *strong]
