import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pipeline.config import ConfigError, TrainConfig
from pipeline.engine.optimizer import lr_factor, make_optimizer


def network(seed=0):
    torch.manual_seed(seed)
    # No bias before batch norm: its gradient is rounding alone, which Adam blows up.
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2)
    )
    return model.to(memory_format=torch.channels_last)


def train(model, optimizer, num_steps=4):
    generator = torch.Generator().manual_seed(5)
    for _ in range(num_steps):
        images = torch.randn(4, 3, 8, 8, generator=generator).to(memory_format=torch.channels_last)
        model(images).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return [parameter.detach() for parameter in model.parameters()]


def groups(model, decay):
    wide = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    flat = [parameter for parameter in model.parameters() if parameter.ndim == 1]
    return [{"params": wide, "weight_decay": decay}, {"params": flat, "weight_decay": 0.0}]


TORCHS = {
    "sgd": lambda g: torch.optim.SGD(g, 0.05, momentum=0.8, foreach=False, fused=False),
    "nesterov": lambda g: torch.optim.SGD(g, 0.05, momentum=0.8, nesterov=True, foreach=False, fused=False),
    "adam": lambda g: torch.optim.Adam(g, 0.05, betas=(0.8, 0.999), foreach=False, fused=False),
    "adamw": lambda g: torch.optim.AdamW(g, 0.05, betas=(0.8, 0.999), foreach=False, fused=False),
    "rmsprop": lambda g: torch.optim.RMSprop(g, 0.05, momentum=0.8, foreach=False),
}


@pytest.mark.parametrize("name", TORCHS)
def test_steps_are_those_of_torchs_plain_optimizers(name):
    cfg = TrainConfig(optimizer=name, lr=0.05, momentum=0.8, weight_decay=0.3)
    ours, plain = network(), network()
    actual = train(ours, make_optimizer(cfg, ours))
    expected = train(plain, TORCHS[name](groups(plain, 0.3)))
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["sgd", "nesterov", "adam", "adamw"])
def test_cpu_steps_are_fused(name):
    assert make_optimizer(TrainConfig(optimizer=name), network()).defaults["fused"] is True


@pytest.mark.parametrize("name", [*TORCHS, "lamb", "lookahead_adamw", "muon", "normed_muon"])
def test_biases_and_norms_do_not_decay(name):
    model = network()
    optimizer = make_optimizer(TrainConfig(optimizer=name, weight_decay=0.25), model)
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert len(decays) == len(list(model.parameters()))
    for parameter in model.parameters():
        assert decays[id(parameter)] == (0.25 if parameter.ndim > 1 else 0.0)
    assert all(group["lr"] == TrainConfig().lr for group in optimizer.param_groups)


def test_what_a_network_lists_does_not_decay():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.token, self.weight = nn.Parameter(torch.ones(1, 2)), nn.Parameter(torch.ones(2, 2))

        def no_weight_decay(self):
            return {"token"}

    model = Tokens()
    decaying, still = make_optimizer(TrainConfig(), model).param_groups
    assert [id(p) for p in decaying["params"]] == [id(model.weight)]
    assert [id(p) for p in still["params"]] == [id(model.token)]


def test_frozen_parameters_are_left_out():
    model = network()
    model[0].requires_grad_(False)
    optimizer = make_optimizer(TrainConfig(), model)
    assert not {id(p) for p in model[0].parameters()} & {id(p) for g in optimizer.param_groups for p in g["params"]}


@pytest.mark.parametrize(("name", "word"), [("adamww", "adamw"), ("nesterof", "nesterov"), ("adan_w", "adanw")])
def test_unknown_names_are_refused_with_the_nearest(name, word):
    with pytest.raises(ConfigError, match=rf"'train\.optimizer' must be .*Got '{name}'") as error:
        make_optimizer(TrainConfig(optimizer=name), network())
    assert f"'{word}'" in str(error.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "nesterov", "momentum": 0.0},
        {"optimizer": "adahessian"},
        {"optimizer": "lookahead_adahessian"},
    ],
)
def test_optimizers_that_cannot_work_are_refused(settings):
    with pytest.raises(ConfigError, match="must"):
        make_optimizer(TrainConfig(**settings), network())


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_an_optimizer_of_another_machine_is_refused():
    with pytest.raises(ConfigError, match="fusedadam"):
        make_optimizer(TrainConfig(optimizer="fusedadam"), network())


