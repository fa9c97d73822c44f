"""Published weights give the network that timm itself would make of them, wherever they lie."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
from torch import Tensor, nn

from pipeline.config import ConfigError, ModelConfig
from pipeline.files import InputError, digest_file
from pipeline.model.build import build_model
from played_hub import PlayedHub

RESNET, VIT = "test_resnet.r160_in1k", "test_vit.r160_in1k"
ADDRESS = "https://huggingface.co/timm/test_resnet.r160_in1k/resolve/main/model.safetensors"


def build(
    name: str = "test_resnet", size: int = 64, channels: int = 3, num_outputs: int = 5, **settings: Any
) -> nn.Module:
    return build_model(ModelConfig(name=name, **settings), size, channels, num_outputs, 0)


def weights_of(name: str) -> dict[str, Tensor]:
    torch.default_generator.manual_seed(5)
    return dict(timm.create_model(name).state_dict())


@pytest.fixture
def published(nowhere: PlayedHub, tmp_path: Path) -> Callable[[str], Path]:
    """A function that lays a network's weights on the hub; their file."""

    def lay(name: str) -> Path:
        path = tmp_path / f"on_the_hub_{name}"
        safetensors.torch.save_file(weights_of(name), path)
        nowhere.files[f"timm/{name}", "model.safetensors"] = path
        return path

    return lay


def assert_equal(model: nn.Module, other: nn.Module) -> None:
    ours, theirs = model.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    for key in ours:
        assert torch.equal(ours[key], theirs[key]), key


def by_timm(monkeypatch: pytest.MonkeyPatch, name: str, size: int, channels: int, num_outputs: int) -> nn.Module:
    """What timm makes of the same weights by itself, after as many draws."""
    source = weights_of(name)
    with monkeypatch.context() as patch:
        patch.setattr("timm.models._builder.has_hf_hub", lambda **_: True)
        patch.setattr("timm.models._builder.load_state_dict_from_hf", lambda *_, **__: dict(source))
        sizes = {"img_size": size} if timm.get_pretrained_cfg(name).fixed_input_size else {}
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            timm.create_model(name, in_chans=channels, num_classes=num_outputs, **sizes)
            return timm.create_model(name, pretrained=True, in_chans=channels, num_classes=num_outputs, **sizes)


