import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_sample_image
from torchvision.transforms import AutoAugment, AutoAugmentPolicy, InterpolationMode, RandAugment, TrivialAugmentWide
from torchvision.transforms.autoaugment import _apply_op
from torchvision.transforms.v2 import functional as tv

from pipeline.config import AugmentConfig
from pipeline.images.augment.augment import Augment, resize_to
from pipeline.images.augment.colour import apply_colour
from pipeline.images.augment.geometry import policy_maps, resample
from pipeline.images.augment.policies import NUM_GEOMETRIC, OPERATIONS, SIGNED
from pipeline.randomness import uniform

EVERYTHING = {"hflip": 0.5, "vflip": 0.3, "pad_crop": 4, "min_area": 0.3, "erasing": 0.4}
POLICIES = ["autoaugment-imagenet", "autoaugment-cifar10", "autoaugment-svhn", "randaugment", "trivialaugment"]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def flower():
    return torch.from_numpy(load_sample_image("flower.jpg").copy()).permute(2, 0, 1)


@pytest.fixture(scope="module")
def photos(flower):
    """Pieces of a photograph, uint8 (batch, 3, size, size) by size, strided as channels_last."""

    def cut(num_images, size):
        places = torch.rand(num_images, 2, generator=torch.Generator().manual_seed(0))
        pieces = []
        for y, x in places.tolist():
            top, left = int(y * (427 - 224)), int(x * (640 - 224))
            pieces.append(tv.resize(flower[:, top : top + 224, left : left + 224], [size, size], antialias=True))
        return torch.stack(pieces).contiguous(memory_format=torch.channels_last)

    return cut


def fake_photos(num_images, size, channels=3, seed=0):
    coarse = torch.rand(num_images, channels, 6, 6, generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=False)
    return smooth.mul(255).clamp(0, 255).to(torch.uint8).contiguous(memory_format=torch.channels_last)


# ---- random draws


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), epoch=st.integers(0, 100_000), first=st.integers(-(2**63), 2**63 - 5000))
def test_draws_are_uniform_and_uncorrelated(seed, epoch, first):
    # The keys of neighbouring images are the hardest: consecutive numbers.
    keys = torch.arange(4000) + first
    draws = uniform(seed, keys, epoch, range(8))
    assert draws.shape == (4000, 8) and draws.min() >= 0 and draws.max() < 1
    counts = torch.histc(draws.float(), 20, 0, 1)
    assert ((counts - 1600) ** 2 / 1600).sum() < 70  # chi squared, 19 degrees of freedom: p < 1e-7
    later = uniform(seed, keys, epoch + 1, range(8))
    other = uniform((seed + 1) % 2**32, keys, epoch, range(8))
    table = torch.cat([draws, later, other, draws.roll(1, 0)], 1)  # neighbouring draws, epochs, seeds and keys
    correlation = torch.corrcoef(table.T) - torch.eye(32)
    assert correlation.abs().max() < 6.5 / math.sqrt(4000)
    assert len(draws[:, 0].unique()) > 3990


def test_draws_are_functions_of_their_counter():
    keys = torch.tensor([3, -5, 2**60])
    all_draws = uniform(1, keys, 2, range(10))
    assert torch.equal(uniform(1, keys[1:2], 2, range(4, 6)), all_draws[1:2, 4:6])
    # Written down once: they may never change, or resumed runs would differ from unbroken ones.
    assert (all_draws[:, 0] * 2**32).long().tolist() == [527941610, 878135478, 3629198961]


# ---- single operations against torchvision


def one_operation(images, name, magnitudes):
    """Do one operation to a whole batch, each image with its own magnitude."""
    operations = torch.full((len(images),), OPERATIONS.index(name))
    rows = images.permute(0, 2, 3, 1).contiguous()
    if OPERATIONS.index(name) < NUM_GEOMETRIC:
        size = images.shape[-1]
        maps = policy_maps(operations[:, None], magnitudes[:, None], size)
        ones, zeros = torch.ones(len(images), 2, dtype=torch.float64), torch.zeros(len(images), 2, dtype=torch.float64)
        results = [resample(rows, maps, ones, zeros, size, whole) for whole in (True, False)]
        assert (results[0].int() - results[1].int()).abs().max() <= 1
        return results[0].permute(0, 3, 1, 2)
    rows = rows.clone()
    apply_colour(rows, operations, magnitudes)
    return rows.permute(0, 3, 1, 2)


