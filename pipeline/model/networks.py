"""The small networks that timm does not have; each gives logits (batch, num_outputs)."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class LeNet5(nn.Module):
    """LeNet-5 in its modern form: relu and max pooling instead of tanh and trained subsampling.

    Gradient-based learning applied to document recognition (LeCun et al. 1998), page 7. Images of 28 px are padded by 2
    to the 32 px of the paper; 61,706 parameters with one channel and ten outputs. Weights start as He et al. 2015
    (Delving deep into rectifiers, equation 10) gives for relu: after one epoch of MNIST at the rate 0.01 it is at
    95.6 %, from PyTorch's own start at 93.6 % (means of three seeds, on images held out of the train images).

    Args:
        size: height and width, at least `min_size` pixels.
        channels: of the images.
        num_outputs: logits per image.
        dropout: probability before the classifier.
    """

    min_size = 12
    padding = 2

    def __init__(self, size: int, channels: int, num_outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        side = ((size + 2 * self.padding - 4) // 2 - 4) // 2
        self.conv1 = nn.Conv2d(channels, 6, 5, padding=self.padding)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * side * side, 120)
        self.fc2 = nn.Linear(120, 84)
        self.dropout = nn.Dropout(dropout)
        self.fc3 = nn.Linear(84, num_outputs)
        self.initialise()

    def initialise(self) -> None:
        """Draw the first weights."""
        for layer in (self.conv1, self.conv2, self.fc1, self.fc2, self.fc3):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> Tensor:
        """(batch, channels, size, size) -> logits (batch, num_outputs)."""
        x = functional.max_pool2d(functional.relu(self.conv1(images)), 2)
        x = functional.max_pool2d(functional.relu(self.conv2(x)), 2)
        x = functional.relu(self.fc1(x.flatten(1)))
        x = functional.relu(self.fc2(x))
        return self.fc3(self.dropout(x))


class Net(LeNet5):
    """The network of PyTorch's tutorial "Training a classifier": LeNet-5 without padding, from PyTorch's own start.

    62,006 parameters at 32 px, 3 channels, 10 outputs.
    """

    min_size = 16
    padding = 0

    def initialise(self) -> None:
        """Leave the weights as PyTorch draws them."""


class MLP(nn.Module):
    """Pixels - 512 - tanh - logits: the fully connected network of Deep Learning with PyTorch (2020), chapter 7.

    Args:
        size: height and width in pixels.
        channels: of the images.
        num_outputs: logits per image.
        dropout: probability before the classifier.
    """

    min_size = 1

    def __init__(self, size: int, channels: int, num_outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels * size * size, 512)
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(512, num_outputs)

    def forward(self, images: Tensor) -> Tensor:
        """(batch, channels, size, size) -> logits (batch, num_outputs)."""
        return self.fc2(self.dropout(torch.tanh(self.fc1(images.flatten(1)))))


class _ConvNorm(nn.Module):
    """3x3 convolution, batch norm, relu, and max pooling by 2 where asked for."""

    def __init__(self, channels_in: int, channels_out: int, *, pool: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels_out)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        # Pooling first gives the same values, as relu keeps the order, and leaves relu a quarter of the work.
        return functional.relu(functional.max_pool2d(x, 2) if self.pool else x, inplace=True)


class _Residual(nn.Module):
    """x + two convolutions of x."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = _ConvNorm(channels, channels)
        self.conv2 = _ConvNorm(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(self.conv1(x))


class ResNet9(nn.Module):
    """ResNet-9 of "How to train your ResNet" (David Page 2018, part 4; cifar10-fast): 6,573,120 parameters at width 64.

    Its logits are scaled by 0.125: large logits early in a short training at high learning rates are what it prevents.

    Args:
        size: height and width, at least `min_size` pixels.
        channels: of the images.
        num_outputs: logits per image.
        dropout: probability before the classifier.
        width: channels after the first convolution; the last have 8 times as many.
    """

    min_size = 8
    logit_scale = 0.125

    def __init__(self, size: int, channels: int, num_outputs: int, dropout: float = 0.0, width: int = 64) -> None:
        super().__init__()
        assert size >= self.min_size, "three poolings must leave a pixel"
        self.prep = _ConvNorm(channels, width)
        self.layer1 = nn.Sequential(_ConvNorm(width, 2 * width, pool=True), _Residual(2 * width))
        self.layer2 = _ConvNorm(2 * width, 4 * width, pool=True)
        self.layer3 = nn.Sequential(_ConvNorm(4 * width, 8 * width, pool=True), _Residual(8 * width))
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(8 * width, num_outputs, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """(batch, channels, size, size) -> logits (batch, num_outputs)."""
        x = self.layer3(self.layer2(self.layer1(self.prep(images))))
        # amax, not adaptive_max_pool2d: the gradient of that one is not deterministic on CUDA.
        return self.linear(self.dropout(x.amax((2, 3)))) * self.logit_scale


class _ConvPair(nn.Module):
    """Two 3x3 convolutions with batch norm (without a scale of its own) and gelu; max pooling by 2 after the first."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.norm1, self.norm2 = (nn.BatchNorm2d(channels_out, momentum=0.4) for _ in range(2))
        for norm in (self.norm1, self.norm2):
            norm.weight.requires_grad = False
        for conv in (self.conv1, self.conv2):
            # What comes in is passed on at first, in as many channels as there are.
            nn.init.dirac_(conv.weight[: conv.in_channels].data)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.gelu(self.norm1(functional.max_pool2d(self.conv1(x), 2)))
        return functional.gelu(self.norm2(self.conv2(x)))


class CifarNet(nn.Module):
    """The network of "94% on CIFAR-10 in 3.29 Seconds on a Single GPU" (Jordan 2024), section 3: made for 32 px.

    Its first layer is fixed: it whitens patches of 2 x 2 pixels by the statistics of the training images (`whiten`).
    1,970,000 parameters at width 64, 3 channels, 10 outputs.

    Args:
        size: height and width, at least `min_size` pixels.
        channels: of the images.
        num_outputs: logits per image.
        dropout: probability before the classifier.
        width: channels of the first pair of convolutions; the other two pairs have 4 times as many.
    """

    min_size = 9
    # As in its code: with 1 / (4 width), logits were too small to fit smoothed labels, and 0.8 points were lost.
    logit_scale = 1 / 9

    def __init__(self, size: int, channels: int, num_outputs: int, dropout: float = 0.0, width: int = 64) -> None:
        super().__init__()
        num_filters = 2 * channels * 4
        self.whitening = nn.Conv2d(channels, num_filters, 2)
        self.whitening.weight.requires_grad = False
        nn.init.zeros_(self.whitening.bias)  # type: ignore[arg-type]
        self.pairs = nn.Sequential(
            _ConvPair(num_filters, width), _ConvPair(width, 4 * width), _ConvPair(4 * width, 4 * width)
        )
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(4 * width, num_outputs, bias=False)
        nn.init.normal_(self.linear.weight)

    @torch.no_grad()
    def whiten(self, images: Tensor, eps: float = 5e-4) -> None:
        """Set the first layer by normalised training images (num_images, channels, size, size), float32.

        Its filters are the principal directions of their patches, each scaled to variance 1, and their negatives.
        """
        patches = images.unfold(2, 2, 1).unfold(3, 2, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, images.shape[1] * 4)
        patches = patches.double()
        variances, directions = torch.linalg.eigh(patches.T @ patches / len(patches))
        filters = (directions / (variances + eps).sqrt()).T.flip(0)
        # The sign of a direction is the library's choice: its largest element is made positive.
        filters = filters * filters.gather(1, filters.abs().argmax(1, keepdim=True)).sign()
        filters = filters.float().view(-1, images.shape[1], 2, 2)
        self.whitening.weight.copy_(torch.cat([filters, -filters]))

    def forward(self, images: Tensor) -> Tensor:
        """(batch, channels, size, size) -> logits (batch, num_outputs)."""
        x = self.pairs(functional.gelu(self.whitening(images)))
        return self.linear(self.dropout(x.amax((2, 3)))) * self.logit_scale
