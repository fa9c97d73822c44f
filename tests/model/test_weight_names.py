import json
from pathlib import Path

import pytest

from pipeline.model.weight_names import Network, known_by, timm_network, timm_network_of_any_tag

RESNET = Network("resnet18", ("a1_in1k",), ("resnet18_a1_0-d63eafa0.pth",), num_classes=1000)


@pytest.mark.parametrize(
    "path",
    [
        "resnet18_a1_0-d63eafa0.pth",
        "resnet18-a1-0-d63eafa0.pth",
        "resnet18.safetensors",
        "ResNet18.pt",
        "resnet18.bin",
        "resnet18.pth.tar",
        "resnet18.a1_in1k.pth",
        "resnet18-a1-in1k.safetensors",
        "resnet18/model.safetensors",
        "resnet18.a1_in1k/pytorch_model.bin",
        "resnet18/pytorch/default/1/model.safetensors",
        "resnet18/pyTorch/a1-in1k/12/pytorch_model.bin",
        f"models--timm--resnet18.a1_in1k/snapshots/{'0a' * 20}/model.safetensors",
    ],
)
def test_names_of_a_network(path: str, tmp_path: Path) -> None:
    assert known_by(RESNET, tmp_path / path) is not None
    assert known_by(Network("resnet34", ("a1_in1k",)), tmp_path / path) is None


@pytest.mark.parametrize(
    "path",
    [
        "resnet18.npz",
        "resnet18",
        "resnet18_fold0.pth",
        "resnet18.tv_in1k.pth",
        "resnet18d.pth",
        "model.pth",
        "model.safetensors",
        "resnet18/resnet34/model.safetensors",
        "resnet18/last/model.safetensors",
        "resnet18/pytorch/tv_in1k/1/model.safetensors",
        "pytorch/1/model.safetensors",
    ],
)
def test_names_of_something_else(path: str, tmp_path: Path) -> None:
    assert known_by(RESNET, tmp_path / path) is None


@pytest.mark.parametrize(
    ("said", "is_it"),
    [
        ({"architecture": "resnet18"}, True),
        ({"architecture": "resnet18", "num_classes": 1000, "pretrained_cfg": {"tag": "a1_in1k"}}, True),
        ({"architecture": "resnet18", "pretrained_cfg": {"tag": "tv_in1k"}}, False),
        ({"architecture": "resnet34"}, False),
        ({"architecture": "resnet18", "num_classes": 5}, False),
        ({"architecture": "resnet18", "pretrained_cfg": {"num_classes": 5}}, False),
        ({"architectures": ["ResNetForImageClassification"]}, False),
        (["resnet18"], False),
        ("{", False),
    ],
)
def test_what_config_json_says(said: object, is_it: bool, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(said if isinstance(said, str) else json.dumps(said))
    assert (known_by(RESNET, tmp_path / "model.safetensors") is not None) == is_it
    assert known_by(RESNET, tmp_path / "other.safetensors") is None


def test_config_json_says_more_than_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "resnet18"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"architecture": "resnet34"}))
    assert known_by(RESNET, folder / "model.safetensors") is None


def test_the_name_that_says_most_comes_first(tmp_path: Path) -> None:
    ranks = [known_by(RESNET, tmp_path / name) for name in ("resnet18.a1_in1k.pth", "resnet18.pth")]
    assert [rank and rank[0] for rank in ranks] == [0, 1]


def test_a_network_of_timm_is_its_entry() -> None:
    import timm

    entry = timm.models.get_pretrained_cfg("tf_efficientnet_lite0")
    for name in ("tf_efficientnet_lite0", "tf_efficientnet_lite0.in1k"):
        network = timm_network(name)
        assert str(network) == "tf_efficientnet_lite0.in1k"
        assert network.files == ("tf_efficientnet_lite0-0aa007d2.pth",)
        assert network.url == entry.url and network.repository == entry.hf_hub_id
    assert str(timm_network("convnext_tiny_in22ft1k")) == "convnext_tiny.fb_in22k_ft_in1k"


def test_any_tag_will_do_where_none_is_named() -> None:
    import timm

    tagged = {name.partition(".")[2] for name in timm.list_models("resnet18.*", pretrained=True)}
    network = timm_network_of_any_tag("resnet18")
    assert set(network.tags) == tagged and network.tags[0] == timm.models.get_pretrained_cfg("resnet18").tag
    assert timm_network_of_any_tag("resnet18.tv_in1k").tags == ("tv_in1k",)


def test_no_two_networks_of_timm_share_a_name(tmp_path: Path) -> None:
    """Names that differ in their separators alone would be one network's and the other's."""
    import timm

    files: dict[str, set[str]] = {}
    for name in [*timm.list_models(pretrained=True), *timm.list_models()]:
        files.setdefault(name.lower().replace(".", "_"), set()).add(name)
    assert not [names for names in files.values() if len(names) > 1]
