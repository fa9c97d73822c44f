"""What fits into a time limit at a given pace: arithmetic alone; `pace` measures, `planning` decides."""

import math
from bisect import bisect_right
from dataclasses import dataclass, replace

from pipeline.config import Config, ImageConfig
from pipeline.images.augment.epoch_changes import epoch_sizes
from pipeline.recipes import epochs_of

# Part of the time left that a plan fills. Whoever shares the machine may slow it down by a sixth later on, and the run
# still ends in time; by a fifth, and it ends within 105 % of it.
SHARE = 0.85
# Seconds for what follows the models: tables, scores, the submission.
_AFTER = 3.0
# Images get no smaller than this part of their side: networks see too little then.
_SMALLEST = 0.5


@dataclass(frozen=True)
class Pace:
    """Seconds that parts of a run take on this machine.

    start: of one model before its first step: the network is built, the pixels' statistics are computed.
    first_image, full_image: for each image that is trained on, of the first epoch's size and of the full one.
    predicted_image: for each image that is predicted, by all views.
    validation: of one validation, whatever its images: the network is made ready to predict.
    saving: of one state of a training.
    """

    start: float
    first_image: float
    full_image: float
    predicted_image: float
    validation: float
    saving: float

    def of_pixels(self, part: float) -> "Pace":
        """The pace of images with this part of the pixels, at best: networks take no less time than that."""
        return replace(
            self,
            first_image=part * self.first_image,
            full_image=part * self.full_image,
            predicted_image=part * self.predicted_image,
        )


@dataclass(frozen=True)
class Work:
    """What a run has to do.

    num_models: all of them are trained, one after the other.
    num_train, num_valid: images over all models that one epoch trains on, and that are validated.
    num_test: test images, for each model.
    probe: seconds that the probe takes, on images of the size that is asked for.
    num_fitted: labelled images, whose features are taken again for the classifier that trainings on smaller ones start
        from; 0 where they start from none.
    fitting: seconds to fit the classifiers.
    """

    num_models: int
    num_train: int
    num_valid: int
    num_test: int
    probe: float = 0.0
    num_fitted: int = 0
    fitting: float = 0.0


def of_one_process(work: Work, num_models: int) -> Work:
    """The work of a process that trains so many of the models, and its part of the others' images."""
    part = num_models / work.num_models
    num_train, num_valid = (math.ceil(part * number) for number in (work.num_train, work.num_valid))
    return replace(work, num_models=num_models, num_train=num_train, num_valid=num_valid)


def seconds(cfg: Config, work: Work, pace: Pace, num_epochs: int) -> float:
    """How long all models take, one after the other, and what follows them."""
    sizes = epoch_sizes(cfg.augment, cfg.image.size, num_epochs)
    train = work.num_train * sum(_image(cfg, pace, size) for size in sizes)
    # An epoch's last step is saved, then its validation.
    each = work.num_valid * pace.predicted_image + work.num_models * (pace.validation + 2 * pace.saving)
    # Inference builds the network again.
    model = 2 * pace.start + pace.saving + work.num_test * pace.predicted_image
    fitted_again = cfg.trains_smaller and work.num_fitted > 0
    head = pace.start + work.num_fitted * pace.predicted_image + work.fitting if fitted_again else 0.0
    return work.probe + head + train + num_epochs * each + work.num_models * model + _AFTER


def _image(cfg: Config, pace: Pace, size: int) -> float:
    """Seconds for an image of some size between the first epoch's and the full one, by its pixels."""
    full = cfg.image.size
    first = round(full * cfg.augment.first_size)
    part = (size**2 - first**2) / (full**2 - first**2) if first < full else 1.0
    return pace.first_image + part * (pace.full_image - pace.first_image)


def epochs_within(cfg: Config, work: Work, pace: Pace, allowed: float) -> int:
    """The most epochs for which a run takes no longer than allowed, in seconds, up to `most_epochs`; 0 for none."""
    numbers = range(1, most_epochs(cfg) + 1)
    return bisect_right(numbers, allowed, key=lambda num_epochs: seconds(cfg, work, pace, num_epochs))


def fewest_epochs(cfg: Config) -> int:
    """Epochs below which images are rather made smaller: as `recipes` have it, or as the settings ask for."""
    return min(cfg.train.num_epochs, _by_rule(cfg)[0])


def most_epochs(cfg: Config) -> int:
    """Epochs above which more time is of no use: as `recipes` have it, or as the settings ask for."""
    return max(cfg.train.num_epochs, _by_rule(cfg)[1])


def _by_rule(cfg: Config) -> tuple[int, int]:
    return epochs_of(cfg.model.name, pretrained=cfg.model.pretrained or bool(cfg.model.weights))


def smaller_sizes(image: ImageConfig) -> list[int]:
    """The sizes that images may be lowered to, the largest first: multiples of 32, below 64 px of 4."""
    step = 32 if image.size >= 64 else 4
    # The decoded images stay as they are, which `margin` allows up to 4.
    least = max(_SMALLEST * image.size, image.stored / 4)
    return [size for size in range(image.size - 1, 0, -1) if size % step == 0 and size >= least]


def with_size(cfg: Config, size: int) -> Config:
    """The settings with smaller images; those in the cache are the same."""
    image = cfg.image.model_copy(update={"size": size, "margin": cfg.image.stored / size})
    return cfg.model_copy(update={"image": image, "asked_image": cfg.image})


def with_epochs(cfg: Config, num_epochs: int) -> Config:
    """The settings with other epochs, and all that is counted in epochs in proportion."""
    train, factor = cfg.train, num_epochs / cfg.train.num_epochs
    freeze_epochs = min(round(factor * train.freeze_epochs), num_epochs - 1)
    changed = {"num_epochs": num_epochs, "freeze_epochs": freeze_epochs}
    if train.schedule == "step":
        changed["step_epochs"] = max(1, round(factor * train.step_epochs))
    return cfg.model_copy(update={"train": train.model_copy(update=changed)})
