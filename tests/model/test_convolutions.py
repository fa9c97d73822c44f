"""What convolutions a network calls, and on which maps."""

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.config import ModelConfig
from pipeline.model.build import build_model
from pipeline.model.convolutions import Convolution, convolutions


class _ByFunction(nn.Module):
    """A network whose convolution is no layer."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(6, 1, 3, 1))
        self.options = options

    def forward(self, images: Tensor) -> Tensor:
        return functional.conv2d(images, self.weight, groups=3, **self.options)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ((1, 1), (0, 0), (1, 1))),
        ({"stride": (2, 1), "padding": (1, 0)}, ((2, 1), (1, 0), (1, 1))),
        ({"stride": 2, "padding": 1, "dilation": 3}, ((2, 2), (1, 1), (3, 3))),
        ({"padding": "same"}, ((1, 1), "same", (1, 1))),
    ],
)
def test_a_call_is_seen_whoever_makes_it(options: dict[str, Any], expected: tuple[Any, Any, Any]) -> None:
    assert convolutions(_ByFunction(**options), (3, 8, 5)) == [Convolution((3, 8, 5), (6, 1, 3, 1), *expected, 3)]


@pytest.mark.parametrize("training", [True, False])
def test_the_network_keeps_its_mode_and_its_statistics(training: bool) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train(training)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    convolutions(model, (3, 8, 8))
    assert model.training == training and model[1].training == training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("name", "size", "pads"), [("test_resnet", 32, 0), ("test_vit", 160, 0), ("tf_mixnet_s", 32, 1)]
)
def test_maps_are_those_that_the_layers_read(name: str, size: int, pads: int) -> None:
    """Against torch's own hooks; a layer that pads as TensorFlow does so before it calls its convolution."""
    model = timm.create_model(name, num_classes=3).eval()
    read: list[tuple[int, ...]] = []
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda layer, inputs, output: read.append(tuple(inputs[0].shape[1:])))
    calls = convolutions(model, (3, size, size))
    assert len(calls) == len(read) > 0
    maps = [call.map for call in calls]
    assert (maps != read) == pads
    assert all(a[0] == b[0] and a[1] >= b[1] and a[2] >= b[2] for a, b in zip(maps, read, strict=True))


def test_the_last_stage_of_resnet18_steps_over_a_pixel_at_16_px() -> None:
    """By hand: 16 px, halved by the stem and by its pooling, then by each of three stages, twice beside each other."""
    calls = convolutions(build_model(ModelConfig(name="resnet18"), 16, 3, 3, 0), (3, 16, 16))
    strided = [(call.map[1], call.stride[0]) for call in calls if call.stride[0] > 1]
    assert strided == [(16, 2), (4, 2), (4, 2), (2, 2), (2, 2), (1, 2), (1, 2)]
