"""Predictions: views are the moves they are named after, and probabilities are the task's."""

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.competition.answers.task import Task
from pipeline.engine.gathered import Gathered, activate
from pipeline.engine.machine import Machine
from pipeline.engine.predict import Views, view
from pipeline.engine.predictor import Predictor
from pipeline.images.batches import Batch

IMAGE = torch.arange(2 * 3 * 64 * 64, dtype=torch.float32).reshape(2, 3, 64, 64)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("identity", IMAGE),
        ("hflip", torch.from_numpy(np.ascontiguousarray(IMAGE.numpy()[..., ::-1]))),
        ("vflip", torch.from_numpy(np.ascontiguousarray(IMAGE.numpy()[..., ::-1, :]))),
        ("rot90", torch.from_numpy(np.rot90(IMAGE.numpy(), 1, (2, 3)).copy())),
        ("rot180", torch.from_numpy(np.rot90(IMAGE.numpy(), 2, (2, 3)).copy())),
        ("rot270", torch.from_numpy(np.rot90(IMAGE.numpy(), 3, (2, 3)).copy())),
    ],
)
def test_views(name: str, expected: torch.Tensor) -> None:
    assert torch.equal(view(IMAGE, name), expected)


@pytest.mark.parametrize(
    ("name", "dy", "dx"), [("shift_up", -2, 0), ("shift_down", 2, 0), ("shift_left", 0, -2), ("shift_right", 0, 2)]
)
def test_shifts_move_by_a_32nd_of_the_side(name: str, dy: int, dx: int) -> None:
    moved = view(IMAGE, name)
    assert moved.shape == IMAGE.shape
    assert torch.equal(moved[:, :, 4:60, 4:60], IMAGE[:, :, 4 - dy : 60 - dy, 4 - dx : 60 - dx])


def test_moves_are_made_one_after_the_other() -> None:
    moved = view(IMAGE, "hflip+shift_up+shift_left")
    assert torch.equal(moved[:, :, :60, :60], IMAGE.flip(3)[:, :, 2:62, 2:62])
    assert not torch.equal(moved, view(IMAGE, "shift_up+shift_left+hflip"))


def test_probabilities_are_the_tasks() -> None:
    logits = torch.tensor([[1.0, 2.0, 3.0]])
    assert torch.allclose(activate(logits, Task("single", ("a", "b", "c"), "accuracy", ("y",))), logits.softmax(1))
    assert torch.allclose(activate(logits, Task("multi", ("a", "b", "c"), "micro_f1", ("y",))), logits.sigmoid())
    assert activate(torch.tensor([[2.0]]), Task("number", (), "rmse", ("y",), mean=10.0, std=3.0)).item() == 16.0


def test_views_are_averaged_as_probabilities() -> None:
    class Corner(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images[:, :2, 0, 0]

    task = Task("single", ("a", "b"), "accuracy", ("y",))
    pixels = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)
    images = (pixels.float() / 255 - 0.5) / 0.25
    expected = (images[:, :2, 0, 0].softmax(1) + images[:, :2, 0, -1].softmax(1)) / 2
    machine = Machine(torch.device("cpu"), "float32")
    predictor = Predictor(Corner(), task, ((0.5,) * 3, (0.25,) * 3), np.full(2, 0.5, np.float32), 8, 4, machine)
    logits = Views([predictor], ("identity", "hflip"))(pixels)
    assert logits.shape == (1, 2, 4, 2)
    gathered = Gathered(task, 4, machine.device, with_first_view=True)
    gathered.add(Batch(pixels, None, 0), logits, None)
    assert np.allclose(gathered.probs().array, expected, atol=1e-6)
    assert np.allclose(gathered.probs(first_view=True).array, images[:, :2, 0, 0].softmax(1), atol=1e-6), (
        "the first view alone"
    )


def test_an_image_of_one_pixel_has_no_room_to_shift() -> None:
    image = torch.rand(1, 3, 1, 1)
    assert torch.equal(view(image, "shift_up"), image)


def test_what_networks_draw_is_seeded() -> None:
    machine = Machine(torch.device("cpu"), "float32")
    draws = []
    for seed in (1, 1, 2):
        machine.seed(seed)
        draws.append(torch.rand(3))
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