def torchvisions(image, name, magnitude):
    if name == "Sharpness":  # the older kernel, which _apply_op calls, loses a level where nothing changes
        return tv.adjust_sharpness(image, 1.0 + magnitude)
    return _apply_op(image, name, magnitude, InterpolationMode.BILINEAR, None)


def spread(name, num_images):
    low, high = {
        **dict.fromkeys(("ShearX", "ShearY"), (-0.99, 0.99)),
        **dict.fromkeys(("TranslateX", "TranslateY"), (-20.0, 20.0)),
        "Rotate": (-135.0, 135.0),
        **dict.fromkeys(("Brightness", "Color", "Contrast", "Sharpness"), (-0.99, 0.99)),
        "Posterize": (0.0, 8.0),
        "Solarize": (0.0, 255.0),
    }.get(name, (0.0, 0.0))
    steps = torch.linspace(low, high, num_images, dtype=torch.float64)
    return steps.round() if name == "Posterize" else steps


@pytest.mark.parametrize("size", [32, 224])
@pytest.mark.parametrize("name", OPERATIONS[NUM_GEOMETRIC:-1])
@pytest.mark.parametrize("channels", [1, 3])
def test_colours_agree_with_torchvision(photos, name, size, channels):
    images = photos(9, size)[:, :channels]
    magnitudes = spread(name, 9)
    ours = one_operation(images, name, magnitudes)
    for image, magnitude, result in zip(images, magnitudes.tolist(), ours, strict=True):
        wanted = torchvisions(image, name, magnitude)
        difference = (wanted.int() - result.int()).abs()
        assert difference.max() <= 1
        assert difference.float().mean() < 0.02


@pytest.mark.parametrize("size", [32, 224])
@pytest.mark.parametrize("name", OPERATIONS[:NUM_GEOMETRIC])
def test_geometry_agrees_with_torchvision(photos, name, size):
    images = photos(8, size)
    magnitudes = spread(name, 8)
    ours = one_operation(images, name, magnitudes)
    for image, magnitude, result in zip(images, magnitudes.tolist(), ours, strict=True):
        wanted = torchvisions(image, name, magnitude)
        difference = (wanted.int() - result.int()).abs()
        assert difference.float().mean() < 0.05
        assert difference.max() <= 2


@pytest.mark.parametrize("name", ["Equalize", "AutoContrast", "Contrast", "Sharpness", "Color"])
@pytest.mark.parametrize("levels", [[0], [255], [7], [0, 255], [100, 101], [0, 1, 2]])
def test_images_of_few_levels(name, levels):
    pixels = torch.tensor(levels, dtype=torch.uint8).repeat(300)[: 3 * 81].view(1, 3, 9, 9)
    ours = one_operation(pixels, name, torch.tensor([0.5], dtype=torch.float64))
    assert (ours[0].int() - torchvisions(pixels[0], name, 0.5).int()).abs().max() <= 1


def test_alpha_keeps_its_values_but_moves():
    images = fake_photos(6, 32, channels=4)
    for name in OPERATIONS[NUM_GEOMETRIC:]:
        result = one_operation(images, name, spread(name, 6))
        assert torch.equal(result[:, 3], images[:, 3])
        assert torch.equal(result[:, :3], one_operation(images[:, :3], name, spread(name, 6)))
    turned = one_operation(images, "Rotate", spread("Rotate", 6))
    grey = one_operation(images[:, 3:], "Rotate", spread("Rotate", 6))
    assert torch.equal(turned[:, 3:], grey)


# ---- the whole


