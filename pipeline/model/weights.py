"""Weights from a local file, fitted to a network with other classes, channels or image size."""

import inspect
import logging
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.files import InputError
from pipeline.model.checkpoint import read_safetensors

log = logging.getLogger("pipeline")

_TORCH_SUFFIXES = (".pth", ".pt", ".bin")
# What unpickling a damaged file raises, over and above OSError.
_DAMAGED = (
    # Of torch, so that nothing here can unpickle.
    torch.serialization.pickle.UnpicklingError,  # type: ignore[attr-defined]
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    AssertionError,
    OverflowError,
    struct.error,
)
# What timm's filters raise on another network's weights: they take the file's layout for granted.
_FOREIGN = (LookupError, RuntimeError, ValueError, AttributeError, TypeError, AssertionError)


def load_weights(model: nn.Module, path: Path, channels: int) -> None:
    """Fill a network with the weights of a file.

    The classifier stays as initialised where its number of classes is another; the first convolution is adapted to the
    channels; position embeddings are resized where timm can (its `checkpoint_filter_fn` of the network). What is
    missing and what is left over is logged in one line.

    Args:
        model: changed in place.
        path: .safetensors, or .pth, .pt, .bin as written by `torch.save`; read without running code.
        channels: of the images.

    Raises:
        InputError: the file cannot be read, or holds fewer than nine tenths of the network's parameters (classifier
            aside).
    """
    weights = _timm_filtered(model, read_weights(path), path)
    target = model.state_dict()
    head = head_prefixes(model)
    first = first_conv(model)
    if first and f"{first}.weight" in weights:
        name = f"{first}.weight"
        weights[name] = _adapt_channels(weights[name], target[name], channels)
    fitting = {name: value for name, value in weights.items() if name in target and value.shape == target[name].shape}
    if any(name.startswith(head) and name not in fitting for name in weights if name in target):
        # A classifier for other classes: none of its parts is kept, its bias neither.
        fitting = {name: value for name, value in fitting.items() if not name.startswith(head)}
    body = {name: value.numel() for name, value in model.named_parameters() if not name.startswith(head)}
    found = sum(size for name, size in body.items() if name in fitting)
    if 10 * found < 9 * sum(body.values()):
        raise InputError(
            f"model.weights must hold the weights of the network in model.name. {path} holds {found:,} of its "
            f"{sum(body.values()):,} parameters: set model.name to the network it was made with"
        )
    model.load_state_dict(fitting, strict=False)
    _log_difference(path, [name for name in target if name not in fitting], [n for n in weights if n not in fitting])


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by name from a file, on the CPU; unpacked from `state_dict` or `model`, `module.` cut off.

    Raises:
        InputError: there is no such file, it is of another type, damaged, holds code, or holds no tensors.
    """
    if not path.is_file():
        raise InputError(f"model.weights must be an existing file. Got {str(path)!r}")
    content: Any
    if path.suffix == ".safetensors":
        content, _ = read_safetensors(path)
    elif path.suffix in _TORCH_SUFFIXES:
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except (*_DAMAGED, OSError) as error:
            raise InputError(
                f"model.weights must be a whole file of tensors and nothing else; code in it is not run. {path} gives "
                f"{type(error).__name__}: {str(error).splitlines()[0][:120] if str(error) else ''}. "
                "Save it as safetensors where you trust it"
            ) from None
    else:
        raise InputError(
            f"model.weights must end in .safetensors, {', '.join(_TORCH_SUFFIXES)}. Got {str(path)!r}: convert it"
        )
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    items = content.items() if isinstance(content, dict) else ()
    weights = {_bare(name): value for name, value in items if isinstance(name, str) and isinstance(value, Tensor)}
    if not weights:
        raise InputError(f"model.weights must hold tensors by name. {path} holds none: save the network's state_dict")
    return weights


def _bare(name: str) -> str:
    """A key without the prefixes that data parallel and compiled networks put before it."""
    while name.startswith(("module.", "_orig_mod.")):
        name = name.partition(".")[2]
    return name


def _timm_filtered(model: nn.Module, weights: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The weights renamed and resized by timm's own filter of the network, where it has one."""
    module = sys.modules[type(model).__module__]
    keep = getattr(module, "checkpoint_filter_fn", None)
    if keep is None or not module.__name__.startswith("timm."):
        return weights
    try:
        arguments = (weights, model)[: len(inspect.signature(keep).parameters)]
        filtered = keep(*arguments)
    except _FOREIGN as error:
        raise InputError(
            f"model.weights must hold the weights of the network in model.name. {path} does not "
            f"({type(error).__name__}: {str(error)[:120]}): set model.name to the network it was made with"
        ) from None
    return {name: value for name, value in filtered.items() if isinstance(value, Tensor)}


def head_prefixes(model: nn.Module) -> tuple[str, ...]:
    """Prefixes of the classifier's keys: timm's `get_classifier`, else the last linear layer."""
    classifier: Any = getattr(model, "get_classifier", None)
    if classifier is not None:
        found = classifier()
        heads = list(found) if isinstance(found, (tuple, list)) else [found]
    else:
        heads = [module for module in model.modules() if isinstance(module, nn.Linear)][-1:]
    return tuple(f"{name}." for name, module in model.named_modules() if any(module is head for head in heads))


def first_conv(model: nn.Module) -> str:
    """Name of the convolution that sees the image; "" where there is none."""
    known = getattr(model, "pretrained_cfg", {}).get("first_conv")
    if isinstance(known, str):
        return known
    convs = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    return convs[0] if convs and known is None else ""


def _adapt_channels(weight: Tensor, target: Tensor, channels: int) -> Tensor:
    """A convolution's weight (out, in, height, width) for other channels, so that its outputs keep their size.

    As timm does: summed for one channel, else repeated in turn and scaled by the ratio of the channels.
    """
    plain = weight.ndim == target.ndim == 4 and target.shape[1] == channels
    if not plain or weight.shape[1] == channels:
        return weight
    if channels == 1:
        return weight.float().sum(1, keepdim=True)
    source = weight.shape[1]
    return weight.float()[:, [number % source for number in range(channels)]] * (source / channels)


def _log_difference(path: Path, missing: Sequence[str], left_over: Sequence[str]) -> None:
    if missing or left_over:
        log.info("%s: %s; %s", path, _listed(missing, "missing"), _listed(left_over, "not used"))


def _listed(names: Sequence[str], what: str) -> str:
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return f"{len(names)} {what}" + (f" ({shown})" if names else "")
