"""A file of weights, as safetensors or `torch.save` wrote it -> its tensors by name. No code in it is run."""

import argparse
import re
import struct
from collections import deque
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.files import InputError
from pipeline.model.checkpoint import read_safetensors

# .ckpt is Lightning's, .pth.tar that of timm's and torch's own training scripts.
_TORCH_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".tar")
# Dictionaries in dictionaries; nobody wraps weights deeper.
_LEVELS = 8
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


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read tensors by name, on the CPU, in the file's order.

    Where dictionaries lie in dictionaries, a name begins with their keys: `state_dict.conv1.weight`.

    Args:
        path: .safetensors, or what `torch.save` wrote: .pth, .pt, .bin, .ckpt, .tar.

    Raises:
        InputError: there is no such file, it is of another type, damaged, holds code, or holds no tensors.
    """
    weights = _by_name(read_content(path))
    if not weights:
        raise InputError(f"a file of weights must hold tensors by name. {path} holds none: save a network's state_dict")
    return weights


def read_content(path: Path) -> Any:
    """Read what a file of weights holds, on the CPU: tensors by name, or what they were saved with.

    Raises:
        InputError: see `read_weights`.
    """
    if not path.is_file():
        raise InputError(f"model.weights must be an existing file or folder. Got {str(path)!r}")
    if path.suffix == ".safetensors":
        return read_safetensors(path)[0]
    if path.suffix in _TORCH_SUFFIXES:
        return _unpickled(path)
    raise InputError(
        f"a file of weights must end in .safetensors, {', '.join(_TORCH_SUFFIXES)}. Got {str(path)!r}: convert it"
    )


def _unpickled(path: Path) -> Any:
    try:
        # A namespace is the settings that timm's training script saves beside its weights: values and no code.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except (*_DAMAGED, OSError) as error:
        text = str(error)
        # "... unsupported GLOBAL posix.system ...": what it would have to import.
        if code := re.search(r"GLOBAL ([\w.]+)", text):
            raise InputError(
                f"a file of weights must hold tensors and plain values; code in it is not run. {path} asks for "
                f"{code[1]}. Where you trust the file, torch.load it with weights_only=False and torch.save the "
                "network's state_dict alone"
            ) from None
        reason = re.search(r"WeightsUnpickler error:\s*(.+)|^\s*(.+)", text)
        raise InputError(
            "a file of weights must be whole and written by torch.save; code in it is not run. "
            f"{path} gives {type(error).__name__}{f': {reason[reason.lastindex or 0][:120]}' if reason else ''}. "
            "Bring the file again, or save its tensors as safetensors where you trust it"
        ) from None


def _by_name(content: Any) -> dict[str, Tensor]:
    """Find the tensors in dictionaries of dictionaries; a dictionary that is there twice counts once."""
    weights: dict[str, Tensor] = {}
    waiting = deque([("", content, 0)])
    seen: set[int] = set()
    while waiting:
        prefix, values, level = waiting.popleft()
        if not isinstance(values, dict) or level == _LEVELS or id(values) in seen:
            continue
        seen.add(id(values))
        for key, value in values.items():
            if isinstance(key, str) and isinstance(value, Tensor):
                weights[prefix + key] = value
            elif isinstance(key, str):
                waiting.append((f"{prefix}{key}.", value, level + 1))
    return weights
