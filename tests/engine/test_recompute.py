"""What is computed again in the backward pass changes nothing: not gradients, statistics, nor what is drawn."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline import folds, prepare, train
from pipeline.config import Config, ConfigError, ModelConfig, TrainConfig
from pipeline.engine.recompute import recompute
from pipeline.engine.state import TrainState
from pipeline.model.build import build_model
from states import state_of

NETWORKS = ("test_resnet", "test_efficientnet", "test_vit", "test_nfnet")
MORE = ("resnet18", "convnext_atto", "swin_tiny_patch4_window7_224", "regnetx_002", "fastvit_t8", "coatnet_nano_rw_224")


def start(name: str, *, again: bool, **settings: object) -> TrainState:
    """The state of a training of a network that drops out, and drops paths where it can."""
    drop_path = 0.0 if name == "test_efficientnet" else 0.3
    model = build_model(ModelConfig(name=name, dropout=0.3, drop_path=drop_path), 64, 3, 3, 0)
    if again:
        recompute(model, name, 64, 3)
    cfg = TrainConfig(optimizer="sgd", lr=0.05, num_epochs=1, grad_checkpointing=again, **settings)  # type: ignore[arg-type]
    state = state_of(cfg, model, [4] * 4)
    model.train()
    state.freeze()
    return state


def train_steps(state: TrainState, num_steps: int) -> None:
    generator = torch.Generator().manual_seed(state.step)
    for _ in range(num_steps):
        state.seed_step()
        state.begin_piece(0, 1)
        images = torch.randn(4, 3, 64, 64, generator=generator)
        state.add_gradients(functional.cross_entropy(state.model(images), torch.arange(4) % 3))
        state.take_step()


def assert_equal(weights: dict[str, Tensor], others: dict[str, Tensor]) -> None:
    assert weights.keys() == others.keys()
    assert [name for name in weights if not torch.equal(weights[name], others[name])] == []


@pytest.mark.parametrize("name", [*NETWORKS, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE)])
def test_training_ends_with_the_same_bytes(name: str) -> None:
    plain, again = start(name, again=False), start(name, again=True)
    first = copy.deepcopy(plain.model.state_dict())
    for state in (plain, again):
        train_steps(state, 2)
        train_steps(state, 2)
    assert_equal(plain.model.state_dict(), again.model.state_dict())
    assert any(not torch.equal(first[key], value) for key, value in plain.model.state_dict().items())


@pytest.mark.parametrize("settings", [{"accumulate": 2}, {"freeze_norms": True}, {"freeze_epochs": 1}, {"ema": 0.9}])
def test_with_other_settings_too(settings: dict[str, object]) -> None:
    plain, again = (start("test_resnet", again=each, **settings) for each in (False, True))
    for state in (plain, again):
        train_steps(state, 4)
    assert_equal(plain.final.state_dict(), again.final.state_dict())


def test_a_training_goes_on_from_its_state_as_if_nothing_had_happened() -> None:
    whole, first, second = (start("test_resnet", again=True) for _ in range(3))
    for state in (whole, first):
        train_steps(state, 2)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for state in (whole, second):
        train_steps(state, 2)
    assert_equal(whole.model.state_dict(), second.model.state_dict())


class Deaf(nn.Module):
    """A network that takes the wish and ignores it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        self.is_asked = enable

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images).mean((2, 3))


@pytest.mark.parametrize("name", ["lenet5", "dla46_c", "levit_128s", "deaf"])
def test_networks_that_cannot_are_refused(name: str) -> None:
    """LeViT saves other tensors for the backward pass than when it computes again."""
    model = Deaf() if name == "deaf" else build_model(ModelConfig(name=name), 32, 3, 3, 0)
    with pytest.raises(ConfigError, match=f"train.grad_checkpointing must be false for {name}, which cannot"):
        recompute(model, name, 32, 3)


def test_nothing_is_made_anew_where_it_is_asked_for_later(
    competition: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    competition(num_train=9)
    options = ["--config", "configs/tiny.toml", "--set", "model.name=test_resnet", "image.size=32"]
    assert prepare.main(options) == folds.main(options) == train.main([*options, "--fold", "0"]) == 0
    later = [*options, "train.grad_checkpointing=true", "--fold"]
    assert train.main([*later, "0"]) == train.main([*later, "1"]) == 0
    said = capsys.readouterr().out
    assert "train 0: up to date" in said and "train 1" in said