@pytest.mark.parametrize("policy", [*POLICIES, "none"])
@pytest.mark.parametrize("extra", [{}, EVERYTHING, {"pad_crop": 3, "hflip": 0.5}])
def test_an_image_gets_the_same_in_any_batch(policy, extra):
    images = fake_photos(48, 32)
    keys = torch.randint(-(2**62), 2**62, (48,), generator=torch.Generator().manual_seed(1))
    augment = Augment(AugmentConfig(policy=policy, **extra), 32, 5)
    before = images.clone()
    whole = augment(images, keys, 3)
    assert torch.equal(images, before)
    assert whole.dtype == torch.uint8 and whole.is_contiguous(memory_format=torch.channels_last)
    order = torch.randperm(48, generator=torch.Generator().manual_seed(2))
    assert torch.equal(augment(images[order], keys[order], 3), whole[order])
    for first, stop in ((0, 1), (1, 4), (4, 23), (23, 48)):
        assert torch.equal(augment(images[first:stop], keys[first:stop], 3), whole[first:stop])
    assert torch.equal(augment(images.contiguous(), keys, 3), whole)
    if policy != "none" or extra:
        assert not torch.equal(augment(images, keys, 4), whole)
        assert not torch.equal(Augment(augment.cfg, 32, 6)(images, keys, 3), whole)


def test_parts_of_a_batch_are_the_batch(monkeypatch):
    images, keys = fake_photos(40, 32), torch.arange(40)
    augment = Augment(AugmentConfig(policy="randaugment", **EVERYTHING), 24, 0)
    whole = augment(images, keys, 0)
    monkeypatch.setattr("pipeline.images.augment.geometry.PIXELS_AT_ONCE", 7 * 32 * 32)
    assert torch.equal(augment(images, keys, 0), whole)


def test_no_work_where_nothing_is_drawn():
    images = fake_photos(4, 16)
    result = Augment(AugmentConfig(), 16, 0)(images, torch.arange(4), 0)
    assert result.data_ptr() == images.data_ptr() and torch.equal(result, images)
    assert resize_to(images, 16).data_ptr() == images.data_ptr()


@pytest.mark.parametrize(("stored", "size"), [(40, 32), (64, 32), (33, 17), (16, 16)])
def test_the_identity_shows_the_whole_image(stored, size):
    images = fake_photos(5, stored)
    result = Augment(AugmentConfig(), size, 0)(images, torch.arange(5), 0)
    smaller = resize_to(images, size)
    assert result.shape == smaller.shape == (5, 3, size, size)
    assert (result.int() - smaller.int()).abs().max() <= 1
    wanted = tv.resize(images, [size, size], antialias=False)
    assert (smaller.int() - wanted.int()).abs().max() <= 1


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [1, 2, 3, 28])
@pytest.mark.parametrize("policy", POLICIES)
def test_every_size_and_channel(policy, size, channels):
    images = torch.randint(0, 256, (30, channels, size, size), dtype=torch.uint8)
    result = Augment(AugmentConfig(policy=policy, **EVERYTHING), size, 0)(images, torch.arange(30), 1)
    assert result.shape == images.shape
    none = Augment(AugmentConfig(policy=policy), size, 0)(images[:0], torch.arange(0), 1)
    assert none.shape == (0, channels, size, size)


def test_shifts_and_flips_are_exact():
    images = fake_photos(200, 20)
    result = Augment(AugmentConfig(pad_crop=3, hflip=0.5, vflip=0.5), 20, 0)(images, torch.arange(200), 0)
    padded = torch.nn.functional.pad(images.float(), (3, 3, 3, 3), mode="reflect").to(torch.uint8)
    seen = set()
    for image, wide in zip(result, padded, strict=True):
        found = [
            (x, y, dims)
            for x in range(7)
            for y in range(7)
            for dims in ((), (1,), (2,), (1, 2))
            if torch.equal(image, wide[:, y : y + 20, x : x + 20].flip(dims))
        ]
        assert len(found) == 1
        seen.update(found)
    assert {x for x, _, _ in seen} == {y for _, y, _ in seen} == set(range(7))
    assert len({dims for _, _, dims in seen}) == 4


@pytest.mark.parametrize("pad_crop", [0, 3])
def test_moves_before_a_policy_are_part_of_its_map(pad_crop):
    """With a sub-policy's geometry, shift and flip and fill are what torchvision's one after the other would give."""
    images, keys = fake_photos(400, 32), torch.arange(400)
    moves = AugmentConfig(pad_crop=pad_crop, hflip=0.5, vflip=0.5)
    moved = Augment(moves, 32, 0)(images, keys, 0)
    policy = AugmentConfig(policy="trivialaugment")
    wanted = Augment(policy, 32, 0)(moved, keys, 0)
    both = Augment(policy.model_copy(update=moves.model_dump(exclude={"policy"})), 32, 0)(images, keys, 0)
    difference = (both.int() - wanted.int()).abs()
    assert difference.max() <= 1 and difference.float().mean() < 0.01


