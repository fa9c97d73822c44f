"""The state of a training: what a step changes, by torch's own optimizers and the averages' recurrence."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from pipeline.config import TrainConfig
from pipeline.engine.losses import make_loss
from states import state_of

LOSS = make_loss(TrainConfig(), "single", None)
PLAIN = {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0, "schedule": "constant"}


@pytest.mark.parametrize(
    ("sizes", "accumulate"),
    [([3] * 4, 4), ([4] * 3, 5), ([32, 2], 2), ([8, 8, 8, 8, 2], 3), ([5, 5, 5, 5, 3], 2), ([4, 4, 5], 3)],
)
def test_accumulated_batches_make_the_gradient_of_one_large_batch(sizes: list[int], accumulate: int) -> None:
    """Against plain torch: a step for the mean loss over all images of a group, of whatever sizes its batches are."""
    torch.manual_seed(0)
    inputs, targets = torch.randn(sum(sizes), 5).split(sizes), (torch.arange(sum(sizes)) % 3).split(sizes)
    model, plain = nn.Linear(5, 3), nn.Linear(5, 3)
    plain.load_state_dict(model.state_dict())
    state = state_of(TrainConfig(num_epochs=2, accumulate=accumulate, lr=0.1, **PLAIN), model, sizes)
    sgd = torch.optim.SGD(plain.parameters(), 0.1)
    for _ in range(2):
        for part, wanted in zip(inputs, targets, strict=True):
            state.add_gradients(LOSS(model(part), wanted).mean())
            state.take_step()
        state.end_epoch({})
        for first in range(0, len(sizes), accumulate):
            group = slice(first, first + accumulate)
            sgd.zero_grad()
            functional.cross_entropy(plain(torch.cat(inputs[group])), torch.cat(targets[group])).backward()
            sgd.step()
    assert torch.allclose(model.weight, plain.weight, atol=1e-6) and torch.allclose(model.bias, plain.bias, atol=1e-6)


def test_gradients_are_clipped() -> None:
    model = nn.Linear(2, 3)
    state = state_of(TrainConfig(num_epochs=1, clip_grad=0.01, lr=1.0, **PLAIN), model, [3])
    before = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
    # One image for every class: the model cannot be right about all of them.
    state.add_gradients(LOSS(model(torch.full((3, 2), 100.0)), torch.arange(3)).mean())
    state.take_step()
    after = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert torch.linalg.vector_norm(after - before) == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("decay", [0.3, 0.9])
def test_the_average_follows_its_recurrence(decay: float) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    state = state_of(TrainConfig(num_epochs=1, ema=decay, lr=0.5, **PLAIN), model, [6] * 11)
    assert state.final is not model
    expected = copy.deepcopy(model.state_dict())
    for update in range(1, 12):
        state.add_gradients(LOSS(model(torch.randn(6, 5)), torch.arange(6) % 3).mean())
        state.take_step()
        keep = min(decay, (1 + update) / (10 + update))
        for name, value in model.state_dict().items():
            floating = value.is_floating_point()
            expected[name] = keep * expected[name] + (1 - keep) * value if floating else value.clone()
    for name, value in state.final.state_dict().items():
        torch.testing.assert_close(value, expected[name], msg=name)
    assert state.final[1].num_batches_tracked == 11 and not torch.equal(state.final[0].weight, model[0].weight)


def test_without_an_average_the_network_itself_predicts() -> None:
    model = nn.Linear(2, 3)
    assert state_of(TrainConfig(), model, [3]).final is model


def test_the_rate_at_an_epoch_s_start_is_halved_with_the_others() -> None:
    state = state_of(TrainConfig(num_epochs=2, lr=0.5, **PLAIN), nn.Linear(2, 3), [3])
    assert state.epoch_lr == 0.5
    state.halve_lr()
    assert state.epoch_lr == 0.25
    state.add_gradients(LOSS(state.model(torch.ones(3, 2)), torch.arange(3)).mean())
    state.take_step()
    assert [group["lr"] for group in state.optimizer.param_groups] == [0.25] * 2
