"""Settings that do not go together, or that nothing would read: said before any stage starts."""

from collections.abc import Iterator

from pipeline.config import Config, ModelConfig, TrainConfig

# The networks that have a width, and the one that `detect` writes: it stays in the file where another network is set.
WIDE = ("resnet9", "cifarnet")
DETECTED_WIDTH = 32
# Optimizers that treat each number of a weight by itself, as they must where none has all of it.
ELEMENTWISE = ("sgd", "nesterov", "adam", "adamw", "rmsprop")


def refused(cfg: Config) -> Iterator[str]:
    """What cannot be meant, as far as the settings alone show it: a sentence for each."""
    model, train = cfg.model, cfg.train
    if train.freeze_epochs >= train.num_epochs:
        yield (
            "train.freeze_epochs must be less than train.num_epochs: the network would learn nothing but its "
            f"classifier. Got {train.freeze_epochs} of {train.num_epochs}: lower it"
        )
    if train.loss != "focal" and train.focal_gamma != TrainConfig().focal_gamma:
        yield (
            f"train.focal_gamma is read with train.loss = 'focal' alone. Got {train.focal_gamma} with {train.loss!r}: "
            "set the loss, or leave it out"
        )
    if ignores_width(model) and model.width != DETECTED_WIDTH:
        yield (
            f"model.width is read for {' and '.join(WIDE)} alone. Got {model.width} for {model.name!r}: leave it out, "
            "or take one of these"
        )
    if train.head == "probe" and not (model.pretrained or model.weights):
        yield (
            "train.head = 'probe' needs a network that starts from published weights, which the probe is made of. Set "
            "model.pretrained = true or model.weights, or train.head = 'random'"
        )
    if train.shard and train.optimizer not in ELEMENTWISE:
        yield (
            f"train.shard = true needs an optimizer that never looks at a whole matrix: {', '.join(ELEMENTWISE)}. Got "
            f"{train.optimizer!r}: take one of these, or train.shard = false"
        )
    if train.shard and train.time_limit:
        yield (
            "train.time_limit measures what one process does with the whole network. Got it with train.shard = true: "
            "leave one of the two out"
        )


def ignores_width(model: ModelConfig) -> bool:
    """Whether a width is set for a network that has none."""
    return model.name not in WIDE and model.width != ModelConfig().width
