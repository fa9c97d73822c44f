"""Random erasing: a rectangle of some images becomes one colour.

Zhong et al. 2020, "Random Erasing Data Augmentation" (arXiv 2017), algorithm 1: area 0.02 to 0.33 of the image's,
aspect 0.3 to 1 / 0.3 (log-uniform, as torchvision draws it). The colour is the image's own mean, the variant "RE-M" of
the paper's section 3 taken per image, so that no statistics of the data are needed. Sides that would be longer than
the image are cut, where the paper draws again: at most a few in a hundred.
"""

import math

import torch
from torch import Tensor

from pipeline.images.augment.geometry import put_rows

NUM_DRAWS = 5
_AREA = (0.02, 0.33)
_LOG_ASPECT = math.log(1 / 0.3)


def erase(images: Tensor, draws: Tensor, probability: float) -> None:
    """Erase a rectangle of each image with this probability, in place.

    Shapes: images uint8 (batch, height, width, channel), contiguous; of 4 channels the last, alpha, is kept; draws
    float64 in [0, 1), (batch, NUM_DRAWS), on the CPU.
    """
    rows = (draws[:, 0] < probability).nonzero()[:, 0]
    if not len(rows):
        return
    height, width, num_channels = images.shape[1:]
    _, area, aspect, x, y = draws[rows].unbind(1)
    area = (_AREA[0] + (_AREA[1] - _AREA[0]) * area) * (height * width)
    root = torch.exp((2 * aspect - 1) * (_LOG_ASPECT / 2))
    tall = (area.sqrt() * root).round().clamp(1, height)
    wide = (area.sqrt() / root).round().clamp(1, width)
    left, top = (x * (width - wide + 1)).floor(), (y * (height - tall + 1)).floor()
    box = torch.stack([left, left + wide, top, top + tall]).long().to(images.device, non_blocking=True)[:, :, None]
    across, down = (torch.arange(length, device=images.device) for length in (width, height))
    inside_x = (across >= box[0]) & (across < box[1])
    inside_y = (down >= box[2]) & (down < box[3])

    places = rows.to(images.device, non_blocking=True)
    chosen = images.index_select(0, places)
    # Integer sums: the mean does not depend on the order of adding.
    sums = chosen.view(len(rows), height, -1).sum(1, dtype=torch.int64).view(len(rows), width, num_channels).sum(1)
    mean = ((sums + height * width // 2) // (height * width)).to(torch.uint8)
    inside = (inside_y[:, :, None] & inside_x[:, None, :])[..., None]
    if num_channels == 4:
        inside = inside & torch.tensor([True, True, True, False], device=images.device)
    put_rows(images, places, torch.where(inside, mean[:, None, None, :], chosen))
