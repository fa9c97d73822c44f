"""What does not learn stays to the bit: parameters and statistics, of a network that drops paths and normalises."""

import pytest
import timm
import torch
from torch import Tensor, nn

from pipeline.config import ConfigError, ModelConfig, TrainConfig
from pipeline.engine.losses import make_loss
from pipeline.engine.run_model import run_model
from pipeline.engine.state import TrainState
from pipeline.engine.training import Training
from pipeline.images.batches import Batch
from pipeline.model.build import build_model
from pipeline.model.weights import head_prefixes
from states import CPU, state_of

LOSS = make_loss(TrainConfig(), "single", None)


class Few:
    """Two batches of four images of noise, as `Batches` gives them."""

    num_images, batch_size, name = 8, 4, "few"

    def bounds(self) -> list[tuple[int, int]]:
        return [(0, 4), (4, 8)]

    def starting_at(self, first_step: int) -> list[object]:
        torch.manual_seed(1)
        images = torch.randn(8, 3, 32, 32)
        return [
            Batch(images[start:stop], torch.arange(stop - start) % 3, step)
            for step, (start, stop) in enumerate(self.bounds())
        ]


def trained(model: nn.Module, num_epochs: int, **settings: object) -> TrainState:
    cfg = TrainConfig(**{"num_epochs": 4, "lr": 0.05, "optimizer": "sgd", "schedule": "constant", **settings})  # type: ignore[arg-type]
    training = Training(state_of(cfg, model, [4, 4]))
    for _ in range(num_epochs):
        run_model(model, Few(), "train", CPU, training.state.gathered, LOSS, training)  # type: ignore[arg-type]
        training.state.end_epoch({})
    return training.state


def network() -> nn.Module:
    return build_model(ModelConfig(name="mobilenetv3_small_050", drop_path=0.2), 32, 3, 3, 0)


def changed(model: nn.Module, before: dict[str, Tensor]) -> set[str]:
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


def copied(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("optimizer", ["sgd", "nesterov", "adamw", "rmsprop", "muon", "lamb"])
def test_the_classifier_learns_alone_at_first(optimizer: str) -> None:
    model = network()
    before = copied(model)
    trained(model, 1, freeze_epochs=1, optimizer=optimizer)
    assert changed(model, before) == {"classifier.weight", "classifier.bias"}
    model = network()
    trained(model, 2, freeze_epochs=1, optimizer=optimizer)
    assert changed(model, before) == set(before), "then all does, statistics too"


def test_batch_norms_stay_as_they_are_published() -> None:
    model = network()
    norms = {
        f"{name}.{key}"
        for name, module in model.named_modules()
        if isinstance(module, nn.BatchNorm2d)
        for key in module.state_dict()
    }
    before = copied(model)
    trained(model, 2, freeze_norms=True)
    assert len(norms) > 20 and changed(model, before) == set(before) - norms


def test_a_frozen_network_gives_the_classifier_what_it_gives_in_evaluation() -> None:
    """No path is dropped and no batch's statistics are taken in what waits."""
    model = network()
    seen: list[Tensor] = []
    model.get_submodule("classifier").register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    trained(model, 1, freeze_epochs=1)
    whole, seen[:] = torch.cat(seen), []
    model.eval()
    for batch in Few().starting_at(0):
        model(batch.images)  # type: ignore[attr-defined]
    assert torch.equal(torch.cat(seen), whole)


@pytest.mark.parametrize("decay", [1.0, 0.5])
@pytest.mark.parametrize("head", [1.0, 10.0])
@pytest.mark.parametrize("name", ["test_efficientnet", "test_vit"])
def test_rates_by_layer_are_timms(name: str, head: float, decay: float) -> None:
    model = build_model(ModelConfig(name=name), 160 if name == "test_vit" else 32, 3, 3, 0)
    cfg = TrainConfig(lr=0.5, layer_decay=decay, head_lr=head)
    state = state_of(cfg, model, [4])
    names = {id(parameter): key for key, parameter in model.named_parameters()}
    rates = {names[id(p)]: group["lr"] for group in state.optimizer.param_groups for p in group["params"]}
    assert rates.keys() == set(names.values())
    expected = dict.fromkeys(rates, 1.0)
    if decay < 1:
        for group in timm.optim.param_groups_layer_decay(model, 0.05, layer_decay=decay):
            expected |= dict.fromkeys((names[id(p)] for p in group["params"]), group["lr_scale"])
        assert len(set(expected.values())) > 2
    for key, scale in expected.items():
        is_head = key.startswith(head_prefixes(model))
        assert rates[key] == pytest.approx(0.5 * scale * (head if is_head else 1.0)), key
    if decay < 1:
        first = min(rates, key=lambda key: rates[key])
        assert first.startswith(("conv_stem", "bn1", "patch_embed", "cls_token", "pos_embed", "reg_token"))


def test_layers_that_are_not_grouped_have_one_rate() -> None:
    with pytest.raises(ConfigError, match=r"train.layer_decay must be 1 for networks that do not group"):
        state_of(TrainConfig(layer_decay=0.5), build_model(ModelConfig(name="resnet9", width=4), 16, 3, 3, 0), [4])


def test_the_rates_of_all_groups_follow_the_schedule() -> None:
    model = network()
    state = trained(model, 1, head_lr=3.0)
    assert {round(group["lr"], 6) for group in state.optimizer.param_groups} == {0.05, 0.15}
