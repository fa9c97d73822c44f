import pytest
import torch
from torch.nn import functional

from pipeline.model.networks import MLP, CifarNet, LeNet5, Net, ResNet9

OWN = [LeNet5, Net, MLP, ResNet9, CifarNet]


def num_parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("network", OWN)
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("num_outputs", [1, 10])
@pytest.mark.parametrize("more", [0, 1, 17])
def test_gives_logits(network, channels, num_outputs, more):
    size = network.min_size + more
    model = network(size, channels, num_outputs)
    logits = model(torch.randn(3, channels, size, size))
    assert logits.shape == (3, num_outputs)
    assert logits.isfinite().all()
    logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)


@pytest.mark.parametrize("network", [LeNet5, Net, CifarNet])
def test_minimum_size_is_the_least_possible(network):
    model = network(network.min_size, 3, 2)
    with pytest.raises(RuntimeError):
        model(torch.zeros(2, 3, network.min_size - 1, network.min_size - 1))


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (lambda: LeNet5(28, 1, 10), 61_706),
        (lambda: Net(32, 3, 10), 62_006),
        (lambda: MLP(32, 3, 2), 3072 * 512 + 512 + 512 * 2 + 2),
        (lambda: ResNet9(32, 3, 10), 6_573_120),
        (lambda: CifarNet(32, 3, 10), 1_972_792),
    ],
)
def test_has_the_published_number_of_parameters(network, expected):
    assert num_parameters(network()) == expected


@pytest.mark.parametrize("network", OWN)
def test_dropout_acts_in_training_only(network):
    images = torch.randn(4, 3, 16, 16)
    model = network(16, 3, 5, dropout=0.5).eval()
    assert torch.equal(model(images), model(images))
    model.train()
    assert not torch.equal(model(images), model(images))


def test_outputs_are_logits_not_probabilities():
    for network in OWN:
        logits = network(16, 3, 5).eval()(10 * torch.randn(8, 3, 16, 16))
        assert not torch.allclose(logits.exp().sum(1), torch.ones(8), atol=1e-3)
        assert (logits < 0).any() and (logits > 0).any()


def test_resnet9_is_the_published_net():
    """The forward pass written out anew, in the order of the paper's text: pooling after relu."""
    model = ResNet9(16, 3, 10, width=4).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(module.weight, -1, 1)

    def conv(block, x):
        return functional.relu(block.norm(block.conv(x)))

    def residual(block, x):
        return x + conv(block.conv2, conv(block.conv1, x))

    images = torch.randn(2, 3, 16, 16)
    x = conv(model.prep, images)
    x = residual(model.layer1[1], functional.max_pool2d(conv(model.layer1[0], x), 2))
    x = functional.max_pool2d(conv(model.layer2, x), 2)
    x = residual(model.layer3[1], functional.max_pool2d(conv(model.layer3[0], x), 2))
    expected = 0.125 * functional.max_pool2d(x, 2).flatten(1) @ model.linear.weight.T
    torch.testing.assert_close(model(images), expected)


@pytest.mark.parametrize("width", [1, 8])
def test_resnet9_has_the_width_asked_for(width):
    model = ResNet9(8, 1, 2, width=width)
    assert model.prep.conv.out_channels == width
    assert model.linear.in_features == 8 * width


def test_whitened_patches_are_uncorrelated_and_of_variance_one():
    model = CifarNet(16, 3, 2)
    smooth = functional.interpolate(torch.randn(50, 3, 6, 6), size=(16, 16), mode="bilinear")
    images = smooth + 0.3 * torch.randn(50, 3, 16, 16)
    model.whiten(images, eps=1e-9)
    with torch.no_grad():
        outputs = model.whitening(images).transpose(0, 1).flatten(1)
    second_moments = outputs[:12] @ outputs[:12].T / outputs.shape[1]
    assert torch.allclose(second_moments, torch.eye(12), atol=1e-3)
    assert torch.equal(outputs[12:], -outputs[:12])
    assert not model.whitening.weight.requires_grad and model.whitening.bias.requires_grad
