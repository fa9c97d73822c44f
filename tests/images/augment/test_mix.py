import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import AugmentConfig
from pipeline.images.augment.mix import draw_mixture
from pipeline.images.augment.mix import mix as mix_by

NUM = 12
KEYS = torch.arange(100, 100 + NUM)
TARGETS = torch.eye(NUM)


def planes(size=16):
    """Image i is the number i everywhere, so a mixture tells its parts."""
    return torch.arange(NUM, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 3, size, size).clone()


def mix(images, targets, keys, epoch, step, cfg, seed):
    """A whole batch, mixed by what is drawn for it."""
    mixture = draw_mixture(keys.numpy(), epoch, step, cfg, seed)
    return mix_by(images, targets, mixture, slice(None), torch.from_numpy(mixture.partners))


@settings(max_examples=30)
@given(step=st.integers(0, 10_000), epoch=st.integers(0, 500), cutmix=st.booleans(), size=st.sampled_from([1, 5, 16]))
def test_targets_weigh_what_the_pixels_show(step, epoch, cutmix, size):
    cfg = AugmentConfig(cutmix=1.0) if cutmix else AugmentConfig(mixup=0.4)
    images = planes(size)
    mixed, targets = mix(images, TARGETS, KEYS, epoch, step, cfg, 7)
    assert mixed.shape == images.shape and (images == planes(size)).all()
    torch.testing.assert_close(targets.sum(1), torch.ones(NUM))
    # The mean of a mixture of planes is the mean of their numbers by the same weights.
    torch.testing.assert_close(mixed.mean((1, 2, 3)), targets @ torch.arange(NUM, dtype=torch.float32))
    partners = (targets - targets.diagonal().diag()).sum(0)
    assert (partners.max() - partners.min()) < 1e-6 or len(set(partners.tolist())) <= 3  # a permutation
    if cutmix:
        assert torch.equal(mixed, mixed.round())


def test_cutmix_pastes_one_rectangle():
    for step in range(20):
        mixed, targets = mix(planes(), TARGETS, KEYS, 0, step, AugmentConfig(cutmix=1.0), 0)
        for index in range(NUM):
            pasted = mixed[index, 0] != index
            if pasted.any():
                assert pasted.sum() == pasted.any(1).sum() * pasted.any(0).sum()
                assert len(mixed[index, 0][pasted].unique()) == 1
                torch.testing.assert_close(targets[index, index], 1 - pasted.float().mean())


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_mixups_weight_is_beta(alpha):
    cfg = AugmentConfig(mixup=alpha)
    weights = []
    for step in range(600):
        _, targets = mix(planes(1), TARGETS, KEYS, 0, step, cfg, 0)
        values = targets.diagonal()
        weights += values[values < 1][:1].tolist()
    assert np.mean(weights) == pytest.approx(0.5, abs=0.07)
    assert np.var(weights) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.2)


def test_both_take_turns_and_draws_differ_by_step_epoch_and_seed():
    cfg = AugmentConfig(mixup=1.0, cutmix=1.0)
    pasted = sum(bool((m := mix(planes(), TARGETS, KEYS, 0, step, cfg, 0)[0]).equal(m.round())) for step in range(300))
    assert 110 < pasted < 190
    first = mix(planes(), TARGETS, KEYS, 0, 0, cfg, 0)[1]
    assert torch.equal(first, mix(planes(), TARGETS, KEYS, 0, 0, cfg, 0)[1])
    for epoch, step, seed in ((1, 0, 0), (0, 1, 0), (0, 0, 1)):
        assert not torch.equal(first, mix(planes(), TARGETS, KEYS, epoch, step, cfg, seed)[1])


@pytest.mark.parametrize("setting", ["mixup", "cutmix"])
def test_a_mixture_does_not_depend_on_the_batchs_order(setting):
    cfg = AugmentConfig(**{setting: 1.0})
    images = torch.rand(NUM, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    mixed, targets = mix(images, TARGETS, KEYS, 3, 4, cfg, 0)
    order = torch.randperm(NUM, generator=torch.Generator().manual_seed(1))
    again, again_targets = mix(images[order], TARGETS[order], KEYS[order], 3, 4, cfg, 0)
    assert torch.equal(again, mixed[order]) and torch.equal(again_targets, targets[order])


def test_strides_are_kept():
    images = planes().contiguous(memory_format=torch.channels_last)
    for cfg in (AugmentConfig(mixup=1.0), AugmentConfig(cutmix=1.0)):
        assert mix(images, TARGETS, KEYS, 0, 0, cfg, 0)[0].is_contiguous(memory_format=torch.channels_last)