@settings(max_examples=20)
@given(size=st.integers(8, 40), min_area=st.floats(0.05, 0.99), seed=st.integers(0, 1000))
def test_crops_have_their_area_aspect_and_place(size, min_area, seed):
    augment = Augment(AugmentConfig(min_area=min_area), size, seed)
    sides, corners = augment.draw_crops(torch.arange(300), 0, size)
    assert (corners >= 0).all() and (corners + sides <= size).all() and torch.equal(sides, sides.round())
    area, aspect = sides.prod(1) / size**2, sides[:, 0] / sides[:, 1]
    slack = 1.5 / size
    assert (area > min_area * 0.99 - 2 * slack).all()
    if size > 20:
        assert aspect.min() > 0.75 - 0.3 and aspect.max() < 4 / 3 + 0.8
        assert aspect.log().mean().abs() < 0.08


def test_a_crop_shows_its_part_enlarged():
    ramp = torch.arange(32, dtype=torch.uint8).mul(8).view(1, 1, 1, 32).expand(50, 3, 32, 32)
    augment = Augment(AugmentConfig(min_area=0.2), 32, 0)
    sides, corners = augment.draw_crops(torch.arange(50), 0, 32)
    result = augment(ramp, torch.arange(50), 0).float()
    for image, side, corner in zip(result, sides[:, 0].tolist(), corners[:, 0].tolist(), strict=True):
        places = (torch.arange(32) + 0.5) * side / 32 + corner - 0.5
        inside = (places >= 0) & (places <= 31)
        assert (image[0, 16][inside] - 8 * places[inside]).abs().max() <= 0.51


@pytest.mark.parametrize("policy", ["none", "autoaugment-cifar10"])
def test_a_crop_of_just_the_size_is_cut_out_exactly(policy):
    """A crop may have the result's size by chance while the stored image has not."""
    images, keys = fake_photos(1000, 17), torch.arange(1000)
    augment = Augment(AugmentConfig(min_area=0.7, policy=policy), 16, 0)
    plan = augment.draw(keys, 0, 17)
    exact = (plan.sides == 16).all(1) & (plan.operations == OPERATIONS.index("Identity")).all(1)
    assert exact.any()
    result = augment(images, keys, 0)
    for index in exact.nonzero()[:, 0].tolist():
        x, y = plan.corners[index].long().tolist()
        assert torch.equal(result[index], images[index, :, y : y + 16, x : x + 16])
    empty = augment(images[:0], keys[:0], 0)
    assert empty.shape == (0, 3, 16, 16)


