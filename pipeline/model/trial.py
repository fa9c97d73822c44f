"""What a network does with one black image, so that what it cannot do is known before training."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from pipeline.config import ConfigError, ModelConfig
from pipeline.log import log

# What timm's networks raise on arguments and images that they cannot take.
REFUSED = (TypeError, RuntimeError, ValueError, AssertionError, LookupError, AttributeError, ArithmeticError)


def try_out(model: nn.Module, size: int, channels: int, num_outputs: int) -> list[nn.Module]:
    """Run one black image: sizes that only the forward pass refuses are found here. Returns the layers that it used."""
    used: list[nn.Module] = []
    watch = register_module_forward_pre_hook(lambda layer, _: used.append(layer))
    try:
        # Not inference_mode: tables that a network keeps from its first image must be usable in training.
        with torch.no_grad():
            logits = model.eval()(torch.zeros(1, channels, size, size))
    finally:
        watch.remove()
    if not isinstance(logits, Tensor) or logits.shape != (1, num_outputs):
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ValueError(f"it gives {got} for one image, not {num_outputs} logits: it is no classifier")
    return used


def refuse_ignored_rates(cfg: ModelConfig, used: list[nn.Module]) -> None:
    """Refuse rates that a network took and that no layer which an image goes through has.

    timm's lcnet, for one, makes layers for stochastic depth in blocks without a shortcut, which pass them by.
    """
    dropouts = (nn.Dropout, nn.Dropout1d, nn.Dropout2d)
    drops = any(getattr(layer, "drop_rate", 0) or (isinstance(layer, dropouts) and layer.p) for layer in used)
    if cfg.dropout and not drops:
        raise ConfigError(f"model.dropout must be 0 for {cfg.name}, which would ignore it. Got {cfg.dropout}")
    if cfg.drop_path and not any(getattr(layer, "drop_prob", 0) for layer in used):
        raise ConfigError(f"model.drop_path must be 0 for {cfg.name}, which would ignore it. Got {cfg.drop_path}")


def accepted_sizes(
    model: nn.Module, name: str, sizes: Sequence[int], full: int, channels: int, num_outputs: int
) -> list[int]:
    """List sizes of images that grow over the epochs, each or the next larger one that the network takes.

    Many take multiples of some number alone. Each size is tried once, and what is changed is logged.

    Args:
        model: on the CPU, and left in training mode.
        name: of the network.
        sizes: height and width of the images in each epoch, in pixels.
        full: the size that it was built for, and takes.
        channels: of the images.
        num_outputs: logits per image.

    Raises:
        ConfigError: it takes none of these sizes, and none between, but `full`.
    """
    errors: dict[int, str] = {full: ""}

    def takes(size: int) -> bool:
        if size not in errors:
            try:
                try_out(model, size, channels, num_outputs)
                errors[size] = ""
            except REFUSED as error:
                errors[size] = f"{type(error).__name__}: {str(error)[:120]}"
        return not errors[size]

    taken = [next(larger for larger in range(size, full + 1) if takes(larger)) for size in sizes]
    model.train()
    if min(taken) == full:
        # As far down as `augment.first_size` goes.
        smaller = next((size for size in range(min(sizes) - 1, full // 4, -1) if takes(size)), 0)
        at_most = f", or at most {smaller / full:.4g}," if smaller else ""
        raise ConfigError(
            f"augment.first_size must be 1{at_most} for {name}: it takes no images of {min(sizes)} to {full - 1} px "
            f"({errors[min(sizes)]})"
        )
    if taken != list(sizes):
        shown = ", ".join(map(str, sorted(set(taken))))
        log.info("augment.first_size: %s does not take every size; its images grow by %s px", name, shown)
    return taken
