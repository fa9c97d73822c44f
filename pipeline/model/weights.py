"""Weights from a local file, fitted to a network with other classes, channels or image size."""

import inspect
import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from logging import INFO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.config import ConfigError
from pipeline.files import InputError
from pipeline.log import say_once
from pipeline.model.weight_file import read_weights

# Words of the names under which training scripts keep averaged weights: model_ema, state_dict_ema, swa_model ...
_AVERAGED = {"ema", "swa", "averaged"}
# Networks lie no deeper in a file.
_LEVELS = 8
# What timm's filters raise on another network's weights: they take the file's layout for granted.
_FOREIGN = (
    LookupError,
    RuntimeError,
    ValueError,
    AttributeError,
    TypeError,
    AssertionError,
    ArithmeticError,
    NameError,
)


@dataclass(frozen=True)
class _Candidate:
    """The tensors of a file whose names begin alike, named without that beginning.

    weights: as timm's filter of the network and the images' channels make them.
    fitting: those that the network has too, in the same shape.
    size: numbers of `_body` that these are.
    error: what timm's filter says where it takes them for another network's; none is fitting then.
    """

    prefix: str
    weights: dict[str, Tensor]
    fitting: dict[str, Tensor]
    size: int
    error: str = ""

    @property
    def is_averaged(self) -> bool:
        return not _AVERAGED.isdisjoint(re.split(r"[._]", self.prefix.lower()))

    def __str__(self) -> str:
        return self.prefix.removesuffix(".") or "its top level"


