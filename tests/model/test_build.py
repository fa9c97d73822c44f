import random

import numpy as np
import pytest
import torch

from pipeline.config import ConfigError, ModelConfig
from pipeline.files import InputError
from pipeline.model.build import build_model, pretrained_statistics, timm_name

OWN = ["lenet5", "net", "mlp", "resnet9", "cifarnet"]
TIMM = ["test_resnet", "test_vit", "resnet18"]


def build(name, size=64, channels=3, num_outputs=5, seed=0, **settings):
    return build_model(ModelConfig(name=name, **settings), size, channels, num_outputs, seed)


@pytest.mark.parametrize("name", [*OWN, *TIMM])
@pytest.mark.parametrize("channels", [1, 4])
def test_builds_for_size_channels_and_outputs(name, channels):
    model = build(name, channels=channels)
    assert model.training
    assert model(torch.randn(2, channels, 64, 64)).shape == (2, 5)


@pytest.mark.parametrize("name", [*OWN, "test_resnet", "test_vit"])
def test_weights_are_a_function_of_the_seed(name):
    weights = [build(name, seed=seed).state_dict() for seed in (7, 7, 8)]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert not all(torch.equal(weights[0][key], weights[2][key]) for key in weights[0])


@pytest.mark.parametrize("name", ["mlp", "test_vit"])
def test_disturbs_no_generator(name):
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    build(name, seed=3)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.array_equal(np.random.get_state()[1], before[2])


def test_seeds_of_64_bits_serve():
    weights = build("lenet5", seed=2**64 - 1).conv1.weight
    assert not torch.equal(weights, build("lenet5", seed=0).conv1.weight)


def test_resnet9_takes_its_width_and_dropout():
    model = build("resnet9", width=4, dropout=0.25)
    assert model.prep.conv.out_channels == 4
    assert model.dropout.p == 0.25


def test_timm_takes_dropout_and_drop_path():
    model = build("test_resnet", dropout=0.3, drop_path=0.2)
    assert model.drop_rate == 0.3
    assert max(getattr(layer, "drop_prob", 0) or 0 for layer in model.modules()) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        # From none in the first block to all in the last (Huang et al. 2016, "Deep Networks with Stochastic Depth").
        ("test_resnet", np.linspace(0, 0.3, 4)[1:]),
        ("test_convnext", np.linspace(0, 0.3, 9)[1:]),
        ("test_vit", np.linspace(0, 0.3, 6)[1:].repeat(2)),
        # EfficientNet's reach it one block behind the last; blocks without a shortcut drop nothing.
        ("mobilenetv3_small_050", [0.3 * block / 12 for block in range(1, 12)]),
        # As in their papers, or by timm's choice, some drop every block at one rate.
        ("levit_128s", [0.3] * 20),
    ],
)
def test_drop_path_rises_with_depth(name, rates):
    drops = [layer for layer in build(name, drop_path=0.3).modules() if type(layer).__name__ == "DropPath"]
    assert [layer.drop_prob for layer in drops] == pytest.approx(list(rates))


def test_drop_path_drops_whole_branches_of_single_images():
    """Of a block that adds 1 to an image: none or all of it, and on average 1."""
    drop = next(layer for layer in build("levit_128s", drop_path=0.3).modules() if type(layer).__name__ == "DropPath")
    dropped = drop.train()(torch.ones(10_000, 2, 3))
    assert torch.equal(dropped, dropped[:, :1, :1].expand_as(dropped))
    assert dropped[:, 0, 0].unique().tolist() == pytest.approx([0, 1 / 0.7])
    assert dropped.mean() == pytest.approx(1, abs=4 * (0.3 / 0.7 / 10_000) ** 0.5)


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("resnet81", {}, ["resnet81", "Did you mean", "resnet18"]),
        ("lenet", {}, ["lenet5"]),
        ("test_resnet.nonsense", {}, ["test_resnet.nonsense", "test_resnet.r160_in1k"]),
        ("timm/resnet18", {}, ["resnet18"]),
        ("hf-hub:timm/resnet18.a1_in1k", {}, ["hf-hub", "model.pretrained = true"]),
        ("hf_hub:timm/resnet18.a1_in1k", {}, ["hf_hub", "model.pretrained = true"]),
        ("local-dir:/tmp", {}, ["local-dir", "model.pretrained = true"]),
        ("mlp", {"pretrained": True}, ["model.pretrained", "mlp", "model.weights"]),
        ("resnet18", {"pretrained": True, "weights": "a.pth"}, ["model.pretrained", "model.weights"]),
        ("mlp", {"drop_path": 0.1}, ["model.drop_path", "0.1"]),
        ("dla46_c", {"drop_path": 0.1}, ["model.drop_path = 0.1", "dla46_c"]),
        ("lcnet_035", {"drop_path": 0.1}, ["model.drop_path must be 0 for lcnet_035", "0.1"]),
        ("test_efficientnet", {"drop_path": 0.1}, ["model.drop_path must be 0 for test_efficientnet", "0.1"]),
        ("test_vit2", {"pretrained": True, "weights": "x"}, ["exclude"]),
    ],
)
def test_refuses_what_cannot_be_had(name, settings, words):
    with pytest.raises(ConfigError) as error:
        build(name, **settings)
    assert all(word in str(error.value) for word in words), error.value


