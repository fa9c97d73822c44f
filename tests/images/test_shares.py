"""What several processes have of a pass is together what one has: every image once, and the same pixels."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from pipeline.competition.tables.table import read_train
from pipeline.config import AugmentConfig, Config
from pipeline.images import fill
from pipeline.images.augment.epoch_changes import EpochChanges
from pipeline.images.batches import Batch, Batches, Part
from pipeline.images.cache import Images
from pipeline.randomness import id_keys

NORM = ((0.5,) * 3, (0.25,) * 3)
NUM = 21  # two batches of 8, and one of 5


@pytest.fixture
def images(competition: Callable[..., Config]) -> Images:
    cfg = competition()
    return fill.decode_missing(cfg, "train", read_train(cfg).paths)


def passes(images: Images, size: int, *, by_image: bool, augment: AugmentConfig) -> list[list[Batch]]:
    """A pass as one process has it, and behind it as each of some has its part."""
    keys = id_keys([str(number) for number in range(24)])
    changes = EpochChanges(augment, [12], 3, 4, keys, 3).of(0)
    order = np.random.default_rng(0).permutation(24)[:NUM]
    targets = torch.arange(24) % 3
    return [
        list(Batches(images, order, 8, 12, NORM, torch.device("cpu"), torch.float32, targets, changes, part=part))
        for part in (Part(), *(Part(rank, size, by_image) for rank in range(size)))
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("mixing", [{}, {"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}])
def test_a_batch_that_is_divided_is_the_whole_one(images: Images, size: int, mixing: dict[str, float]) -> None:
    augment = AugmentConfig(policy="randaugment", hflip=0.5, erasing=0.3, **mixing)  # type: ignore[arg-type]
    whole, *parts = passes(images, size, by_image=True, augment=augment)
    assert [len(batch) for batch in whole] == [8, 8, 5]
    for batch, *shares in zip(whole, *parts, strict=True):
        assert all(share.step == batch.step and share.num_images == len(batch) for share in shares)
        counted = [share for share in shares if share.counts]
        # A process that has none of a batch goes along with one image that does not count.
        assert all(len(share) == 1 for share in shares if not share.counts)
        assert len(counted) == min(size, len(batch))
        assert torch.equal(torch.cat([share.images for share in counted]), batch.images)
        assert torch.equal(torch.cat([share.targets for share in counted if share.targets is not None]), batch.targets)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_batches_that_are_dealt_out_are_those_of_one_process(images: Images, size: int) -> None:
    whole, *parts = passes(images, size, by_image=False, augment=AugmentConfig())
    dealt = sorted((batch for part in parts for batch in part), key=lambda batch: batch.step)
    assert [batch.step for batch in dealt] == [0, 1, 2]
    for batch, other in zip(whole, dealt, strict=True):
        assert torch.equal(batch.images, other.images) and other.counts


@pytest.mark.parametrize("by_image", [True, False])
@pytest.mark.parametrize("num_steps", [0, 1, 2, None])
def test_positions_are_those_of_the_batches(images: Images, by_image: bool, num_steps: int | None) -> None:
    order = np.arange(NUM)
    found = []
    for rank in range(3):
        part = Part(rank, 3, by_image)
        batches = Batches(images, order, 8, 12, NORM, torch.device("cpu"), torch.float32, part=part)
        positions = batches.positions(rank, num_steps)
        seen = [batch for batch in batches if batch.counts and (num_steps is None or batch.step < num_steps)]
        assert len(positions) == sum(map(len, seen))
        found += positions.tolist()
    assert sorted(found) == list(range({0: 0, 1: 8, 2: 16, None: NUM}[num_steps]))


def test_a_part_begins_at_any_step(images: Images) -> None:
    batches = Batches(
        images, np.arange(NUM), 8, 12, NORM, torch.device("cpu"), torch.float32, part=Part(1, 2, by_image=True)
    )
    late = list(batches.starting_at(1))
    assert [batch.step for batch in late] == [1, 2]
    for batch, other in zip(list(batches)[1:], late, strict=True):
        assert torch.equal(batch.images, other.images)
