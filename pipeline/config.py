"""Every setting: typed, checked, documented; `config_file` reads them from TOML.

Only what can change a result is a setting; the machine (device, threads) is detected. A section names the `stages`
whose products depend on its settings; a setting for which others hold names them itself. `README.md` lists the settings
from what is said here; `tests/test_readme.py` keeps the two equal.
"""

import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from pipeline.competition_config import DataConfig, FoldsConfig, TaskConfig
from pipeline.durations import span_or_none
from pipeline.roots import local_root
from pipeline.section import Section, Stage, Stages

# Epochs x images from which a published policy is used on images that are not small. Networks that see fewer do better
# without: cross-validation of ResNet-18, 64 px, 12 epochs of 280 images: mean column AUC 0.935 against 0.817, ROC AUC
# 0.958 against 0.874; accuracy on one fold, 96 px, 20 epochs of 960 photos of clothes: 0.488 against 0.392.
ENOUGH_FOR_POLICY = 100_000
# How an image is moved to be predicted once more.
MOVES = ("hflip", "vflip", "rot90", "rot180", "rot270", "shift_up", "shift_down", "shift_left", "shift_right")


def _moves(view: str) -> str:
    if view != "identity" and not set(view.split("+")) <= set(MOVES):
        raise ValueError(f"a view must be identity, or moves joined by +, of {', '.join(MOVES)}. Got {view!r}")
    return view


View = Annotated[str, AfterValidator(_moves)]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]


class ConfigError(ValueError):
    """A setting that cannot be used; the message names the key, what must hold and what was got."""


class ImageConfig(Section):
    """How an image file becomes pixels; what the decoded cache is made by."""

    stages = Stages("prepare", "probe", "train")
    size: int = Field(224, ge=1, le=4096, description="height and width that the network sees, in pixels")
    margin: float = Field(
        1.0, ge=1.0, le=4.0, description="side kept in the cache / size, to give random crops room; at least 1"
    )
    channels: Literal[1, 3, 4] = Field(3, description="1 grey, 3 RGB, 4 RGB and alpha")
    fit: Literal["squash", "crop", "pad"] = Field(
        "squash", description="how a rectangle becomes a square: squashed, its centre cropped, padded with black"
    )
    cache_limit: Annotated[float, Stages("prepare")] = Field(
        0.0,
        ge=0.0,
        description="gigabytes that the decoded images may take on the disk; 0: as much as it has; "
        "what has no room is decoded whenever it is needed",
    )

    @property
    def stored(self) -> int:
        """Height and width of the images in the cache, in pixels."""
        return max(self.size, round(self.size * self.margin))


class AugmentConfig(Section):
    """What happens to training images only."""

    stages = Stages("train")
    policy: Literal[
        "none", "autoaugment-imagenet", "autoaugment-cifar10", "autoaugment-svhn", "randaugment", "trivialaugment"
    ] = Field("none", description="the published policies; see `pipeline/images/augment/policies.py`")
    hflip: Annotated[Probability, Stages("probe", "train")] = Field(
        0.0, description="probability of a left-right flip; above 0 the probe sees each image flipped too"
    )
    vflip: Probability = Field(0.0, description="probability of an upside-down flip")
    pad_crop: int = Field(0, ge=0, le=512, description="random crop after padding by this many pixels (reflected)")
    min_area: float = Field(
        1.0, gt=0.0, le=1.0, description="random resized crop: smallest part of the image's area; 1: no such crop"
    )
    erasing: Probability = Field(0.0, description="probability of erasing a random rectangle")
    mixup: float = Field(0.0, ge=0.0, le=100.0, description="alpha of mixup; 0: off")
    cutmix: float = Field(0.0, ge=0.0, le=100.0, description="alpha of cutmix; 0: off; with mixup, one of the two")
    strong_until: Probability = Field(
        1.0,
        description="part of the epochs after which policy, erasing, mixup and cutmix stop: the last epochs see images "
        "as they will be predicted (He et al. 2019, Data augmentation revisited)",
    )
    first_size: float = Field(
        1.0,
        ge=0.25,
        le=1.0,
        description="side of the images in the first epoch / image.size; it grows evenly to 1 at `full_size_from` (Tan "
        "and Le 2021, EfficientNetV2, section 4.2). Faster; a network that takes some sizes alone gets the next larger "
        "of these",
    )
    full_size_from: Probability = Field(0.5, description="part of the epochs after which images have their full size")
    albumentations: str = Field(
        "", description="a pipeline saved by albumentations.save (json or yaml), applied first, image by image"
    )


