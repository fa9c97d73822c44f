"""The convolutions of a network, and the maps that they meet."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


class Convolution(NamedTuple):
    """A convolution as it is called; pairs are of height, then width.

    map: channels, height and width of what it reads.
    weight: channels of what it gives, channels of a group of what it reads, height and width of its kernel.
    padding: pixels, or torch's word for them.
    """

    map: tuple[int, ...]
    weight: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...] | str
    dilation: tuple[int, ...]
    groups: int

    @property
    def steps_over(self) -> bool:
        """Whether a side of its map is smaller than its stride."""
        return any(side < stride for side, stride in zip(self.map[1:], self.stride, strict=True))


class _Recorder(TorchFunctionMode):
    """Sees every call of `torch.conv2d` (and of `functional.conv2d`, which it is): all that layers in Python make."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Convolution] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.conv2d:
            self.calls.append(_described(*args, **(kwargs or {})))
        return func(*args, **(kwargs or {}))


def _described(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, ...] = 1,
    padding: int | tuple[int, ...] | str = 0,
    dilation: int | tuple[int, ...] = 1,
    groups: int = 1,
) -> Convolution:
    """Describe a call, by the names and defaults of torch.conv2d."""
    shapes = tuple(input.shape[-3:]), tuple(weight.shape)
    return Convolution(
        *shapes, _pair(stride), padding if isinstance(padding, str) else _pair(padding), _pair(dilation), groups
    )


def _pair(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return (value, value) if isinstance(value, int) else tuple(value)


def convolutions(model: nn.Module, shape: tuple[int, int, int]) -> list[Convolution]:
    """List every two-dimensional convolution that one black image (channels, height, width) meets, in their order.

    The network is on the CPU, in float32; it is left in the mode that it was in.
    """
    was_training = model.training
    # Not inference_mode: tables that a network keeps from its first image must be usable in training.
    with torch.no_grad(), _Recorder() as recorder:
        model.eval()(torch.zeros(1, *shape))
    model.train(was_training)
    return recorder.calls
