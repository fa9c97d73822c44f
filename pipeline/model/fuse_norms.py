"""Batch norms folded into the convolutions before them: fewer passes over memory in inference.

Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
section 3.2. Which norm follows which convolution is seen in a pass over a few images, so that any network will do, and
the folded network is taken only where it gives what the whole one gave.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

_NUM_IMAGES = 2
# Of the largest output: rounding differs, the network does not.
_TOLERANCE = 1e-3


def fuse_norms(model: nn.Module, size: int, channels: int) -> nn.Module:
    """Fold a network's batch norms into its convolutions, in evaluation mode; itself where none can be.

    Args:
        model: on the CPU, in float32; not changed.
        size: height and width of the images, in pixels.
        channels: of the images.
    """
    model = model.eval()
    if not has_norms(model):
        return model
    folded = copy.deepcopy(model)
    images = torch.randn(_NUM_IMAGES, channels, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        pairs = _foldable_pairs(folded, images)
        for conv, norm in pairs:
            _fold(conv, norm)
        _exchange(folded, {norm: _rest(norm) for _, norm in pairs})
        expected, got = model(images), folded(images)
    return folded if bool((got - expected).abs().max() <= _TOLERANCE * expected.abs().max()) else model


def has_norms(model: nn.Module) -> bool:
    """Whether a network has batch norms that might be folded."""
    return any(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def _foldable_pairs(model: nn.Module, images: Tensor) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Find convolutions and the batch norms that read their output, both used once in a pass."""
    outputs: dict[int, tuple[nn.Conv2d, Tensor]] = {}
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []
    used: list[nn.Module] = []

    def after_conv(module: nn.Module, inputs: Any, output: Tensor) -> None:
        used.append(module)
        assert isinstance(module, nn.Conv2d)
        # The tensor is kept, so that no other gets its id.
        outputs[id(output)] = (module, output)

    def before_norm(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        used.append(module)
        assert isinstance(module, nn.BatchNorm2d)
        if id(inputs[0]) in outputs and module.running_mean is not None:
            pairs.append((outputs[id(inputs[0])][0], module))

    hooks = []
    for module in model.modules():
        # Subclasses may change their weights in every pass, as weight standardisation does.
        if type(module).__name__ in ("Conv2d", "Conv2dSame"):
            hooks.append(module.register_forward_hook(after_conv))
        elif isinstance(module, nn.BatchNorm2d):
            hooks.append(module.register_forward_pre_hook(before_norm))
    model(images)
    for hook in hooks:
        hook.remove()
    return [pair for pair in pairs if all(sum(module is other for other in used) == 1 for module in pair)]


def _fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    assert norm.running_mean is not None and norm.running_var is not None
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )


def _rest(norm: nn.BatchNorm2d) -> nn.Module:
    """Keep what a norm does besides: timm's also drop and activate."""
    layers = [layer for layer in norm.children() if not isinstance(layer, nn.Identity)]
    return nn.Sequential(*layers) if layers else nn.Identity()


def _exchange(model: nn.Module, replaced: dict[nn.Module, nn.Module]) -> None:
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if child in replaced:
                setattr(parent, name, replaced[child])
