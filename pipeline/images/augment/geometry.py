"""Where pixels go: one affine map per sample, sampled once; whole-pixel shifts and flips by copying.

Images are uint8 (batch, height, width, channel) here, contiguous. Coordinates are in pixels from the image's centre,
x to the right, y down; maps run from a pixel of the result to where its value is read, as (batch, 2, 3) matrices.
"""

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.images.augment.policies import OPERATIONS

PIXELS_AT_ONCE = 1 << 16

_SHEAR_X, _SHEAR_Y, _TRANSLATE_X, _TRANSLATE_Y, _ROTATE = range(5)
assert OPERATIONS[:5] == ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")


def policy_maps(operations: Tensor, magnitudes: Tensor, size: int) -> Tensor:
    """Join each sample's geometric operations, done one after the other, in one map; others change nothing.

    As torchvision does them: shears keep the top left corner, rotations the centre, translations are truncated to whole
    pixels, positive ones go right, down and against the clock.

    Shapes: operations int64 and magnitudes float64, both (batch, slot); returns float64 (batch, 2, 3).
    """
    total = torch.eye(3, dtype=torch.float64).repeat(len(operations), 1, 1)
    for operation, magnitude in zip(operations.unbind(1), magnitudes.unbind(1), strict=True):
        step = torch.eye(3, dtype=torch.float64).repeat(len(operations), 1, 1)
        angle = torch.where(operation == _ROTATE, torch.deg2rad(magnitude), 0.0)
        step[:, 0, 0] = step[:, 1, 1] = torch.cos(angle)
        step[:, 0, 1], step[:, 1, 0] = -torch.sin(angle), torch.sin(angle)
        for axis, shear, translate in ((0, _SHEAR_X, _TRANSLATE_X), (1, _SHEAR_Y, _TRANSLATE_Y)):
            slope = torch.where(operation == shear, magnitude, 0.0)
            step[:, axis, 1 - axis] += slope
            step[:, axis, 2] = slope * (size / 2) - torch.where(operation == translate, magnitude.trunc(), 0.0)
        total = total @ step
    return total[:, :2]


def resample(images: Tensor, maps: Tensor, scale: Tensor, offset: Tensor, size: int, whole: bool) -> Tensor:
    """Read each sample once through its map, bilinearly; what the map reads outside its frame is black.

    The frame is the cropped, flipped, rescaled image of `size` x `size` pixels: its point u shows the source's point
    `scale * u + offset`. Where the crop reaches over the source's border, the source is reflected there.

    Shapes: maps (batch, 2, 3); scale and offset (batch, 2), x then y, on the CPU; returns uint8 (batch, size, size,
    channel). With `whole`, every frame shows exactly its source, which saves computing the frame's border.
    """
    height, width = images.shape[1:3]
    source = images.float().permute(0, 3, 1, 2)
    if whole:
        maps = scale[:, :, None] * maps
        maps[:, :, 2] += offset
        unit = maps.new_tensor([2 / width, 2 / height])
        grid = _grid(maps * unit[:, None], size, images.device)
        values = functional.grid_sample(source, grid.permute(0, 2, 3, 1), align_corners=False)
    else:
        grid = _grid(maps, size, images.device)
        # Clamping first and fading by the distance beyond the last pixel's centre is what sampling zeros would give.
        cover = ((size + 1) / 2 - grid.abs()).clamp_(0, 1)
        grid = grid.clamp_(-(size - 1) / 2, (size - 1) / 2)
        # Corners aligned: reflected about the centres of the border's pixels, so that these are not repeated.
        unit = scale.new_tensor([2 / max(width - 1, 1), 2 / max(height - 1, 1)])
        grid = grid.mul_(_send(scale * unit, images.device)).add_(_send(offset * unit, images.device))
        grid = grid.permute(0, 2, 3, 1)
        values = functional.grid_sample(source, grid, padding_mode="reflection", align_corners=True)
        values = values.mul_(cover[:, :1]).mul_(cover[:, 1:])
    # Adding a half and cutting off, as the conversion does, rounds.
    return values.add_(0.5).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def blocks(num_rows: int, images: Tensor) -> list[slice]:
    """Cut rows of a batch into slices, for work with large intermediate results: few enough pixels for a CPU's cache.

    On other devices one slice. Nothing is computed across images, so the slices change no result.
    """
    step = num_rows
    if images.device.type == "cpu":
        step = max(1, PIXELS_AT_ONCE // (images.shape[1] * images.shape[2]))
    return [slice(first, min(first + step, num_rows)) for first in range(0, num_rows, max(1, step))]


def put_rows(images: Tensor, places: Tensor, rows: Tensor) -> None:
    """Do `images[places] = rows` in place, for contiguous uint8 images, eight bytes at a time where these are whole.

    index_copy_ goes element by element: bytes would take several times as long.
    """
    wide = torch.int64 if images[0].numel() % 8 == 0 and images.data_ptr() % 8 == 0 else torch.uint8
    target = images.view(len(images), -1).view(wide)
    target.index_copy_(0, places, rows.reshape(len(rows), -1).view(wide))


def shift(images: Tensor, steps: Tensor) -> Tensor:
    """Copy images moved by whole pixels, the image reflected about its border's pixels.

    Shapes: images (batch, height, width, channel); steps int64 (batch, 2), x then y, on the CPU: the result's pixel
    (x, y) is the source's (x + step x, y + step y).
    """
    largest = int(steps.abs().max())
    num_images, height, width, num_channels = images.shape
    padded = _reflect(_reflect(images, 1, largest), 2, largest)
    rows = padded.view(num_images, height + 2 * largest, -1)
    # Every shifted copy as a view; indexing then copies one whole row of bytes after the other.
    views = rows.unfold(1, height, 1).unfold(2, width * num_channels, num_channels)
    x, y = (steps + largest).to(images.device, non_blocking=True).unbind(1)
    return views[torch.arange(num_images, device=images.device), y, x].view(images.shape)


def _reflect(images: Tensor, dim: int, pad: int) -> Tensor:
    """Pad one dimension on both sides by reflection, back and forth where the pad is wider than the image."""
    last = images.shape[dim] - 1
    places = torch.arange(-pad, last + pad + 1, device=images.device) % max(2 * last, 1)
    places = torch.where(places > last, 2 * last - places, places) if last else places * 0
    return torch.cat(
        [images.index_select(dim, places[:pad]), images, images.index_select(dim, places[pad + last + 1 :])], dim
    )


def _grid(maps: Tensor, size: int, device: torch.device) -> Tensor:
    """Compute the maps' values at the centres of size x size pixels: float32 (batch, 2, size, size), x then y.

    Separate products and sums, never a fused one: the same bits whatever part of a vector a pixel falls in.
    """
    centres = torch.arange(size, dtype=torch.float32, device=device) - (size - 1) / 2
    x, y, constant = maps.float().to(device, non_blocking=True).unbind(2)
    along_x = x[:, :, None] * centres
    along_y = y[:, :, None] * centres + constant[:, :, None]
    return along_x[:, :, None, :] + along_y[:, :, :, None]


def _send(values: Tensor, device: torch.device) -> Tensor:
    return values.float().to(device, non_blocking=True)[:, :, None, None]