@pytest.mark.parametrize(("name", "size"), [("lenet5", 11), ("net", 15), ("resnet9", 7), ("levit_128s", 8)])
def test_refuses_images_that_are_too_small(name, size):
    with pytest.raises(ConfigError, match=rf"image\.size.* {size}"):
        build(name, size=size)


def test_refuses_what_gives_no_logits(monkeypatch):
    import timm

    monkeypatch.setattr(timm, "create_model", lambda name, **settings: torch.nn.Identity())
    with pytest.raises(ConfigError, match="no classifier"):
        build("resnet18")


def test_tagged_name_needs_no_pretrained():
    assert build("test_resnet.r160_in1k").num_classes == 5


def test_sizes_of_networks_with_a_fixed_size():
    model = build("test_vit", size=48)
    assert model.pos_embed.shape[1] == 1 + 9


def test_statistics_are_those_of_the_published_weights():
    mean, std = pretrained_statistics(build("resnet18"))
    assert mean == (0.485, 0.456, 0.406)
    assert std == (0.229, 0.224, 0.225)
    assert pretrained_statistics(build("mlp")) is None


def test_hub_names_are_fetched_with_pretrained(monkeypatch, tmp_path):
    import json

    import safetensors.torch
    import timm

    source = timm.create_model("test_resnet", num_classes=7).state_dict()
    safetensors.torch.save_file(source, tmp_path / "model.safetensors")
    config = {"architecture": "test_resnet", "num_classes": 7, "pretrained_cfg": {"classifier": "fc"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = build(f"local-dir:{tmp_path}", pretrained=True)
    assert torch.equal(model.layer1[0].conv1.weight, source["layer1.0.conv1.weight"])
    cfg = ModelConfig(name=f"local-dir:{tmp_path}", pretrained=True)
    assert timm_name(cfg, model, 64, 3, 5) == "test_resnet"
    with pytest.raises(InputError, match="nowhere"):
        build("local-dir:nowhere", pretrained=True)


def test_a_fetched_network_that_its_name_alone_does_not_make_is_refused(tmp_path):
    import json

    import safetensors.torch
    import timm

    other = {"stem_width": 8}
    source = timm.create_model("test_resnet", num_classes=7, **other).state_dict()
    safetensors.torch.save_file(source, tmp_path / "model.safetensors")
    config = {"architecture": "test_resnet", "num_classes": 7, "model_args": other}
    (tmp_path / "config.json").write_text(json.dumps(config | {"pretrained_cfg": {"classifier": "fc"}}))
    name = f"local-dir:{tmp_path}"
    model = build(name, pretrained=True)
    with pytest.raises(ConfigError, match="arguments of its own"):
        timm_name(ModelConfig(name=name, pretrained=True), model, 64, 3, 5)


def test_no_published_weights_is_said(monkeypatch):
    with pytest.raises(ConfigError, match="no published weights"):
        build("vit_base_patch16_18x2_224", pretrained=True)


def test_own_networks_do_without_timm():
    import subprocess
    import sys

    code = (
        "import sys; from pipeline.config import ModelConfig; from pipeline.model.build import build_model; "
        "build_model(ModelConfig(name='mlp'), 8, 1, 2, 0); sys.exit('timm' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("name", "channels"), [("test_resnet", 4), ("tresnet_m", 1), ("tresnet_m", 4)])
def test_published_weights_are_refused_where_timm_would_start_the_first_layer_at_random(
    name, channels, nowhere, workplace
):
    import safetensors.torch
    import timm

    # timm's own answer: it raises what its loader takes for "random".
    weight = timm.create_model(name).get_submodule(timm.get_pretrained_cfg(name).first_conv).weight
    try:
        timm.models.adapt_input_conv(channels, weight)
        adapts = True
    except NotImplementedError:
        adapts = False
    network = timm.get_pretrained_cfg(name)
    (workplace / "input" / "weights").mkdir()
    source = timm.create_model(name).state_dict()
    safetensors.torch.save_file(source, workplace / "input" / "weights" / f"{name}.{network.tag}.safetensors")
    if adapts:
        build(name, size=32, channels=channels, pretrained=True)
    else:
        with pytest.raises(ConfigError, match=rf"image\.channels must be 3 .*random for others\. Got {channels}"):
            build(name, size=32, channels=channels, pretrained=True)
