"""The convolutions of a network, and the maps that they meet."""

from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode


class Convolution(NamedTuple):
    """A convolution as it is called; pairs are of height, then width.

    map: channels, height and width of what it reads.
    weight: channels of what it gives, channels of a group of what it reads, height and width of its kernel.
    """

    map: tuple[int, ...]
    weight: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every call of a convolution, whichever layer or function makes it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[Convolution] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.convolution.default:
            images, weight, _, stride, padding, dilation, _, _, groups = args
            shapes = tuple(images.shape[1:]), tuple(weight.shape)
            self.calls.append(Convolution(*shapes, tuple(stride), tuple(padding), tuple(dilation), groups))
        return func(*args, **(kwargs or {}))


def convolutions(model: nn.Module, shape: tuple[int, int, int]) -> list[Convolution]:
    """Every convolution that one black image of this shape (channels, height, width) meets, in their order.

    The network is on the CPU, in float32; it is left in the mode that it was in.
    """
    was_training = model.training
    # Not inference_mode: tables that a network keeps from its first image must be usable in training.
    with torch.no_grad(), _Recorder() as recorder:
        model.eval()(torch.zeros(1, *shape))
    model.train(was_training)
    return recorder.calls