@pytest.mark.parametrize(("channels", "num_outputs"), [(3, 5), (1, 5), (3, 1000), (1, 1000)])
@pytest.mark.parametrize("name", [RESNET, VIT])
def test_a_network_is_the_same_wherever_its_weights_lie(
    name: str,
    channels: int,
    num_outputs: int,
    nowhere: PlayedHub,
    published: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file, shape = published(name), (96, channels, num_outputs)
    expected = by_timm(monkeypatch, name, *shape)
    bare = name.partition(".")[0]
    assert_equal(build(bare, *shape, pretrained=True), expected)
    assert nowhere.asked == [f"timm/{name}/model.safetensors"]
    assert_equal(build(name, *shape, pretrained=True), expected)
    Path("input/weights").mkdir()
    shutil.copy(file, f"input/weights/{bare}.safetensors")
    shutil.rmtree("output/cache/weights")
    model = build(name, *shape, pretrained=True)
    assert_equal(model, expected)
    assert len(nowhere.asked) == 1, "they were fetched once"
    assert model.pretrained_cfg == expected.pretrained_cfg


def test_the_file_is_said_with_its_sha256(
    nowhere: PlayedHub, published: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    file = published(RESNET)
    with caplog.at_level(logging.INFO, "pipeline"):
        build(pretrained=True)
        build(pretrained=True)
    target = Path(f"output/cache/weights/{RESNET}.safetensors")
    size = f"{file.stat().st_size / 1e6:,.1f} MB"
    said = f"model: the published weights of {RESNET} are {target} (output/cache/weights, fetched), sha256 "
    assert caplog.messages == [
        f"model: the published weights of {RESNET} are fetched from {ADDRESS} ({size})",
        said + digest_file(file),
    ], "the file is said once, not for every model"
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    assert digest_file(target) == digest_file(file)


def test_an_older_file_of_the_hub_serves(nowhere: PlayedHub, tmp_path: Path) -> None:
    torch.save(weights_of(RESNET), tmp_path / "old.bin")
    nowhere.files[f"timm/{RESNET}", "pytorch_model.bin"] = tmp_path / "old.bin"
    model = build(pretrained=True)
    assert torch.equal(model.get_parameter("layer1.0.conv1.weight"), weights_of(RESNET)["layer1.0.conv1.weight"])
    assert Path(f"output/cache/weights/{RESNET}.bin").is_file()


def test_without_a_network_one_attempt_is_made_and_it_is_said_what_to_bring(nowhere: PlayedHub) -> None:
    nowhere.is_reached = False
    with pytest.raises(InputError) as caught:
        build(pretrained=True)
    message = str(caught.value)
    for words in (ADDRESS, f"input/weights as {RESNET}.safetensors", "Network is unreachable", "$PIPELINE_WEIGHTS"):
        assert words in message
    assert nowhere.hosts == ["huggingface.co"] and not nowhere.asked
    assert "\n" not in message


def test_where_the_hub_is_forbidden_nothing_is_tried(nowhere: PlayedHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"HF_HUB_OFFLINE is set.*input/weights"):
        build(pretrained=True)
    with pytest.raises(InputError, match=r"HF_HUB_OFFLINE is set.*local-dir"):
        build("hf-hub:timm/test_resnet.r160_in1k", pretrained=True)
    assert not nowhere.hosts


def test_names_on_the_hub_are_tried_once_too(nowhere: PlayedHub) -> None:
    nowhere.is_reached = False
    with pytest.raises(InputError, match=r"huggingface\.co is not reached.*local-dir:FOLDER"):
        build("hf-hub:timm/test_resnet.r160_in1k", pretrained=True)
    assert nowhere.hosts == ["huggingface.co"]


@pytest.mark.parametrize("variable", ["https_proxy", "ALL_PROXY"])
def test_a_proxy_is_what_must_be_reached(variable: str, nowhere: PlayedHub, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere.is_reached = False
    monkeypatch.setenv(variable, "http://proxy.example:3128")
    with pytest.raises(InputError, match=r"proxy\.example is not reached"):
        build(pretrained=True)
    assert nowhere.hosts == ["proxy.example"]


@pytest.mark.parametrize("error", [FileNotFoundError("no route"), RuntimeError("invalid hash value"), None])
def test_a_failed_download_leaves_nothing_and_names_the_file_to_bring(
    error: Exception | None, published: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub.errors import HfHubHTTPError

    published(RESNET)
    raised = error or HfHubHTTPError.__bases__[0]("the line went dead")

    def fail(*_: object, cache_dir: str, **__: object) -> None:
        (Path(cache_dir) / "model.safetensors.incomplete").write_bytes(b"half")
        raise raised

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    with pytest.raises(InputError) as caught:
        build(pretrained=True)
    assert ADDRESS in str(caught.value) and str(raised) in str(caught.value)
    assert not list(Path("output/cache/weights").iterdir())


def test_what_has_no_repository_is_fetched_from_its_address(
    nowhere: PlayedHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights/seresnet18-4bb0ce65.pth"

    def download(address: str, target: str, **_: object) -> None:
        nowhere.asked.append(address)
        torch.save(weights_of("legacy_seresnet18"), target)

    monkeypatch.setattr("torch.hub.download_url_to_file", download)
    build("legacy_seresnet18", size=32, pretrained=True)
    assert nowhere.asked == [url] and nowhere.hosts == ["github.com"]
    assert Path("output/cache/weights/legacy_seresnet18.in1k.pth").is_file()
    build("legacy_seresnet18", size=32, pretrained=True)
    assert nowhere.asked == [url]


def damaged(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def another(path: Path) -> None:
    safetensors.torch.save_file(weights_of("test_vit"), path)


def halved(path: Path) -> None:
    """timm passes over what lacks where the classes are others."""
    weights = weights_of("test_resnet")
    safetensors.torch.save_file({key: weights[key] for key in list(weights)[::2]}, path)


@pytest.mark.parametrize("num_outputs", [5, 1000])
@pytest.mark.parametrize("spoil", [damaged, another, halved])
def test_a_file_that_is_not_whole_or_another_networks_is_one_sentence(
    spoil: Callable[[Path], None], num_outputs: int, nowhere: PlayedHub
) -> None:
    path = Path("input/weights/test_resnet.safetensors")
    path.parent.mkdir()
    safetensors.torch.save_file(weights_of("test_resnet"), path)
    build(num_outputs=num_outputs, pretrained=True)
    spoil(path)
    with pytest.raises(InputError, match=r"whole.*[Bb]ring") as caught:
        build(num_outputs=num_outputs, pretrained=True)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_weights_may_be_a_folder(nowhere: PlayedHub, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "mine"
    (folder / "test_vit").mkdir(parents=True)
    safetensors.torch.save_file(weights_of(RESNET), folder / f"{RESNET}.safetensors")
    safetensors.torch.save_file(weights_of(VIT), folder / "test_vit" / "model.safetensors")
    torch.save(build("net").state_dict(), folder / "net.pth")
    with caplog.at_level(logging.INFO, "pipeline"):
        for name, file in (("test_resnet", f"{RESNET}.safetensors"), ("test_vit", "test_vit/model.safetensors")):
            model = build(name, weights=str(folder))
            assert f"model: the weights of {name} are {folder / file}" in caplog.messages
            assert_equal(model, build(name, weights=str(folder / file)))
    assert_equal(build("net", weights=str(folder)), build("net", weights=str(folder / "net.pth")))
    with pytest.raises(InputError, match=r"mlp\.safetensors\. .*mine holds net\.pth, test_resnet.*test_vit/model\.saf"):
        build("mlp", weights=str(folder))


def test_a_model_of_this_pipeline_is_named_by_its_file(trained: Any) -> None:
    import os

    folder = Path("mine")
    folder.mkdir()
    name = trained.model.name
    os.link("output/tiny/fold0/model.safetensors", folder / f"{name}.safetensors")
    with pytest.raises(ConfigError, match=rf"mean and std of their own\. Set it to mine/{name}\.safetensors"):
        build_model(trained.model.model_copy(update={"weights": "mine"}), trained.image.size, 3, 3, 0)
