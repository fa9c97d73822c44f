"""What a pass gathers: all of few classes, the likeliest and the true one of many, and the losses."""

import numpy as np
import pytest
import torch

from pipeline.competition.answers.task import Task
from pipeline.engine.gathered import Gathered
from pipeline.images.batches import Batch

CPU = torch.device("cpu")
FEW = Task("single", ("a", "b", "c"), "accuracy", ("label",))
MANY = Task("single", tuple(f"c{index:04d}" for index in range(1200)), "accuracy", ("label",))


def batches(task: Task, num_images: int = 10, size: int = 4) -> list[tuple[Batch, torch.Tensor, torch.Tensor]]:
    """Batches with logits and losses, from a seed."""
    torch.manual_seed(0)
    logits, losses = torch.randn(num_images, task.num_outputs), torch.rand(num_images)
    targets = torch.arange(num_images) % task.num_outputs
    places = [slice(start, min(start + size, num_images)) for start in range(0, num_images, size)]
    return [
        (Batch(logits[place], targets[place], step), logits[place], losses[place]) for step, place in enumerate(places)
    ]


def fill(gathered: Gathered, task: Task, first: int = 0) -> None:
    for batch, logits, losses in batches(task)[first:]:
        gathered.add(batch, logits, losses)


def test_all_of_few_classes_and_the_mean_loss() -> None:
    gathered = Gathered(FEW, 10, CPU)
    fill(gathered, FEW)
    logits, losses = (torch.cat(values) for values in list(zip(*batches(FEW), strict=True))[1:])
    assert np.allclose(gathered.probs().array, logits.softmax(1), atol=1e-6)
    assert gathered.loss == pytest.approx(losses.mean().item()) and gathered.bad_step == -1


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_the_first_step_whose_loss_is_not_finite(bad: float) -> None:
    gathered = Gathered(FEW, 10, CPU)
    for batch, logits, losses in batches(FEW):
        gathered.add(batch, logits, losses * (bad if batch.step else 1))
    assert gathered.bad_step == 1
    gathered.reset()
    assert gathered.bad_step == -1


@pytest.mark.parametrize("task", [FEW, MANY])
def test_a_pass_goes_on_from_what_was_saved(task: Task) -> None:
    whole, before, after = (Gathered(task, 10, CPU, top=3, with_true=True) for _ in range(3))
    fill(whole, task)
    for batch, logits, losses in batches(task)[:1]:
        before.add(batch, logits, losses)
    state = before.state_dict()
    assert state["values"].shape[:2] == (1, 4), "only what was seen"
    after.load_state_dict(state)
    fill(after, task, 1)
    assert after.loss == whole.loss
    for probs in (whole.probs(), after.probs()):
        assert np.array_equal(probs.best(3), whole.probs().best(3))


def test_a_pass_under_way_keeps_as_many_classes_as_it_began_with() -> None:
    """Another metric may ask for more: what was seen has them not."""
    before, after = Gathered(MANY, 10, CPU, top=1, with_true=True), Gathered(MANY, 10, CPU, top=5, with_true=True)
    for batch, logits, losses in batches(MANY)[:1]:
        before.add(batch, logits, losses)
    after.load_state_dict(before.state_dict())
    fill(after, MANY, 1)
    logits = torch.cat([logits for _, logits, _ in batches(MANY)])
    assert np.array_equal(after.probs().best(1)[:, 0], logits.argmax(1)) and after.num_kept == 2
    after.reset()
    assert after.num_kept == 6
