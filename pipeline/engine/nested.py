"""Nested values as tensors by name and plain JSON, and back: what an optimizer keeps, in files that hold no code."""

from typing import Any

import torch
from torch import Tensor


def take_apart(value: Any) -> tuple[dict[str, Tensor], Any]:
    """Split a nested value into its tensors and the rest.

    Args:
        value: dictionaries (whose keys are text or whole numbers), lists and tuples of each other, tensors, torch's
            dtypes, numbers, text and None.

    Returns:
        Copies of the tensors, contiguous and on the CPU, by names that stand in the rest; the rest as JSON values.

    Raises:
        TypeError: there is something else in it.
    """
    tensors: dict[str, Tensor] = {}
    return tensors, _described(value, tensors)


def _described(value: Any, tensors: dict[str, Tensor]) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dict):
        if wrong := [key for key in value if not isinstance(key, (str, int))]:
            raise TypeError(f"keys must be text or whole numbers. Got {wrong[0]!r}")
        return {"dict": [[key, _described(item, tensors)] for key, item in value.items()]}
    if isinstance(value, list):
        return [_described(item, tensors) for item in value]
    if type(value) is tuple:
        return {"tuple": [_described(item, tensors) for item in value]}
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = torch.empty(value.shape, dtype=value.dtype).copy_(value.detach())
        # Fused optimizers read a parameter and its state side by side: they must lie alike in memory.
        return {"tensor": name, "stride": torch.empty_like(value, device="meta").stride()}
    raise TypeError(f"values must be tensors, numbers, text or collections of these. Got a {type(value).__name__}")


def put_together(tensors: dict[str, Tensor], described: Any) -> Any:
    """The value that was taken apart; its tensors are new ones on the CPU, in the memory format that they had."""
    if isinstance(described, list):
        return [put_together(tensors, item) for item in described]
    if not isinstance(described, dict):
        return described
    if "dict" in described:
        return {key: put_together(tensors, item) for key, item in described["dict"]}
    if "tuple" in described:
        return tuple(put_together(tensors, item) for item in described["tuple"])
    if "dtype" in described:
        return getattr(torch, described["dtype"])
    tensor = tensors[described["tensor"]]
    return torch.empty_strided(tensor.shape, described["stride"], dtype=tensor.dtype).copy_(tensor)