class ModelConfig(Section):
    """The network."""

    stages = Stages("probe", "train")
    name: str = Field("resnet18", min_length=1, description="lenet5, net, mlp, resnet9, cifarnet, or any name of timm")
    pretrained: bool = Field(
        False,
        description="start from timm's published weights, wherever they are found first; fetched where they are not",
    )
    weights: str = Field(
        "",
        description="start from a local file instead (.safetensors, .pth, .ckpt ...), or from the network's own in a "
        "folder: nothing is fetched",
    )
    width: int = Field(64, ge=1, le=1024, description="resnet9, cifarnet: channels of the first layers")
    dropout: float = Field(0.0, ge=0.0, lt=1.0, description="dropout before the classifier, where the network has it")
    drop_path: float = Field(
        0.0, ge=0.0, lt=1.0, description="stochastic depth of the last block, in most of timm's rising evenly from 0"
    )
    normalisation: Literal["auto", "data", "imagenet"] = Field(
        "auto",
        description="mean and std of the pixels: the training images' own, ImageNet's; "
        "auto: the pretrained weights' own, else the data's",
    )


class ProbeConfig(Section):
    """A classifier on the network as it starts, for a first submission, and a share in the last."""

    stages = Stages()
    enabled: bool = Field(True, description="make one where the network starts from published weights or a file's")


class TrainConfig(Section):
    """How a fold is trained. The last epoch's weights are the model: no epoch is chosen on the data that scores it."""

    stages = Stages("train")
    num_epochs: int = Field(10, ge=1, le=100_000, description="epochs")
    batch_size: int = Field(32, ge=1, le=65_536, description="images in a batch")
    accumulate: int = Field(1, ge=1, le=4096, description="batches whose gradients make one step")
    loss: Literal["auto", "cross_entropy", "nll", "mse", "bce", "focal", "huber"] = Field(
        "auto", description="auto: cross_entropy for one class of many, bce for tags, mse for numbers"
    )
    label_smoothing: float = Field(0.0, ge=0.0, lt=1.0, description="of cross entropy, and of bce")
    focal_gamma: float = Field(2.0, ge=0.0, le=10.0, description="focus of the focal loss on hard images")
    class_weights: Literal["none", "balanced"] = Field(
        "none",
        description="weight classes by 1 / their frequency; the images that have a tag by those without / with it, "
        "1/100 to 100",
    )
    optimizer: str = Field(
        "adamw",
        min_length=1,
        description="sgd, nesterov, adam, adamw, rmsprop, muon, normed_muon (whose matrices keep their norms: for "
        "networks with a norm behind each hidden layer), or timm's by name",
    )
    lr: float = Field(1e-3, gt=0.0, le=100.0, description="learning rate, the highest of its schedule")
    full_lr_steps: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="optimizer steps of a training from which it learns at the full rate, a shorter one at a lower, in "
        "proportion: few steps at a high rate spoil what a published network knows; 0: any",
    )
    head: Literal["random", "probe"] = Field(
        "random",
        description="the classifier's first weights; the probe's were fitted on the same images (Kumar et al. 2022, "
        "Fine-tuning can distort pretrained features)",
    )
    head_lr: float = Field(1.0, gt=0.0, le=1000.0, description="rate of the classifier / lr")
    layer_decay: float = Field(
        1.0,
        gt=0.0,
        le=1.0,
        description="rate of a layer / that of the layer behind it, where the network is timm's: the first learn least",
    )
    freeze_epochs: int = Field(
        0, ge=0, le=100_000, description="epochs in which the classifier alone learns, before all does"
    )
    freeze_norms: bool = Field(
        False, description="batch norms keep their statistics and parameters: for published weights and few images"
    )
    sync_norms: bool = Field(
        True,
        description="in several processes: batch norms that learn take the statistics of the whole batch, as one "
        "process does; else of each process's part",
    )
    shard: Annotated[bool, Stages()] = Field(
        False,
        description="in several processes: each holds a part of all weights, gradients and optimizer state, for "
        "networks whose training does not fit one GPU",
    )
    momentum: float = Field(
        0.9, ge=0.0, lt=1.0, description="of sgd, nesterov, rmsprop and muon; the first beta of adam"
    )
    weight_decay: float = Field(0.01, ge=0.0, le=10.0, description="weight decay; not on biases and norms")
    schedule: Literal["constant", "step", "linear", "cosine", "onecycle"] = Field(
        "onecycle", description="of the learning rate"
    )
    warmup: Probability = Field(0.0, description="part of the steps in which the rate rises; 0 with onecycle: 0.3")
    step_epochs: int = Field(30, ge=1, le=100_000, description="schedule step: epochs between two drops")
    step_factor: float = Field(0.1, gt=0.0, le=1.0, description="schedule step: factor of a drop")
    ema: float = Field(0.0, ge=0.0, lt=1.0, description="decay of the averaged weights per step; 0: none")
    clip_grad: float = Field(0.0, ge=0.0, le=1e6, description="largest norm of the gradient; 0: any")
    time_limit: Annotated[str, AfterValidator(span_or_none), Stages()] = Field(
        "",
        description="time that the whole run may take (90s, 15m, 2h, 1h30m): as many epochs as fit, more than "
        'num_epochs too, smaller images where too few do; see "Within a time limit"; "" for none',
    )
    precision: Annotated[Literal["auto", "float32", "bfloat16", "float16"], Stages("probe", "train")] = Field(
        "auto", description="of the multiplications; auto: by rule from the machine, the network and the image size"
    )
    grad_checkpointing: Annotated[bool, Stages()] = Field(
        False, description="compute activations again in the backward pass: less memory, more time, the same gradients"
    )
    checkpoint_minutes: Annotated[float, Stages()] = Field(
        2.0, ge=0.0, description="between two savings of a training under way; after every epoch anyway; 0: every step"
    )
    on_nan: Annotated[Literal["stop", "rollback"], Stages()] = Field(
        "stop",
        description="a loss that is not finite, in training or in validation: stop, or go back to the last epoch's end "
        "where it was finite, and on at half the rate, once",
    )
    tensorboard: Annotated[bool, Stages()] = Field(
        False, description="write losses, scores and rates for TensorBoard too (pip install tensorboard)"
    )
    seed: int = Field(0, ge=0, lt=2**32, description="seed of weights, order and augmentation")
    deterministic: Annotated[bool, Stages("probe", "train")] = Field(
        False, description="on a GPU: the same bytes at every run, more slowly"
    )


