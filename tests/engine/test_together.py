"""A network that several processes train together; what they make of it, `tests/test_processes.py` shows."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.nn import functional

from pipeline.config import ConfigError
from pipeline.engine.together import Together, must_multiply_alike
from pipeline.engine.whole_batch import WholeBatch, depends_on_batch
from pipeline.images.batches import Batch, Share
from pipeline.processes import ONE, Team

NETWORK = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Dropout(0.5))


def share(start: int, stop: int, length: int = 8) -> Share:
    places = torch.arange(start, stop).numpy()
    return Share(0, 0, length, slice(start, stop), places, None, counts=True)


def test_norms_that_learn_are_not_synchronised_where_activations_are_computed_again() -> None:
    together = Together(NETWORK.train(), Team(0, 2), sync_norms=True, recomputes=True)
    with pytest.raises(ConfigError, match="sync_norms must be false"):
        together.network()


@pytest.mark.parametrize(("other", "is_one"), [("bfloat16", True), ("float16", False), ("float32", False)])
def test_gpus_of_several_precisions_train_nothing_together(
    monkeypatch: pytest.MonkeyPatch, other: str, is_one: bool
) -> None:
    """What each of two processes asks the other, played: the same error in both."""
    asked: list[list[int]] = []
    monkeypatch.setattr(Team, "largest", lambda _, values: asked.append(values) or values)
    must_multiply_alike(other, Team(1, 2))
    monkeypatch.setattr(Team, "largest", lambda _, values: [max(pair) for pair in zip(values, asked[0], strict=True)])
    with nullcontext() if is_one else pytest.raises(ConfigError, match=f"Got .*{other}.*set train.precision"):
        must_multiply_alike("bfloat16", Team(0, 2))


def test_a_process_by_itself_is_left_alone() -> None:
    together = Together(NETWORK.train(), ONE, sync_norms=True, recomputes=False)
    batch = Batch(torch.zeros(8, 3, 4, 4), torch.zeros(8), 0, share(0, 8))
    assert together.network() is NETWORK and together.weight(batch) == 1.0
    with together.whole_batch(batch):
        assert not isinstance(torch.overrides._get_current_function_mode(), WholeBatch)


@pytest.mark.parametrize(("start", "stop", "expected"), [(0, 3, 3 * 3 / 8), (3, 5, 2 * 3 / 8), (5, 8, 3 * 3 / 8)])
def test_the_mean_over_processes_is_that_over_images(start: int, stop: int, expected: float) -> None:
    together = Together(NETWORK, Team(0, 3), sync_norms=True, recomputes=False)
    assert together.weight(Batch(torch.zeros(stop - start, 1), None, 0, share(start, stop))) == pytest.approx(expected)


@pytest.mark.parametrize(
    "draws",
    [
        lambda images: functional.dropout(images, 0.4, training=True),
        lambda images: functional.dropout2d(images, 0.4, training=True),
        lambda images: nn.Dropout(0.4, inplace=True)(images),
        lambda images: images * images.new_empty((len(images), 1, 1, 1)).bernoulli_(0.6),
        lambda images: functional.dropout(images.repeat_interleave(3, 0), 0.4, training=True),
    ],
)
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_what_is_drawn_for_a_part_is_what_is_drawn_for_it_in_the_whole(draws, order) -> None:
    images = torch.rand(8, 3, 4, 4).to(memory_format=order) + 0.5
    torch.default_generator.manual_seed(7)
    whole = draws(images.clone(memory_format=torch.preserve_format))
    found = []
    for start, stop in ((0, 3), (3, 8)):
        torch.default_generator.manual_seed(7)
        with WholeBatch(share(start, stop), Team(0, 2), sync_norms=False):
            found.append(draws(images[start:stop].clone(memory_format=torch.preserve_format)))
    assert 0.2 < (whole == 0).float().mean() < 0.6
    torch.testing.assert_close(torch.cat(found), whole, rtol=1e-6, atol=0)


@pytest.mark.parametrize("training", [True, False])
def test_synchronised_norms_of_one_process_are_torchs(training: bool) -> None:
    """Values, statistics and gradients, against torch's own; a team of one adds nothing up."""
    torch.default_generator.manual_seed(0)
    images = torch.randn(8, 4, 3, 3) * 2 + 5
    found = []
    for synchronised in (False, True):
        norm = nn.BatchNorm2d(4).train(training)
        with torch.no_grad():
            norm.weight.copy_(torch.tensor([1.0, 2.0, 0.5, -1.0]))
        given = images.clone().requires_grad_()
        if synchronised:
            with WholeBatch(share(0, 8), ONE, sync_norms=True):
                said = norm(given)
        else:
            said = norm(given)
        said.square().mul(torch.arange(9.0).view(3, 3)).sum().backward()  # type: ignore[no-untyped-call]
        assert given.grad is not None and norm.weight.grad is not None and norm.bias.grad is not None
        buffers = [buffer.float() for buffer in norm.buffers()]
        found.append([said.detach(), given.grad, norm.weight.grad, norm.bias.grad, *buffers])
    for mine, torchs in zip(*found, strict=True):
        torch.testing.assert_close(mine, torchs, rtol=1e-4, atol=1e-4)


def test_norms_without_statistics_are_left_alone() -> None:
    """As weights that are standardised, whose gain has no bias."""
    weights, gain = torch.randn(1, 4, 9), torch.tensor([1.0, 2.0, 3.0, 4.0])
    expected = functional.batch_norm(weights, None, None, weight=gain, training=True, momentum=0.0)
    with WholeBatch(share(0, 3), Team(0, 2), sync_norms=True):
        said = functional.batch_norm(weights, None, None, weight=gain, training=True, momentum=0.0)
    assert torch.equal(said, expected)


def test_a_network_needs_the_whole_batch_where_it_draws_or_its_norms_learn() -> None:
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    assert depends_on_batch(plain, sync_norms=True) and not depends_on_batch(plain, sync_norms=False)
    assert not depends_on_batch(plain.eval(), sync_norms=True)
    assert depends_on_batch(NETWORK, sync_norms=False)
