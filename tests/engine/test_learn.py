"""A batch that memory is too little for: its step is the same, and the pass that failed leaves nothing behind."""

import copy
import logging
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.config import TrainConfig
from pipeline.engine.learn import learn
from pipeline.engine.losses import make_loss
from pipeline.engine.state import TrainState
from pipeline.images.batches import Batch
from states import CPU, state_of

LOSS = make_loss(TrainConfig(), "single", None)
PLAIN = {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0, "schedule": "constant", "lr": 0.1, "num_epochs": 1}


class _Limited(torch.autograd.Function):
    """Passes on what fits, and gradients of what fits."""

    @staticmethod
    def forward(context: Any, inputs: Tensor, most: int, most_back: int) -> Tensor:
        context.most_back = most_back
        if len(inputs) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return inputs.clone()

    @staticmethod
    def backward(context: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        if len(grads[0]) > context.most_back:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return grads[0], None, None


class Room(nn.Module):
    """What has room for so many images, in the forward pass or in the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.most = self.most_back = 100

    def forward(self, inputs: Tensor) -> Tensor:
        return _Limited.apply(inputs, self.most, self.most_back)  # type: ignore[no-any-return]


def batches(*sizes: int) -> list[Batch]:
    torch.manual_seed(1)
    return [Batch(torch.randn(size, 5), torch.arange(size) % 3, 0) for size in sizes]


def step(state: TrainState, batch: Batch) -> None:
    learn(state.model, batch, CPU, LOSS, state)
    state.take_step()


@pytest.mark.parametrize("where", ["most", "most_back"])
def test_statistics_are_as_if_the_pass_that_failed_had_not_been(where: str, caplog: pytest.LogCaptureFixture) -> None:
    """Those of torch's own batch norm, which sees the pieces alone."""
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(4)
    norm.running_mean += 0.1  # of one that has seen images, as torch has it
    # What has no room lies behind the norm in the forward pass, and before it in the backward pass.
    layers = [nn.Linear(5, 4), norm, Room(), nn.Linear(4, 3)]
    model = nn.Sequential(*layers).train()
    setattr(layers[2], where, 2)
    first, expected, (batch,) = copy.deepcopy(layers[0]), copy.deepcopy(norm), batches(8)
    with caplog.at_level(logging.INFO, "pipeline"):
        step(state_of(TrainConfig(**PLAIN), model, [8]), batch)  # type: ignore[arg-type]
    for piece in batch.images.split(2):
        expected(first(piece))
    assert norm.num_batches_tracked == expected.num_batches_tracked == 4
    assert torch.allclose(norm.running_mean, expected.running_mean)  # type: ignore[arg-type]
    assert torch.allclose(norm.running_var, expected.running_var)  # type: ignore[arg-type]
    said = "in %s pieces, whose gradients make one step; batch norm sees a piece at a time"
    assert [message.partition("network ")[2] for message in caplog.messages] == [said % 2, said % 4]


@pytest.mark.parametrize("where", ["most", "most_back"])
@pytest.mark.parametrize("failing", [0, 1, 2])
def test_any_batch_of_an_accumulated_step_may_begin_again(where: str, failing: int) -> None:
    """The step is plain torch's, for the mean loss over all images of the group."""
    torch.manual_seed(0)
    sizes = (4, 8, 6)
    room, group = Room(), batches(*sizes)
    # In the backward pass the last layer has its gradients before the pass fails.
    model = nn.Sequential(nn.Linear(5, 4), room, nn.Linear(4, 3)).train()
    plain = nn.Sequential(copy.deepcopy(model[0]), copy.deepcopy(model[2]))
    state = state_of(TrainConfig(accumulate=3, **PLAIN), model, sizes)  # type: ignore[arg-type]
    for place, batch in enumerate(group):
        setattr(room, where, 3 if place >= failing else 100)
        step(state, batch)
    images, targets = torch.cat([b.images for b in group]), torch.cat([b.targets for b in group])  # type: ignore[misc]
    sgd = torch.optim.SGD(plain.parameters(), 0.1)
    functional.cross_entropy(plain(images), targets).backward()
    sgd.step()
    assert state.pieces > 1
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)


def test_nothing_is_said_of_norms_where_none_learns(caplog: pytest.LogCaptureFixture) -> None:
    room = Room()
    room.most = 4
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4).eval(), room, nn.Linear(4, 3))
    with caplog.at_level(logging.INFO, "pipeline"):
        step(state_of(TrainConfig(**PLAIN), model, [8]), batches(8)[0])  # type: ignore[arg-type]
    assert caplog.messages[0].endswith("in 2 pieces, whose gradients make one step")