def load_weights(model: nn.Module, path: Path, channels: int) -> None:
    """Fill a network with the weights of a file.

    They may lie anywhere in it, with any names before the network's own (`state_dict`, `model.backbone`, `module` ...).
    What fills most of the network is taken; where several fill as much, an averaged one (`model_ema` ...), else the
    first, which is logged. The classifier stays as initialised where its number of classes is another; the first layers
    are adapted to the channels; position embeddings are resized where timm can (its `checkpoint_filter_fn` of the
    network). What is missing and what is left over is logged in one line.

    Args:
        model: changed in place.
        path: see `read_weights`.
        channels: of the images.

    Raises:
        InputError: the file cannot be read, holds less than nine tenths of the network (classifier aside), or does not
            fill its first layer.
    """
    target, body, tensors = model.state_dict(), _body(model), read_weights(path)
    total = sum(body.values())
    candidates = [_candidate(model, tensors, prefix, channels) for prefix in _prefixes(tensors, total // 2)]
    none = _Candidate("", tensors, {}, 0)
    best = max(candidates, key=lambda candidate: (candidate.size, candidate.is_averaged), default=none)
    if 10 * best.size < 9 * total:
        lacking = next(name for name in body if name not in best.fitting)
        raise InputError(
            f"model.weights must hold the weights of the network in model.name. {path} holds {best.size:,} of its "
            f"{total:,} numbers: {_lack(best, lacking, target[lacking])}"
        )
    for name in first_layers(model):
        if f"{name}.weight" not in best.fitting:
            raise InputError(
                f"model.weights must fill the first layer of the network in model.name. {path} does not: "
                f"{_lack(best, f'{name}.weight', target[f'{name}.weight'])}"
            )
    model.load_state_dict(best.fitting, strict=False)
    # Some of timm's filters cut `module.` themselves, so that the same tensors fit with it and without.
    taken = set(map(id, best.fitting.values()))
    others = [
        candidate
        for candidate in candidates
        if 10 * candidate.size >= 9 * total and taken.isdisjoint(map(id, candidate.fitting.values()))
    ]
    if others:
        said = f"{path}: the weights in {best} are taken, not those in {', '.join(map(str, others))}"
        say_once(said, INFO, "%s", said)
    _log_difference(path, [name for name in target if name not in best.fitting], best)


def _prefixes(tensors: dict[str, Tensor], least: int) -> list[str]:
    """List what names begin with, up to a dot, and what holds at least so many numbers; the shortest first."""
    sizes: Counter[str] = Counter()
    for name, value in tensors.items():
        components = name.split(".", _LEVELS)
        for level in range(len(components)):
            sizes["".join(f"{component}." for component in components[:level])] += value.numel()
    return [prefix for prefix, size in sizes.items() if size >= least]


def _candidate(model: nn.Module, tensors: dict[str, Tensor], prefix: str, channels: int) -> _Candidate:
    """Take the tensors under a prefix, as the network takes them."""
    named = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    try:
        weights = _timm_filtered(model, named)
    except _FOREIGN as error:
        return _Candidate(prefix, named, {}, 0, f"{type(error).__name__}: {str(error)[:120]}")
    target = model.state_dict()
    for name in (f"{layer}.weight" for layer in first_layers(model)):
        if name in weights:
            weights[name] = _adapt_channels(weights[name], target[name], channels)
    fitting = {name: value for name, value in weights.items() if name in target and value.shape == target[name].shape}
    head = head_prefixes(model)
    if any(name.startswith(head) and name not in fitting for name in weights if name in target):
        # A classifier for other classes: none of its tensors is kept, its bias neither.
        fitting = {name: value for name, value in fitting.items() if not name.startswith(head)}
    body = _body(model)
    return _Candidate(prefix, weights, fitting, sum(body.get(name, 0) for name in fitting))


def _body(model: nn.Module) -> dict[str, int]:
    """Count the numbers in each tensor of a network: parameters and norms' statistics, classifier aside."""
    head = head_prefixes(model)
    return {
        name: value.numel()
        for name, value in model.state_dict().items()
        if value.is_floating_point() and not name.startswith(head)
    }


def _timm_filtered(model: nn.Module, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename and resize the weights by timm's own filter of the network, where it has one."""
    module = sys.modules[type(model).__module__]
    keep = getattr(module, "checkpoint_filter_fn", None)
    if keep is None or not module.__name__.startswith("timm."):
        return weights
    arguments = (dict(weights), model)[: len(inspect.signature(keep).parameters)]
    return {name: value for name, value in keep(*arguments).items() if isinstance(value, Tensor)}


def _lack(candidate: _Candidate, name: str, target: Tensor) -> str:
    """Say what keeps a candidate from filling a network's tensor, and what to do."""
    if candidate.error:
        return (
            f"timm reads them as another network's ({candidate.error}). Set model.name to the network it was made with"
        )
    shape = tuple(target.shape)
    if name in candidate.weights:
        return (
            f"{name} is {tuple(candidate.weights[name].shape)} in the file and {shape} in the network. Set model.name, "
            "image.channels, image.size and model.width to those it was made with"
        )
    left_over = (other for other in candidate.weights if other not in candidate.fitting)
    unused = next((f"; {other} is, which the network lacks" for other in left_over), "")
    return (
        f"{name} is not in the file{unused}. Set model.name to the network it was made with, or name its tensors as "
        "the network does"
    )


def head_prefixes(model: nn.Module) -> tuple[str, ...]:
    """List prefixes of the classifier's keys: timm's `get_classifier`, else the last linear layer."""
    classifier: Any = getattr(model, "get_classifier", None)
    if classifier is not None:
        found = classifier()
        heads = list(found) if isinstance(found, (tuple, list)) else [found]
    else:
        heads = [module for module in model.modules() if isinstance(module, nn.Linear)][-1:]
    return tuple(f"{name}." for name, module in model.named_modules() if any(module is head for head in heads))


def remove_classifier(model: nn.Module) -> None:
    """Have a network give what its classifier would see, the features, in its place."""
    reset: Any = getattr(model, "reset_classifier", None)
    if reset is not None:
        reset(0)
        return
    for prefix in head_prefixes(model):
        model.set_submodule(prefix.removesuffix("."), nn.Identity())


def set_classifier(model: nn.Module, weight: Tensor, bias: Tensor) -> None:
    """Give a network its classifier: a linear layer of features as `remove_classifier` leaves them.

    Args:
        model: changed in place.
        weight: float32 (num_outputs, num_features).
        bias: float32 (num_outputs,).

    Raises:
        ConfigError: its classifier is something else.
    """
    classifier = linear_classifier(model)
    if classifier.weight.shape != weight.shape:
        raise _not_linear()
    with torch.no_grad():
        classifier.weight.copy_(weight)
        classifier.bias.copy_(bias)


def linear_classifier(model: nn.Module) -> nn.Linear:
    """The classifier of a network that is one linear layer.

    Raises:
        ConfigError: it is something else.
    """
    known: Any = getattr(model, "get_classifier", None)
    classifier = known() if known is not None else None
    if not isinstance(classifier, nn.Linear) or classifier.bias is None:
        raise _not_linear()
    return classifier


def _not_linear() -> ConfigError:
    return ConfigError(
        "train.head must be 'random' for networks whose classifier is not one linear layer of their features. Got "
        "'probe'"
    )


def first_layers(model: nn.Module) -> tuple[str, ...]:
    """Name the layers with weights that see the image: as timm lists them, else the first convolution."""
    known = getattr(model, "pretrained_cfg", {}).get("first_conv")
    if known is None:
        return tuple(name for name, module in model.named_modules() if isinstance(module, nn.Conv2d))[:1]
    names = {known} if isinstance(known, str) else set(known)
    return tuple(name for name, _ in model.named_modules() if name in names)


def published_channels(model: nn.Module) -> int:
    """Look up the channels of the images that timm's weights of a network were trained on."""
    return int(getattr(model, "pretrained_cfg", {}).get("input_size", (3,))[0])


def timm_adapts(model: nn.Module, channels: int) -> bool:
    """Whether timm fits the published weights of the first layers to other channels; else it leaves them at random.

    Its `adapt_input_conv` knows convolutions alone, and those behind a space-to-depth for one channel alone.
    """
    layers = [model.get_submodule(name) for name in first_layers(model)]
    return all(isinstance(layer, nn.Conv2d) and (channels == 1 or layer.in_channels == channels) for layer in layers)


def _adapt_channels(weight: Tensor, target: Tensor, channels: int) -> Tensor:
    """Adapt a convolution's weight (out, in, height, width) to other channels, so that its outputs keep their size.

    As timm does: summed for one channel, else repeated in turn and scaled by the ratio of the channels. Where a
    space-to-depth lies before the convolution, `in` is (block, channel); timm itself takes those to one channel alone.
    """
    alike = weight.ndim == target.ndim == 4 and weight.shape[2:] == target.shape[2:]
    num_blocks, rest = divmod(target.shape[1], channels)
    if not alike or weight.shape == target.shape or rest or num_blocks == 0 or weight.shape[1] % num_blocks:
        return weight
    blocks = weight.float().reshape(len(weight), num_blocks, -1, *weight.shape[2:])
    source = blocks.shape[2]
    if channels == 1:
        adapted = blocks.sum(2, keepdim=True)
    else:
        adapted = blocks[:, :, [channel % source for channel in range(channels)]] * (source / channels)
    return adapted.flatten(1, 2)


def _log_difference(path: Path, missing: Sequence[str], candidate: _Candidate) -> None:
    left_over = [name for name in candidate.weights if name not in candidate.fitting]
    if missing or left_over:
        said = f"{path}: {_listed(missing, 'missing')}; {_listed(left_over, 'not used')}"
        say_once(said, INFO, "%s", said)


def _listed(names: Sequence[str], what: str) -> str:
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return f"{len(names)} {what}" + (f" ({shown})" if names else "")
