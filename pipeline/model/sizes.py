"""Which sizes of images a network of timm takes, itself and with its published weights, tried without any values."""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pipeline.config import ConfigError
from pipeline.model.pretrained import create
from pipeline.model.trial import REFUSED, try_out

# Networks take every size, or multiples of a number that 4 divides (patches, strides, windows), or few sizes alone, of
# which their published one is one.
_STEP = 4
# How far from the size that is asked for others are tried, in pixels: 32 sizes and the published one, of 0.2 s each.
_REACH = 64


def refuse_size(name: str, arguments: dict[str, Any], size: int, published: Any, *, pretrained: bool) -> None:
    """Refuse a size of images that a network, or the weights published of it, cannot take where they take another one.

    Tensors on the device `meta` have shapes and no values, so that large networks are tried as fast as small ones, and
    timm's own loader says whether weights of the published network's shapes can be fitted.

    Args:
        name: timm's.
        arguments: of the network, `img_size` among them where it takes one.
        size: height and width of the images, in pixels.
        published: timm's entry of the network; its `input_size` is that of the published weights.
        pretrained: whether they are asked for.

    Raises:
        ConfigError: it takes a smaller or a larger size; the nearest of those tried.
    """
    own = int(published.input_size[1])
    try:
        weights = _shapes(name, arguments, own) if pretrained else None
    except REFUSED:
        return  # it is not the size
    if weights is not None and _takes(name, arguments, size, weights):
        return
    near = range(max(_STEP, size - _REACH) // _STEP * _STEP, size + _REACH + 1, _STEP)
    others = sorted({*near, own} - {size}, key=lambda other: abs(other - size))
    smaller = _first(name, arguments, [other for other in others if other < size], weights)
    larger = _first(name, arguments, [other for other in others if other > size], weights)
    if smaller or larger:
        who = f"{name} with its published weights" if pretrained else name
        taken = " or ".join(str(other) for other in (smaller, larger) if other)
        raise ConfigError(f"image.size must be one that {who} can take. Got {size}. Set it to {taken}") from None


def _first(name: str, arguments: dict[str, Any], sizes: Sequence[int], weights: dict[str, Tensor] | None) -> int:
    """Find the first of some sizes that is taken; 0 where none is."""
    return next((size for size in sizes if _takes(name, arguments, size, weights)), 0)


def _shapes(name: str, arguments: dict[str, Any], size: int) -> dict[str, Tensor]:
    """Make weights of a network as published: without values."""
    plain = {key: value for key, value in arguments.items() if key not in ("in_chans", "num_classes")}
    with torch.device("meta"):
        return dict(create(name, _sized(plain, size)).state_dict())


def _takes(name: str, arguments: dict[str, Any], size: int, weights: dict[str, Tensor] | None) -> bool:
    """Whether a network can be built for a size, filled with such weights where they are given, and run."""
    source: dict[str, Any] = {}
    if weights is not None:
        source = {"pretrained": True, "pretrained_cfg_overlay": {"state_dict": dict(weights)}}
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of copies without values
            model = create(name, _sized(arguments, size), **source)
            try_out(model, size, arguments["in_chans"], arguments["num_classes"])
    except REFUSED:
        return False
    return True


def _sized(arguments: dict[str, Any], size: int) -> dict[str, Any]:
    return arguments | {"img_size": size} if "img_size" in arguments else dict(arguments)