def test_erasing_paints_one_rectangle_of_the_mean():
    images = fake_photos(500, 32, channels=4)
    result = Augment(AugmentConfig(erasing=0.6), 32, 0)(images, torch.arange(500), 0)
    assert torch.equal(result[:, 3], images[:, 3])
    areas = []
    for image, erased in zip(images[:, :3], result[:, :3], strict=True):
        changed = (image != erased).any(0)
        if changed.any():
            rows, columns = changed.any(1).nonzero(), changed.any(0).nonzero()
            box = erased[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            assert (box == box[:, :1, :1]).all()
            assert (box[:, 0, 0] - image.float().mean((1, 2))).abs().max() <= 0.51
            areas.append(box[0].numel() / 1024)
    assert 260 < len(areas) < 340
    assert min(areas) > 0.01 and max(areas) < 0.36
    assert np.mean(areas) == pytest.approx(0.175, abs=0.02)


# ---- policies against torchvision's


def test_black_corners_follow_the_order_drawn():
    """Every sub-policy of torchvision, done by both: order, signs, magnitudes, statistics and fill."""
    images = fake_photos(600, 32)
    augment = Augment(AugmentConfig(policy="autoaugment-svhn"), 32, 0)
    plan = augment.draw(torch.arange(600), 0, 32)
    result = augment(images, torch.arange(600), 0)
    for image, operations, magnitudes, ours in zip(images, plan.operations, plan.magnitudes, result, strict=True):
        names = [OPERATIONS[index] for index in operations]
        if sum(index < NUM_GEOMETRIC for index in operations) > 1:
            continue  # composed to one map here, cut and sampled twice there
        wanted = image
        for name, magnitude in zip(names, magnitudes.tolist(), strict=True):
            wanted = torchvisions(wanted, name, magnitude)
        difference = (ours.int() - wanted.int()).abs().float()
        # One level before equalize or autocontrast can be several after it.
        assert difference.mean() < 1.0 and (difference > 12).float().mean() < 0.01, (names, magnitudes)


@pytest.mark.parametrize("policy", POLICIES)
def test_operations_are_as_frequent_as_in_torchvision(policy, monkeypatch):
    num_images = 20_000
    plan = Augment(AugmentConfig(policy=policy), 32, 0).draw(torch.arange(num_images), 0, 32)
    drawn = {}
    transform = torchvision_policy(policy)
    module = "torchvision.transforms.autoaugment._apply_op"
    calls = []
    monkeypatch.setattr(module, lambda image, name, magnitude, **_: calls.append((name, magnitude)) or image)
    torch.manual_seed(0)
    num_theirs = 2500
    for _ in range(num_theirs):
        transform(torch.zeros(3, 32, 32, dtype=torch.uint8))
    for index, name in enumerate(OPERATIONS[:-1]):
        ours = (plan.operations == index).sum().item() / num_images
        strong = [magnitude for call, magnitude in calls if call == name and (name not in SIGNED or magnitude)]
        if name.startswith("Translate"):
            strong = [magnitude for magnitude in strong if int(magnitude)]
        if name == "Posterize":
            strong = [magnitude for magnitude in strong if magnitude < 8]
        theirs = len(strong) / num_theirs
        assert ours == pytest.approx(theirs, abs=5 * math.sqrt((theirs + 0.002) / num_theirs))
        drawn[name] = ours
        if name in SIGNED and ours:
            chosen = plan.magnitudes[plan.operations == index]
            assert (chosen > 0).float().mean() == pytest.approx(0.5, abs=3 / math.sqrt(len(chosen)))
            assert chosen.abs().mean() == pytest.approx(np.abs(strong).mean(), rel=0.15)
    assert sum(drawn.values()) > 0.3


def torchvision_policy(name):
    options = {"interpolation": InterpolationMode.BILINEAR}
    if name.startswith("autoaugment"):
        return AutoAugment(AutoAugmentPolicy(name.partition("-")[2]), **options)
    return RandAugment(**options) if name == "randaugment" else TrivialAugmentWide(**options)


@pytest.mark.parametrize("policy", POLICIES)
def test_results_have_torchvisions_mean_and_spread(policy, photos):
    images = photos(40, 32).repeat(15, 1, 1, 1)
    ours = Augment(AugmentConfig(policy=policy), 32, 0)(images, torch.arange(len(images)), 0).float()
    torch.manual_seed(0)
    transform = torchvision_policy(policy)
    theirs = torch.stack([transform(image) for image in images]).float()
    for statistic in (lambda x: x.mean((1, 2, 3)), lambda x: x.std((1, 2, 3))):
        a, b = statistic(ours), statistic(theirs)
        error = math.sqrt((a.var() + b.var()) / len(images))
        assert (a.mean() - b.mean()).abs() < 4.5 * error
        assert a.std() == pytest.approx(b.std().item(), rel=0.25)


@pytest.mark.gpu
@pytest.mark.parametrize("policy", POLICIES)
def test_a_gpu_gives_the_same_within_rounding(policy):
    images, keys = fake_photos(256, 32), torch.arange(256)
    augment = Augment(AugmentConfig(policy=policy, **EVERYTHING), 32, 0)
    difference = (augment(images.cuda(), keys, 0).cpu().int() - augment(images, keys, 0).int()).abs()
    assert difference.float().mean() < 0.05


@pytest.mark.parametrize("probability", [0.5, 0.25, 0.8])
def test_an_image_is_flipped_in_just_that_part_of_the_epochs(probability):
    images = torch.arange(8, dtype=torch.uint8).view(1, 1, 1, 8).expand(64, 1, 8, 8).contiguous()
    augment = Augment(AugmentConfig(hflip=probability), 8, 0)
    flipped = torch.stack([augment(images, torch.arange(64), epoch)[:, 0, 0, 0] == 7 for epoch in range(20)])
    assert (flipped.sum(0) == round(20 * probability)).all()
    assert 0.2 < flipped[0].float().mean() < 0.95, "which epochs, differs from image to image"
