"""Operations on pixel values: every sample of a batch its own operation and magnitude.

What maps a level to a level, whatever its place (brightness, contrast, posterize, solarize, autocontrast, equalize,
invert), becomes one table of 256 levels per sample and channel, looked up once. Definitions and rounding are those of
torchvision's tensor kernels (torchvision.transforms.v2.functional), within one level. Grey is computed in integers and
elsewhere products and sums are separate, so an image's result is the same bits in any batch.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.images.augment.geometry import blocks, put_rows
from pipeline.images.augment.policies import OPERATIONS

_BRIGHTNESS, _COLOR, _CONTRAST, _SHARPNESS, _POSTERIZE, _SOLARIZE, _AUTOCONTRAST, _EQUALIZE, _INVERT = range(5, 14)
assert OPERATIONS[5:14] == (
    *("Brightness", "Color", "Contrast", "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize", "Invert"),
)
_TABLE_OPERATIONS = torch.tensor(
    [_BRIGHTNESS, _CONTRAST, _POSTERIZE, _SOLARIZE, _AUTOCONTRAST, _EQUALIZE, _INVERT], dtype=torch.int64
)


def apply_colour(images: Tensor, operations: Tensor, magnitudes: Tensor) -> None:
    """Change the values of a batch in place; operations that are not of colour do nothing.

    Shapes: images uint8 (batch, height, width, channel), contiguous, of 1 channel (grey), 3, or 4 (the fourth, alpha,
    stays as it is); operations int64 and magnitudes float64, both (batch,), on the CPU.
    """
    if len(rows := torch.isin(operations, _TABLE_OPERATIONS).nonzero()[:, 0]):
        tables = _level_tables(images, rows, operations[rows], magnitudes[rows])
        for block in blocks(len(rows), images):
            _put(images, rows[block], _look_up(_take(images, rows[block]), tables[block]))
    for operation, blend in ((_COLOR, _saturate), (_SHARPNESS, _sharpen)):
        rows = (operations == operation).nonzero()[:, 0]
        factors = (1.0 + magnitudes[rows]).float().to(images.device, non_blocking=True)[:, None, None]
        for block in blocks(len(rows), images):
            _put(images, rows[block], blend(_take(images, rows[block]), factors[block]))


def _take(images: Tensor, rows: Tensor) -> Tensor:
    """Copy some images, without their alpha."""
    chosen = images.index_select(0, rows.to(images.device, non_blocking=True))
    return chosen[..., :3].contiguous()


def _put(images: Tensor, rows: Tensor, colours: Tensor) -> None:
    places = rows.to(images.device, non_blocking=True)
    if images.shape[-1] == 4:
        colours = torch.cat([colours, images.index_select(0, places)[..., 3:]], -1)
    put_rows(images, places, colours)


def _look_up(images: Tensor, tables: Tensor) -> Tensor:
    return tables.view(-1).index_select(0, _places(images)).view(images.shape)


def _places(images: Tensor) -> Tensor:
    """Find where each pixel's level stands in flattened tables of the whole batch, int32 (pixels,)."""
    num_images, height, width, num_channels = images.shape
    first = 256 * torch.arange(num_images * num_channels, dtype=torch.int32, device=images.device)
    # Repeated along a row of pixels: an inner loop over the channels alone would be slow.
    first = first.view(num_images, 1, 1, num_channels).expand(-1, 1, width, -1).reshape(num_images, 1, -1)
    # Converted first: a sum of two types is several times slower.
    return images.view(num_images, height, width * num_channels).int().add_(first).view(-1)


def _level_tables(images: Tensor, rows: Tensor, operations: Tensor, magnitudes: Tensor) -> Tensor:
    """Make the tables of levels of the images in these rows, uint8 (rows, channel, 256).

    All but equalize are one formula: keep the upper bits, scale and shift, invert from a threshold on.
    """
    num_channels, device = min(images.shape[-1], 3), images.device
    step = torch.where(operations == _POSTERIZE, 2.0 ** (8 - magnitudes), 1.0)
    scale = torch.where((operations == _BRIGHTNESS) | (operations == _CONTRAST), 1.0 + magnitudes, 1.0)
    threshold = torch.where(operations == _SOLARIZE, magnitudes, torch.where(operations == _INVERT, 0.0, 256.0))
    small = torch.stack([step, scale, threshold]).float().to(device, non_blocking=True)[:, :, None, None]
    step, scale, threshold = small.unbind()
    scale = scale.repeat(1, num_channels, 1)
    bias = torch.zeros_like(scale)

    if len(chosen := (operations == _CONTRAST).nonzero()[:, 0]):
        places = chosen.to(device, non_blocking=True)
        bias[places] = (1.0 - scale[places]) * _gather(_mean_grey, images, rows[chosen])[:, None, None]
    if len(chosen := (operations == _AUTOCONTRAST).nonzero()[:, 0]):
        places = chosen.to(device, non_blocking=True)
        darkest, brightest = _gather(_extremes, images, rows[chosen]).float()[..., None].unbind(1)
        stretch = torch.where(brightest > darkest, 255.0 / (brightest - darkest).clamp(min=1.0), 1.0)
        scale[places] = stretch
        bias[places] = torch.where(brightest > darkest, -darkest * stretch, 0.0)

    levels = torch.arange(256, dtype=torch.float32, device=device)
    # The thousandth keeps a whole number that was computed a hair too low from losing a level when it is cut off.
    scaled = ((levels / step).floor_() * step * scale + bias).add_(1e-3).clamp_(0, 255).floor_()
    tables = torch.where(levels >= threshold, 255 - scaled, scaled).to(torch.uint8)

    if len(chosen := (operations == _EQUALIZE).nonzero()[:, 0]):
        tables[chosen.to(device, non_blocking=True)] = _equalizing(_gather(_histogram, images, rows[chosen]))
    return tables


