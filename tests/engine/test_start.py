"""Training: what a model starts from, beside its weights."""

from pathlib import Path

import pytest
import torch

from pipeline.engine.start import spread
from pipeline.model.checkpoint import Checkpoint, save, saved_normalisation


def test_weights_of_this_pipeline_bring_their_normalisation(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save(path, Checkpoint({"weight": torch.zeros(2)}, {}, ("a",), ((0.25,), (0.5,)), {}))
    assert saved_normalisation(path) == ((0.25,), (0.5,))
    assert saved_normalisation(tmp_path / "model.pth") is None


@pytest.mark.parametrize(
    ("values", "channels", "expected"),
    [
        ((0.1, 0.2, 0.3), 3, (0.1, 0.2, 0.3)),
        ((0.1, 0.2, 0.3), 1, (0.2,)),
        ((0.1, 0.2, 0.3), 4, (0.1, 0.2, 0.3, 0.2)),
        ((0.5,), 3, (0.5, 0.5, 0.5)),
    ],
)
def test_statistics_arespread_over_the_images_channels(
    values: tuple[float, ...], channels: int, expected: tuple[float, ...]
) -> None:
    assert spread(values, channels) == pytest.approx(expected)
