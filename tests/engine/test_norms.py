"""What batch norms know of the images is right after any number of batches, not only after many."""

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.config import TrainConfig
from pipeline.engine.learn import learn
from pipeline.engine.losses import make_loss
from pipeline.engine.norms import FreshNorms
from pipeline.engine.state import TrainState
from pipeline.images.batches import Batch
from states import CPU, state_of

LOSS = make_loss(TrainConfig(), "single", None)
NUM_STEPS = 6


def network(momentum: float) -> nn.Module:
    return nn.Sequential(nn.BatchNorm2d(3, momentum=momentum), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))


def trained(model: nn.Module) -> tuple[TrainState, np.ndarray]:
    """A training of some batches, two to an epoch, and their images, float32 (steps, 4, 3, 2, 2)."""
    images = 5 + 3 * torch.randn(NUM_STEPS, 4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    state = state_of(TrainConfig(optimizer="sgd", lr=0.1), model, [4, 4])
    for step in range(NUM_STEPS):
        learn(model.train(), Batch(images[step], torch.arange(4) % 2, 4), CPU, LOSS, state)
        state.take_step()
        if state.step == state.num_steps:
            state.end_epoch({})
    return state, images.numpy()


@pytest.mark.parametrize("momentum", [0.1, 0.4])
def test_a_new_norm_weighs_the_batches_alone(momentum: float) -> None:
    model = network(momentum)
    _, images = trained(model)
    weights = momentum * (1 - momentum) ** np.arange(NUM_STEPS)[::-1]
    means, variances = images.mean(axis=(1, 3, 4)), np.swapaxes(images, 1, 2).reshape(NUM_STEPS, 3, -1).var(2, ddof=1)
    norm = model[0]
    np.testing.assert_allclose(norm.running_mean, np.average(means, axis=0, weights=weights), rtol=1e-5)
    np.testing.assert_allclose(norm.running_var, np.average(variances, axis=0, weights=weights), rtol=1e-5)


def test_so_do_the_pieces_of_a_batch() -> None:
    whole, pieces = network(0.1), network(0.1)
    images = torch.randn(2, 4, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    state = state_of(TrainConfig(optimizer="sgd", lr=0.1), pieces, [4, 4])
    state.pieces = 2
    for batch in images:
        learn(pieces.train(), Batch(batch, torch.arange(4) % 2, 4), CPU, LOSS, state)
        state.take_step()
    state = state_of(TrainConfig(optimizer="sgd", lr=0.1), whole, [2] * 4)
    for batch in images.flatten(0, 1).split(2):
        learn(whole.train(), Batch(batch, torch.arange(2), 2), CPU, LOSS, state)
        state.take_step()
    torch.testing.assert_close(pieces[0].running_mean, whole[0].running_mean)
    torch.testing.assert_close(pieces[0].running_var, whole[0].running_var)


def test_what_a_norm_knew_before_counts_as_torch_has_it() -> None:
    model, reference = network(0.1), network(0.1)
    for each in (model, reference):
        each[0].running_mean.fill_(0.3)
    _, images = trained(model)
    for batch in images:
        reference.train()(torch.from_numpy(batch))
    torch.testing.assert_close(model[0].running_mean, reference[0].running_mean)
    torch.testing.assert_close(model[0].running_var, reference[0].running_var)


def test_late_batches_count_by_the_momentum_to_the_bit() -> None:
    model = network(0.1)
    FreshNorms(model).count(1000)
    assert model[0].momentum == 0.1


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(3, momentum=None), nn.BatchNorm2d(3, track_running_stats=False)])
def test_norms_that_average_otherwise_are_left_alone(norm: nn.BatchNorm2d) -> None:
    momentum = norm.momentum
    FreshNorms(nn.Sequential(norm)).count(0)
    assert norm.momentum == momentum