class InferConfig(Section):
    """How a trained network predicts; validation and test alike."""

    stages = Stages("infer")
    views: tuple[View, ...] = Field(
        ("identity",),
        min_length=1,
        description="views whose probabilities are averaged, in validation too: identity, "
        f"{', '.join(MOVES)}, or several of these moves, as in hflip+shift_up",
    )
    batch_size: int = Field(
        0,
        ge=0,
        le=65_536,
        description="images in a batch, in validation too; halved where memory runs out; 0: four times train's, up to "
        "128, or train's where that is more",
    )
    keep_top: Annotated[int, Stages("probe", "infer")] = Field(
        100, ge=1, le=1000, description="above 1,000 classes: probabilities kept of each image, the likeliest"
    )


class EnsembleConfig(Section):
    """How the folds' predictions become one."""

    stages = Stages("ensemble")
    method: Literal["mean", "rank"] = Field("mean", description="mean of probabilities, or of their ranks by class")


class Config(Section):
    """All settings of a run.

    `name` is the run's name: the config file's stem; `path` is that file's, `overrides` what `--set` changed;
    `planned` says that they are those of the plan of its time limit, `asked_image` how images were before it;
    `in_turn` that a fold which is asked for is one of all, which take turns.
    """

    name: str = Field("digits", exclude=True)
    path: str = Field("configs/digits.toml", exclude=True)
    overrides: tuple[str, ...] = Field((), exclude=True)
    planned: bool = Field(False, exclude=True)
    in_turn: bool = Field(False, exclude=True)
    asked_image: ImageConfig | None = Field(None, exclude=True)
    data: DataConfig = DataConfig()
    task: TaskConfig = TaskConfig()
    folds: FoldsConfig = FoldsConfig()
    image: ImageConfig = ImageConfig()
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig = ModelConfig()
    probe: ProbeConfig = ProbeConfig()
    train: TrainConfig = TrainConfig()
    infer: InferConfig = InferConfig()
    ensemble: EnsembleConfig = EnsembleConfig()

    @property
    def options(self) -> str:
        """The options that give these settings to another stage."""
        return f"--config {self.target}"

    @property
    def target(self) -> str:
        """The config and what `--set` changed, as run.sh takes them from a shell."""
        changed = " --set " + shlex.join(self.overrides) if self.overrides else ""
        path = f"./{self.path}" if self.path.startswith("-") else self.path  # else it were an option
        return f"{shlex.quote(path)}{changed}"

    @property
    def of_probe(self) -> "Config":
        """The settings of the probe: its images have the size that is asked for, whatever size a plan trains on."""
        if self.asked_image is None:
            return self
        return self.model_copy(update={"image": self.asked_image, "asked_image": None})

    @property
    def trains_smaller(self) -> bool:
        """Whether a plan trains on smaller images than the probe's."""
        return self.asked_image is not None and self.image.size < self.asked_image.size

    @property
    def root(self) -> Path:
        """The competition's folder: where `data.root` is an address, that of the copy which `prepare` makes."""
        return local_root(self.data.root)

    @property
    def competition(self) -> str:
        """The competition's name: the last part of `data.root`."""
        # Not resolved: a linked folder is called as the user calls it.
        return Path(os.path.abspath(self.root)).name


def sections() -> Iterator[tuple[str, type[Section]]]:
    """Name and class of each section, in the order of the file."""
    for name, field in Config.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            yield name, kind


def settings_of(cfg: Config, stage: Stage) -> dict[str, dict[str, Any]]:
    """The settings that a stage's products depend on, by section, as JSON values in the order of the file."""
    asked = {name: {key for key in kind.model_fields if stage in kind.stages_of(key)} for name, kind in sections()}
    return cfg.model_dump(mode="json", include={name: keys for name, keys in asked.items() if keys})
