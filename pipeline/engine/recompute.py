"""Less memory for more time: activations inside blocks are not kept but computed again in the backward pass.

Gradient checkpointing (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost"), as timm's networks have it.
"""

import contextlib
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.utils.checkpoint import CheckpointError

from pipeline.config import ConfigError


def recompute(model: nn.Module, name: str, size: int, channels: int) -> None:
    """Have a network compute its activations again in the backward pass.

    It is tried on one black image, as some networks take the wish and ignore it.

    Args:
        model: on the CPU; left in training mode, without gradients.
        name: of the network.
        size: height and width of the images, in pixels.
        channels: of the images.

    Raises:
        ConfigError: it cannot.
    """
    can, enable = False, getattr(model, "set_grad_checkpointing", None)
    if enable is not None:
        # How timm's networks say that they cannot, and torch that a network computes something else the second time.
        with contextlib.suppress(AssertionError, CheckpointError):
            enable(True)
            can = _computes_again(model.eval(), size, channels)
        model.train().zero_grad(set_to_none=True)
    if not can:
        raise ConfigError(f"train.grad_checkpointing must be false for {name}, which cannot do so. Got true")


def _computes_again(model: nn.Module, size: int, channels: int) -> bool:
    """Whether any layer is run in the backward pass."""
    again: list[nn.Module] = []
    logits = model(torch.zeros(1, channels, size, size))
    watch = register_module_forward_pre_hook(lambda layer, _: again.append(layer))
    try:
        logits.sum().backward()
    finally:
        watch.remove()
    return bool(again)


@contextlib.contextmanager
def statistics_kept(model: nn.Module) -> Iterator[None]:
    """Leave the running statistics of batch norms as the forward pass made them, whatever is computed again.

    Each batch would count twice in them otherwise. Without statistics a norm would save other tensors for the backward
    pass than before, which torch refuses; so it updates them by a share of 0.
    """
    norms = [each for each in model.modules() if isinstance(each, _BatchNorm) and each.track_running_stats]
    known = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, known, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