def test_an_optimizer_whose_state_cannot_be_kept_is_refused(monkeypatch):
    def made(groups, name, **settings):
        return torch.optim.SGD([{**group, "rule": print} for group in groups], 0.1)

    monkeypatch.setattr("timm.optim.create_optimizer_v2", made)
    with pytest.raises(ConfigError, match=r"train\.optimizer 'lamb' must work.* Got a builtin_function"):
        make_optimizer(TrainConfig(optimizer="lamb"), network())


# ---- schedule


@pytest.mark.parametrize("num_steps", [2, 3, 7, 10, 100])
@pytest.mark.parametrize("warmup", [0.0, 0.15, 0.45, 0.99])
def test_onecycle_is_torchs(num_steps, warmup):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, num_steps, pct_start=warmup or 0.3)
    cfg = TrainConfig(schedule="onecycle", warmup=warmup)
    for step in range(num_steps):
        assert lr_factor(cfg, step, num_steps, 5) == pytest.approx(schedule.get_last_lr()[0], rel=1e-6), step
        optimizer.step()
        if step < num_steps - 1:
            schedule.step()


def test_cosine_is_torchs():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)
    for step in range(20):
        assert lr_factor(TrainConfig(schedule="cosine"), step, 20, 5) == pytest.approx(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()


def test_step_is_torchs():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.5)
    cfg = TrainConfig(schedule="step", step_epochs=3, step_factor=0.5)
    for epoch in range(10):
        for step in range(epoch * 4, epoch * 4 + 4):
            assert lr_factor(cfg, step, 40, 4) == pytest.approx(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()


def test_linear_is_torchs():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 1.0)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, 20)
    for step in range(20):
        assert lr_factor(TrainConfig(schedule="linear"), step, 20, 5) == pytest.approx(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize("schedule", ["constant", "step", "linear", "cosine"])
def test_warmup_is_linear_and_ends_at_the_full_rate(schedule):
    cfg = TrainConfig(schedule=schedule, warmup=0.2)
    assert [lr_factor(cfg, step, 20, 20) for step in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


@settings(max_examples=200)
@given(
    schedule=st.sampled_from(["constant", "step", "linear", "cosine", "onecycle"]),
    warmup=st.floats(0, 1),
    num_steps=st.integers(1, 50),
    steps_per_epoch=st.integers(1, 20),
)
def test_every_factor_is_a_rate(schedule, warmup, num_steps, steps_per_epoch):
    cfg = TrainConfig(schedule=schedule, warmup=warmup, step_epochs=1)
    factors = [lr_factor(cfg, step, num_steps, steps_per_epoch) for step in range(num_steps)]
    assert all(0 < factor <= 1 + 1e-9 for factor in factors)
    peak = factors.index(max(factors))
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)


def test_one_step_has_a_rate():
    assert lr_factor(TrainConfig(schedule="onecycle"), 0, 1, 1) == 1.0


@pytest.mark.parametrize("schedule", ["constant", "step", "linear", "cosine", "onecycle"])
def test_a_short_training_learns_at_a_lower_rate_in_proportion(schedule: str) -> None:
    full, short = (TrainConfig(schedule=schedule, warmup=0.1, full_lr_steps=steps) for steps in (0, 80))
    for step in range(20):
        assert lr_factor(short, step, 20, 5) == pytest.approx(lr_factor(full, step, 20, 5) / 4)
    for step in (0, 40, 99):
        assert lr_factor(short, step, 100, 5) == lr_factor(full, step, 100, 5), "long enough"
