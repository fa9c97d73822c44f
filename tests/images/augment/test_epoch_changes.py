"""The changes of an epoch: which stop, and how large the images are."""

import pytest
import torch

from pipeline.config import AugmentConfig
from pipeline.images.augment.epoch_changes import EpochChanges, epoch_sizes


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [32] * 8),
        ({"first_size": 0.5}, [16, 20, 24, 28, 32, 32, 32, 32]),
        ({"first_size": 0.5, "full_size_from": 0.25}, [16, 24, 32, 32, 32, 32, 32, 32]),
        ({"first_size": 0.5, "full_size_from": 0.0}, [32] * 8),
    ],
)
def test_images_grow_evenly_to_their_full_size(settings: dict[str, object], expected: list[int]) -> None:
    assert epoch_sizes(AugmentConfig(**settings), 32, 8) == expected  # type: ignore[arg-type]


def test_an_augmented_batch_has_the_size_of_its_epoch() -> None:
    grown = EpochChanges(AugmentConfig(hflip=0.5), [16, 24, 32, 32], 0, 0, torch.arange(8), 10)
    pixels = torch.zeros(8, 3, 32, 32, dtype=torch.uint8)
    sizes = [grown.of(epoch).augment(pixels, torch.arange(8).numpy()).shape[2] for epoch in range(4)]  # type: ignore[misc]
    assert sizes == [16, 24, 32, 32]
