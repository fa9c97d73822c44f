"""Batched augmentation on the batch's own device: what is drawn, and in which order it is done.

Every sample draws its own crop, flips, sub-policy, magnitudes and signs (`randomness`), on the CPU; only index lists
and small tables go to the device. The order is:

1. Geometry. Shift by whole pixels (`pad_crop`, reflected at the border), random resized crop (`min_area`), hflip,
   vflip, then the policy's geometric operations, all as ONE affine map that is sampled once, bilinearly. Only samples
   that drew some are touched. Shifts and flips alone are copies: no pixel is blurred. What the policy's operations
   bring in from outside the cropped image is black, as torchvision's `fill=None`; between two geometric operations
   nothing is lost at the border, where torchvision cuts twice.
2. The policy's operations on colours, in the order drawn, before or after its geometry as drawn: black corners are
   inverted by (Rotate, Invert) and stay black by (Invert, Rotate), and statistics (contrast, autocontrast, equalize)
   see just the pixels that they see in torchvision. The one difference: an operation on colours that comes before a
   geometric one sees the stored image, before it is cropped and flipped.
3. Erasing.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.config import AugmentConfig
from pipeline.images.augment import erasing, policies
from pipeline.images.augment.colour import apply_colour
from pipeline.images.augment.geometry import blocks, policy_maps, put_rows, resample, shift
from pipeline.images.augment.policies import IDENTITY, NUM_GEOMETRIC, OPERATIONS, SIGNED
from pipeline.randomness import uniform

# Indices of draws. Fixed, so that turning one augmentation on or off changes no other's draws.
_SHIFT = slice(0, 2)
_FLIPS = slice(2, 4)
_SUB_POLICY = 4
_DONE = slice(5, 7)
_SIGN = slice(7, 9)
_ERASING = slice(9, 9 + erasing.NUM_DRAWS)
_NUM_DRAWS = _ERASING.stop
_CROP = range(_NUM_DRAWS, _NUM_DRAWS + 22)


@dataclass(frozen=True)
class Plan:
    """The operations drawn for each sample of a batch, all on the CPU; pairs are x then y, lengths in stored pixels."""

    operations: Tensor  # int64 (batch, slot)
    magnitudes: Tensor  # float64 (batch, slot)
    steps: Tensor  # int64 (batch, 2), the shift of pad_crop
    sides: Tensor  # float64 (batch, 2), of the crop
    corners: Tensor  # float64 (batch, 2), the crop's top left
    flips: Tensor  # bool (batch, 2)
    erasing: Tensor  # float64 (batch, erasing.NUM_DRAWS)


class Augment:
    """The augmentation of training images that a config asks for.

    The result for an image is a function of the settings, the seed, the image's key and the epoch.
    """

    def __init__(self, cfg: AugmentConfig, size: int, seed: int) -> None:
        self.cfg = cfg
        self.size = size
        self.seed = seed
        self.policy = policies.find(cfg.policy)
        chances = (cfg.hflip, cfg.vflip, cfg.pad_crop, cfg.erasing, 1.0 - cfg.min_area)
        self.is_idle = self.policy is None and not any(chances)
        if self.policy is not None:
            self._operations, self._probabilities, self._magnitudes, self._signed = _policy_tensors(self.policy, size)

    def __call__(self, images: Tensor, keys: Tensor, epoch: int) -> Tensor:
        """Augment a batch; the input is never modified, and is returned as it is where nothing is to be done.

        Shapes: images uint8 (batch, channel, height, width), square, at least `size`, 1 (grey), 3 or 4 channels, of
        which the fourth (alpha) takes part in geometry alone; keys int64 (batch,) on the CPU, a hash of each image's
        id. Returns uint8 (batch, channel, size, size), strided as channels_last, on the images' device.
        """
        assert images.dtype == torch.uint8 and keys.dtype == torch.int64 and len(images) == len(keys)
        stored = images.shape[2]
        assert stored == images.shape[3] >= self.size, "images are square and at least as large as the result"
        plan = self.draw(keys, epoch, stored)
        return self._apply(images.permute(0, 2, 3, 1), plan).permute(0, 3, 1, 2)

    def draw(self, keys: Tensor, epoch: int, stored: int) -> Plan:
        """Draw what is done to each sample of a batch; the arguments are those of a call, `stored` the images' side."""
        cfg = self.cfg
        draws = uniform(self.seed, keys, epoch, range(_NUM_DRAWS))
        operations, magnitudes = keys.new_zeros(len(keys), 0), draws[:, :0]
        if self.policy is not None:
            num_policies, num_slots = self._operations.shape
            chosen = (draws[:, _SUB_POLICY] * num_policies).long()
            done = draws[:, _DONE][:, :num_slots] < self._probabilities[chosen]
            negative = self._signed[chosen] & (draws[:, _SIGN][:, :num_slots] < 0.5)
            operations = torch.where(done, self._operations[chosen], IDENTITY)
            magnitudes = self._magnitudes[chosen]
            magnitudes = torch.where(negative, -magnitudes, magnitudes)
        steps = (draws[:, _SHIFT] * (2 * cfg.pad_crop + 1)).floor_().long() - cfg.pad_crop
        sides, corners = self.draw_crops(keys, epoch, stored)
        # The first draw of the flips is the image's own, not the epoch's: from epoch to epoch it goes on by `hflip`, so
        # that an image is flipped in just that fraction of the epochs, by 0.5 in every second one (Jordan 2024, "94% on
        # CIFAR-10 in 3.29 Seconds on a Single GPU", section 3.5).
        own = uniform(self.seed, keys, 0, range(_FLIPS.start, _FLIPS.start + 1))[:, 0]
        hflip = (own + cfg.hflip * epoch) % 1.0 < cfg.hflip
        flips = torch.stack([hflip, draws[:, _FLIPS.stop - 1] < cfg.vflip], 1)
        return Plan(operations, magnitudes, steps, sides, corners, flips, draws[:, _ERASING])

    def draw_crops(self, keys: Tensor, epoch: int, stored: int) -> tuple[Tensor, Tensor]:
        """Draw the sides and top left corner of each sample's crop in stored pixels, float64 (batch, 2), x then y.

        As torchvision's RandomResizedCrop: sides rounded to whole pixels, the first of ten tries that fits, else all.
        Szegedy et al. 2015, "Going Deeper with Convolutions", section 6.
        """
        whole = torch.full((len(keys), 2), float(stored), dtype=torch.float64)
        if self.cfg.min_area == 1.0:
            return whole, torch.zeros_like(whole)
        draws = uniform(self.seed, keys, epoch, _CROP)
        place, area, aspect = draws[:, :2], draws[:, 2:12], draws[:, 12:]
        area = (self.cfg.min_area + (1 - self.cfg.min_area) * area) * stored**2
        root = torch.exp((2 * aspect - 1) * (math.log(4 / 3) / 2))
        tries = torch.stack([area.sqrt() * root, area.sqrt() / root], 2).round().clamp(min=1)
        fits = (tries <= stored).all(2)
        first = fits.int().argmax(1)
        sides = torch.where(fits.any(1)[:, None], tries[torch.arange(len(keys)), first], whole)
        return sides, (place * (stored - sides + 1)).floor()

    def _apply(self, images: Tensor, plan: Plan) -> Tensor:
        """Do what is planned; images uint8 (batch, height, width, channel), which may be returned, not changed."""
        geometric = plan.operations < NUM_GEOMETRIC
        coloured = ~geometric & (plan.operations != IDENTITY)
        # Slots that are followed by a geometric operation: their colours are changed before the sampling.
        early = coloured & (geometric.flip(1).cumsum(1).flip(1) > 0)

        source = images.contiguous()
        if early.any():
            source = source.clone()
            _colour(source, plan, early)
        result = self._move(source, plan)
        late = coloured & ~early
        if result.data_ptr() == images.data_ptr() and (self.cfg.erasing > 0 or bool(late.any())):
            result = result.clone()
        _colour(result, plan, late)
        if self.cfg.erasing > 0:
            erasing.erase(result, plan.erasing, self.cfg.erasing)
        return result

    def _move(self, images: Tensor, plan: Plan) -> Tensor:
        """Do all geometry; returns its input where there is none to do."""
        stored = images.shape[1]
        sampled = (plan.operations < NUM_GEOMETRIC).any(1) | (plan.sides != stored).any(1) | (stored != self.size)
        rows = sampled.nonzero()[:, 0]
        if not len(rows) and stored == self.size:
            return _copy(images, plan.steps, plan.flips)
        scale = torch.where(plan.flips, -plan.sides, plan.sides) / self.size
        offset = plan.corners + plan.steps + (plan.sides - stored) / 2
        maps = policy_maps(plan.operations[rows], plan.magnitudes[rows], self.size)
        whole = self.cfg.pad_crop == 0 and self.cfg.min_area == 1.0
        if len(rows) == len(images):
            result = images.new_empty(len(images), self.size, self.size, images.shape[3])
        else:
            # Shifts and flips of the samples in `rows` are part of their maps.
            still = ~sampled[:, None]
            result = _copy(images, plan.steps * still, plan.flips & still)
            result = images.clone() if result is images else result
        places = rows.to(images.device, non_blocking=True)
        for block in blocks(len(rows), images):
            some = rows[block]
            chosen = images.index_select(0, places[block])
            put_rows(result, places[block], resample(chosen, maps[block], scale[some], offset[some], self.size, whole))
        return result


