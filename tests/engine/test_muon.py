"""Muon: torch's own on matrices, torch's AdamW on the rest, and who gets which."""

import copy

import pytest
import torch
from torch import nn

from pipeline.config import ModelConfig, TrainConfig
from pipeline.engine.muon import Muon, orthogonalise
from pipeline.engine.optimizer import make_optimizer
from pipeline.model.build import build_model
from pipeline.model.networks import CifarNet


def steps(model: nn.Module, optimizer: torch.optim.Optimizer, num_steps: int = 5) -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(num_steps):
        model(torch.randn(16, 12, generator=generator)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


def test_matrices_move_as_by_torchs_muon() -> None:
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Linear(12, 20, bias=False), nn.Linear(20, 8, bias=False))
    theirs = copy.deepcopy(ours)
    before = ours[0].weight.detach().clone()
    group = {"params": list(ours.parameters()), "weight_decay": 0.1, "matrix": True}
    steps(ours, Muon([group], 0.02, 0.9))
    reference = torch.optim.Muon(
        theirs.parameters(), 0.02, weight_decay=0.1, momentum=0.9, adjust_lr_fn="match_rms_adamw"
    )
    # Theirs takes the mean of gradients and multiplies in bfloat16; the direction is the same.
    steps(theirs, reference)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert (one - other).abs().max() < 0.1 * (ours[0].weight - before).abs().max()


def test_the_rest_moves_as_by_torchs_adamw() -> None:
    torch.manual_seed(0)
    ours = nn.Linear(12, 3)
    theirs = copy.deepcopy(ours)
    steps(ours, Muon([{"params": list(ours.parameters()), "weight_decay": 0.1}], 0.01, 0.9))
    steps(theirs, torch.optim.AdamW(theirs.parameters(), 0.01, weight_decay=0.1))
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 16, 40), (2, 40, 16), (1, 8, 8)])
def test_singular_values_become_about_one(shape: tuple[int, int, int]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 1e-3
    values = torch.linalg.svdvals(orthogonalise(matrices))
    assert values.min() > 0.3 and values.max() < 1.3
    assert values.mean() == pytest.approx(0.9, abs=0.15)


def test_first_layer_classifier_and_vectors_are_not_matrices() -> None:
    model = CifarNet(16, 3, 10)
    optimizer = make_optimizer(TrainConfig(optimizer="muon"), model)
    kinds = {id(p): group["matrix"] for group in optimizer.param_groups for p in group["params"]}
    assert len(kinds) == sum(p.requires_grad for p in model.parameters())
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert kinds[id(parameter)] == (name.startswith("pairs") and "conv" in name), name


def test_none_of_several_first_layers_is_a_matrix() -> None:
    model = build_model(ModelConfig(name="fastvit_t8"), 32, 3, 10, 0)
    optimizer = make_optimizer(TrainConfig(optimizer="muon"), model)
    kinds = {id(p): group["matrix"] for group in optimizer.param_groups for p in group["params"]}
    convs = {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}
    sees_the_image = [name for name, conv in convs.items() if conv.in_channels == 3]
    assert len(sees_the_image) == 2
    assert not any(kinds[id(model.get_parameter(f"{name}.weight"))] for name in sees_the_image)
    assert kinds[id(model.get_parameter("stem.1.conv_kxk.0.conv.weight"))]


def test_norms_are_kept_where_they_are_to_be() -> None:
    torch.manual_seed(0)
    normed, plain = (nn.Sequential(nn.Linear(12, 20, bias=False), nn.Linear(20, 8, bias=False)) for _ in range(2))
    plain.load_state_dict(normed.state_dict())
    before = [parameter.detach().clone() for parameter in normed.parameters()]
    for model in (normed, plain):
        group = {"params": list(model.parameters()), "weight_decay": 1.0, "matrix": True}
        steps(model, Muon([group], 0.01, 0.9, keeps_norms=model is normed), 1)
    moved = zip(before, normed.state_dict().values(), plain.state_dict().values(), strict=True)
    for old, one, other in moved:
        assert one.norm().item() == pytest.approx(old.norm().item(), rel=1e-5)
        assert other.norm().item() != pytest.approx(old.norm().item(), rel=1e-3)
        # The direction is the same; only its length is another, for all shapes about 8 times the rate, in norms.
        step, plain_step = one - old, other - 0.99 * old
        across = step - (step * old).sum() / old.norm() ** 2 * old
        plain_across = plain_step - (plain_step * old).sum() / old.norm() ** 2 * old
        assert torch.cosine_similarity(across.flatten(), plain_across.flatten(), 0).item() == pytest.approx(1, abs=1e-4)
        assert 0.05 < across.norm() / one.norm() < 0.1


def test_matrices_of_zeros_move_as_by_plain_muon() -> None:
    moved = []
    for keeps_norms in (True, False):
        weight = nn.Parameter(torch.zeros(3, 12))
        optimizer = Muon([{"params": [weight], "weight_decay": 0.0, "matrix": True}], 0.1, 0.9, keeps_norms=keeps_norms)
        for seed in range(3):
            weight.grad = torch.randn(3, 12, generator=torch.Generator().manual_seed(seed))
            optimizer.step()
        moved.append(weight.detach())
    assert torch.equal(*moved) and moved[0].norm() > 0.01


@pytest.mark.parametrize("name", ["muon", "normed_muon"])
def test_the_state_goes_on_after_saving(name: str) -> None:
    torch.manual_seed(0)
    model = CifarNet(16, 3, 4)
    other = copy.deepcopy(model)
    cfg = TrainConfig(optimizer=name, lr=0.01)
    images = torch.randn(4, 3, 16, 16)

    def step(network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        network(images).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    optimizer = make_optimizer(cfg, model)
    step(model, optimizer)
    other.load_state_dict(model.state_dict())
    resumed = make_optimizer(cfg, other)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    step(model, optimizer)
    step(other, resumed)
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)
