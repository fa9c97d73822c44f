"""Folding: the same outputs from fewer layers, whatever the network; never another network."""

import pytest
import torch
from torch import Tensor, nn

from pipeline.config import ModelConfig
from pipeline.model.build import build_model
from pipeline.model.fuse_norms import fuse_norms


def trained(name: str) -> nn.Module:
    """A network whose norms have something to fold."""
    model = build_model(ModelConfig(name=name), 64, 3, 5, 0)
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.weight.data, module.bias.data):
                tensor.add_(torch.randn(tensor.shape, generator=generator) * 0.2)
            module.running_var.mul_(torch.rand(module.running_var.shape, generator=generator) + 0.5)
    return model


def num_norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


@pytest.mark.parametrize("name", ["resnet9", "resnet18", "efficientnet_b0", "tf_efficientnet_lite0", "regnetx_002"])
def test_every_norm_is_folded_and_the_outputs_stay(name: str) -> None:
    model = trained(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    folded = fuse_norms(model, 64, 3)
    assert num_norms(model) > 0 and num_norms(folded) == 0
    images = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        expected, got = model.eval()(images), folded(images)
    assert (got - expected).abs().max() < 1e-3 * expected.abs().max()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items()), "not changed"


@pytest.mark.parametrize("name", ["lenet5", "mlp", "test_vit"])
def test_networks_without_such_norms_are_left(name: str) -> None:
    model = trained(name)
    images = torch.randn(2, 3, 64, 64)
    folded = fuse_norms(model, 64, 3)
    with torch.no_grad():
        assert torch.equal(folded(images), model.eval()(images))


class _ReadTwice(nn.Module):
    """The convolution is read by its norm and by another path."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.norm.running_mean += 1.0

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv(images)
        return (self.norm(x) + x).mean((2, 3))


class _UsedTwice(nn.Module):
    """One convolution before two norms."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.norm1, self.norm2 = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.norm1.running_mean += 1.0

    def forward(self, images: Tensor) -> Tensor:
        return self.norm2(self.conv(self.norm1(self.conv(images)))).mean((2, 3))


@pytest.mark.parametrize("network", [_ReadTwice, _UsedTwice])
def test_what_cannot_be_folded_is_not(network: type[nn.Module]) -> None:
    model = network()
    assert num_norms(fuse_norms(model, 8, 3)) == num_norms(model)