def resize_to(images: Tensor, size: int) -> Tensor:
    """Scale whole images as `Augment` does where it draws nothing: bilinearly, without smoothing.

    Shapes: images uint8 (batch, channel, height, width), height and width at least `size`; returns uint8 (batch,
    channel, size, size), strided as channels_last; the input itself where it has the size and the strides.
    """
    if images.shape[2:] == (size, size):
        return images.contiguous(memory_format=torch.channels_last)
    values = functional.interpolate(images.float(), size=(size, size), mode="bilinear", align_corners=False)
    return values.add_(0.5).to(torch.uint8).contiguous(memory_format=torch.channels_last)


def _colour(images: Tensor, plan: Plan, wanted: Tensor) -> None:
    """Do the wanted operations (bool (batch, slot)) slot by slot, in place."""
    for slot, chosen in enumerate(wanted.unbind(1)):
        if chosen.any():
            operations = torch.where(chosen, plan.operations[:, slot], IDENTITY)
            apply_colour(images, operations, plan.magnitudes[:, slot])


def _copy(images: Tensor, steps: Tensor, flips: Tensor) -> Tensor:
    """Shift and flip by copying; returns its input where there is nothing to do."""
    result = images
    if len(rows := steps.any(1).nonzero()[:, 0]):
        places = rows.to(images.device, non_blocking=True)
        result = images.clone()
        put_rows(result, places, shift(images.index_select(0, places), steps[rows]))
    for dim, flip in ((2, flips[:, 0]), (1, flips[:, 1])):
        if len(rows := flip.nonzero()[:, 0]):
            places = rows.to(images.device, non_blocking=True)
            flipped = result.index_select(0, places).flip(dim)
            result = images.clone() if result is images else result
            put_rows(result, places, flipped)
    return result


def _policy_tensors(policy: policies.Policy, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Tabulate operation int64, probability and magnitude float64, and whether it is signed, all (sub-policy, slot)."""
    by_bin = policies.magnitudes(policy.num_bins, size, policy.wide)
    steps = [step for sub_policy in policy.sub_policies for step in sub_policy]
    strengths = [0.0 if index is None else by_bin[name][index] for name, _, index in steps]
    shape = (len(policy.sub_policies), len(policy.sub_policies[0]))
    # An operation that changes nothing is none, so that it costs nothing.
    names = [
        "Identity" if _is_idle(name, strength) else name
        for (name, _, _), strength in zip(steps, strengths, strict=True)
    ]
    return (
        torch.tensor([OPERATIONS.index(name) for name in names]).view(shape),
        torch.tensor([probability for _, probability, _ in steps], dtype=torch.float64).view(shape),
        torch.tensor(strengths, dtype=torch.float64).view(shape),
        torch.tensor([name in SIGNED for name in names]).view(shape),
    )


def _is_idle(name: str, strength: float) -> bool:
    if name.startswith("Translate"):
        return int(strength) == 0
    return strength == 0.0 if name in SIGNED else name == "Posterize" and strength == 8.0