def _gather(statistic: Callable[[Tensor], Tensor], images: Tensor, rows: Tensor) -> Tensor:
    """Compute a statistic of the images in these rows."""
    return torch.cat([statistic(_take(images, rows[block])) for block in blocks(len(rows), images)])


def _mean_grey(images: Tensor) -> Tensor:
    """Mean luma, float32 (batch,); sums of integers are the same in whatever order they are added."""
    grey = _grey(images)
    return grey.sum((1, 2)).double().div_(grey[0].numel()).float()


def _histogram(images: Tensor) -> Tensor:
    """How often each level occurs, int64 (batch, channel, 256)."""
    shape = (len(images), images.shape[-1], 256)
    places = _places(images)
    if images.device.type == "cpu":
        return torch.bincount(places, minlength=math.prod(shape)).view(shape)
    # bincount would wait for the device.
    counts = torch.zeros(math.prod(shape), dtype=torch.int64, device=images.device)
    return counts.scatter_add_(0, places.long(), torch.ones_like(places, dtype=torch.int64)).view(shape)


def _equalizing(counts: Tensor) -> Tensor:
    """Tables that spread the levels evenly, by Pillow's rule (ImageOps.equalize), uint8 like counts."""
    below = counts.cumsum(-1) - counts
    highest = torch.arange(256, device=counts.device).mul(counts > 0).amax(-1, keepdim=True)
    step = (counts.sum(-1, keepdim=True) - counts.gather(-1, highest)) // 255
    spread = ((below + step // 2) // step.clamp(min=1)).clamp_(0, 255)
    levels = torch.arange(256, device=counts.device)
    return torch.where(step > 0, spread, levels).to(torch.uint8)


def _extremes(images: Tensor) -> Tensor:
    """Lowest and highest level, uint8 (batch, 2, channel)."""
    num_images, height, width, num_channels = images.shape
    rows = images.view(num_images, height, width * num_channels)
    shape = (num_images, width, num_channels)
    return torch.stack([rows.amin(1).view(shape).amin(1), rows.amax(1).view(shape).amax(1)], 1)


def _grey(images: Tensor) -> Tensor:
    """Luma cut off to whole levels, int32 (batch, height, width); ITU-R BT.601 in 16-bit fractions."""
    if images.shape[-1] == 1:
        return images[..., 0].int()
    red, green, blue = images.int().unbind(-1)
    return (red * 19588 + green * 38470 + blue * 7471) >> 16


def _saturate(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with grey ("Color"); an image of one channel is grey already. Factor: float32 (batch, 1, 1)."""
    if images.shape[-1] == 1:
        return images
    grey = _grey(images) * (1.0 - factor)
    result = torch.empty_like(images)
    for channel, target in zip(images.unbind(-1), result.unbind(-1), strict=True):
        target.copy_((channel * factor).add_(grey).add_(1e-3).clamp_(0, 255))
    return result


def _sharpen(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with a 3 x 3 smoothing, weights 1 and 5 in the centre; the outermost pixels stay as they are."""
    num_images, height, width, num_channels = images.shape
    if height <= 2 or width <= 2:
        return images
    rows = images.view(num_images, height, width * num_channels)
    left, right = slice(None, -2 * num_channels), slice(2 * num_channels, None)
    middle = slice(num_channels, -num_channels)
    levels = rows.to(torch.int16)
    columns = levels[:, :-2] + levels[:, 1:-1] + levels[:, 2:]
    box = columns[..., left] + columns[..., middle] + columns[..., right]
    centre = levels[:, 1:-1, middle]
    # A thirteenth is never a half, so rounding is the same however the division errs.
    smooth = (box + 4 * centre).float().mul_(1.0 / 13.0).round_()
    rows[:, 1:-1, middle] = smooth.mul_(1.0 - factor).add_(centre * factor).add_(1e-3).clamp_(0, 255).to(torch.uint8)
    return images
