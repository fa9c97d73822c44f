"""A trained model in one file: weights, settings, classes and normalisation; equal models are equal bytes."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from pipeline.files import InputError, atomic_write

_KEY = "checkpoint"


@dataclass(frozen=True)
class Checkpoint:
    """All that it takes to predict.

    weights: the network's `state_dict`, on any device; on the CPU when read.
    config: the settings that the model was trained with, as plain JSON values (lists, not tuples; text as keys).
    classes: the labels in the order of the network's outputs.
    normalisation: mean and standard deviation per channel, of pixels in [0, 1].
    extra: more plain JSON values.
    """

    weights: dict[str, Tensor]
    config: dict[str, Any]
    classes: tuple[str, ...]
    normalisation: tuple[tuple[float, ...], tuple[float, ...]]
    extra: dict[str, Any]


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically as safetensors.

    Tensors are stored contiguous, tied ones each by itself; the rest is sorted JSON under one metadata key. So the
    bytes depend on the values alone, not on devices, memory formats or the order of dictionaries.

    Raises:
        TypeError, ValueError: `config`, `extra` or the rest is not plain JSON, or holds NaN.
    """
    values = {
        "config": checkpoint.config,
        "classes": checkpoint.classes,
        "normalisation": checkpoint.normalisation,
        "extra": checkpoint.extra,
    }
    text = json.dumps(values, sort_keys=True, ensure_ascii=True, allow_nan=False)
    # Always cloned: safetensors refuses tensors that share memory, as tied weights and views do.
    weights = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in checkpoint.weights.items()
    }
    content = safetensors.torch.save(weights, {_KEY: text})
    with atomic_write(path) as stream:
        stream.write(content)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint back; no code in it is run.

    Raises:
        InputError: there is no such file, it is not whole, or it is not one of `save_checkpoint`.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist. It is made by: python -m pipeline.train")
    weights, metadata = read_safetensors(path)
    return _described(path, weights, metadata)


def _described(path: Path, weights: dict[str, Tensor], metadata: dict[str, str]) -> Checkpoint:
    """Join the weights and what a file's metadata say of them; see `read_checkpoint`."""
    try:
        values = json.loads(metadata[_KEY])
        mean, std = values["normalisation"]
        return Checkpoint(
            weights=weights,
            config=_checked(values["config"], dict),
            classes=tuple(_checked(name, str) for name in _checked(values["classes"], list)),
            normalisation=(tuple(float(value) for value in mean), tuple(float(value) for value in std)),
            extra=_checked(values["extra"], dict),
        )
    except (LookupError, TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path} must be a model of this pipeline, with settings and classes. Got a safetensors file without them "
            f"({type(error).__name__}: {str(error)[:80]}). Delete it and run again: python -m pipeline.train"
        ) from None


def saved_normalisation(path: Path) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Read the normalisation that a file's weights were trained with; None where it is not a checkpoint of this module.

    The weights themselves are not read.
    """
    metadata = _metadata(path)
    return _described(path, {}, metadata).normalisation if _KEY in metadata else None


def _metadata(path: Path) -> dict[str, str]:
    """Read the metadata of a safetensors file; empty for files of another type."""
    if path.suffix != ".safetensors":
        return {}
    with safetensors.safe_open(path, framework="pt", device="cpu") as file:
        return dict(file.metadata() or {})


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read tensors by name, on the CPU, and the metadata of a safetensors file.

    Raises:
        InputError: the file is not whole, its header does not describe its content, or it cannot be read.
    """
    try:
        with safetensors.safe_open(path, framework="pt", device="cpu") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return weights, dict(file.metadata() or {})
    except (
        safetensors.SafetensorError,
        OSError,
        ValueError,
        TypeError,
        LookupError,
        RuntimeError,
        OverflowError,
    ) as error:
        raise InputError(
            f"{path} must be a whole safetensors file. Got: {str(error).splitlines()[0][:160]}. "
            "Bring or make the file again"
        ) from None


def _checked(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{kind.__name__} wanted, {type(value).__name__} found")
    return value
