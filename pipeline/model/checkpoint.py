"""A trained model in one file: weights, settings, classes and normalisation; equal models are equal bytes."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from pipeline.competition.answers.task import Task
from pipeline.files import InputError, atomic_write

_KEY = "checkpoint"


@dataclass(frozen=True)
class Checkpoint:
    """All that it takes to predict.

    weights: the network's `state_dict`, on any device; on the CPU when read.
    config: the settings that the model was trained with, as plain JSON values (lists, not tuples; text as keys).
    task: what it predicts; its classes are in the order of the network's outputs.
    normalisation: mean and standard deviation per channel, of pixels in [0, 1].
    fold: the fold that it has not seen, or `full`.
    prior: the train classes' shares (a number's mean): what is said of an image that cannot be read.
    network: timm's own name of a network that was fetched by another; "" for all others.
    smallest_size: height and width of the smallest images that it was trained on, in pixels; models from before there
        were growing sizes had none smaller.
    """

    weights: dict[str, Tensor]
    config: dict[str, Any]
    task: Task
    normalisation: tuple[tuple[float, ...], tuple[float, ...]]
    fold: str
    prior: tuple[float, ...]
    network: str
    smallest_size: int


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically as safetensors.

    Tensors are stored contiguous, tied ones each by itself; the rest is sorted JSON under one metadata key. So the
    bytes depend on the values alone, not on devices, memory formats or the order of dictionaries.

    Raises:
        TypeError, ValueError: `config` is not plain JSON, or something holds NaN.
    """
    extra = {
        "task": asdict(checkpoint.task),
        "part": checkpoint.fold,
        "prior": checkpoint.prior,
        "network": checkpoint.network,
        "smallest_size": checkpoint.smallest_size,
    }
    values = {
        "config": checkpoint.config,
        "classes": checkpoint.task.classes,
        "normalisation": checkpoint.normalisation,
        "extra": extra,
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
        config, extra = _checked(values["config"], dict), _checked(values["extra"], dict)
        task = Task.of(_checked(extra["task"], dict))
        if _checked(values["classes"], list) != list(task.classes):
            raise ValueError("its classes are not those of its task")
        return Checkpoint(
            weights=weights,
            config=config,
            task=task,
            normalisation=(tuple(float(value) for value in mean), tuple(float(value) for value in std)),
            fold=_checked(extra["part"], str),
            prior=tuple(float(share) for share in extra["prior"]),
            network=_checked(extra["network"], str),
            smallest_size=int(extra["smallest_size"]) if "smallest_size" in extra else int(config["image"]["size"]),
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
