"""A size of images that a network, or the published weights of it, cannot take is refused with the next that it can."""

import re

import pytest
import timm
import torch

from pipeline.config import ConfigError, ModelConfig
from pipeline.model.build import build_model
from played_hub import PlayedHub


def build(name: str, size: int, **settings: bool) -> torch.nn.Module:
    return build_model(ModelConfig(name=name, **settings), size, 3, 5, 0)


def is_taken(name: str, size: int, *, pretrained: bool) -> bool:
    """Whether timm itself builds the network, fills it with the weights of one as published, and runs it."""
    sized = {"img_size": size} if timm.get_pretrained_cfg(name).fixed_input_size else {}
    source = {}
    if pretrained:
        weights = timm.create_model(name).state_dict()
        source = {"pretrained": True, "pretrained_cfg_overlay": {"state_dict": weights}}
    try:
        model = timm.create_model(name, num_classes=5, **sized, **source).eval()
        with torch.no_grad():
            return model(torch.rand(1, 3, size, size)).shape == (1, 5)
    except (RuntimeError, AssertionError):
        return False


@pytest.mark.parametrize(
    ("name", "size", "pretrained"),
    [
        ("levit_128s", 100, False),
        ("xcit_nano_12_p8_224", 84, False),
        # The weights fit one size.
        ("levit_128s", 208, True),
        pytest.param("efficientformerv2_s0", 100, False, marks=pytest.mark.slow),
        pytest.param("visformer_tiny", 256, True, marks=pytest.mark.slow),
        pytest.param("convit_tiny", 240, True, marks=pytest.mark.slow),
        pytest.param("crossvit_tiny_240", 230, False, marks=pytest.mark.slow),
        pytest.param("efficientformer_l1", 64, False, marks=pytest.mark.slow),
        pytest.param("maxvit_tiny_rw_224", 200, False, marks=pytest.mark.slow),
        pytest.param("pit_ti_224", 128, True, marks=pytest.mark.slow),
    ],
)
def test_a_size_that_is_not_taken_is_refused_with_the_next(
    name: str, size: int, pretrained: bool, nowhere: PlayedHub
) -> None:
    with pytest.raises(ConfigError) as caught:
        build(name, size, pretrained=pretrained)
    said = re.fullmatch(
        rf"image.size must be one that {name}( with its published weights)? can take. Got {size}. Set it to (.+)",
        str(caught.value),
    )
    assert said and bool(said[1]) == pretrained and not nowhere.asked
    named = sorted(map(int, said[2].split(" or ")))
    assert not is_taken(name, size, pretrained=pretrained)
    for other in named:
        assert is_taken(name, other, pretrained=pretrained)
    # None that lies nearer is taken, of multiples of 4 up to 64 px away.
    smaller = max((other for other in named if other < size), default=0)
    larger = min((other for other in named if other > size), default=size + 65)
    between = [each for each in range(max(smaller, size - 65, 3) + 1, min(larger, size + 65)) if each % 4 == 0]
    assert not any(is_taken(name, each, pretrained=pretrained) for each in between)


@pytest.mark.parametrize(("name", "size"), [("vit_tiny_patch16_224", 100), ("swin_tiny_patch4_window7_224", 36)])
def test_a_network_that_is_built_for_its_images_takes_them(name: str, size: int) -> None:
    assert build(name, size)(torch.rand(2, 3, size, size)).shape == (2, 5)


@pytest.mark.parametrize("pretrained", [False, True])
def test_what_no_size_would_mend_is_said_as_it_is(pretrained: bool) -> None:
    with pytest.raises(ConfigError, match=r"model.name 'dla46_c' must work with .*drop_path = 0\.1"):
        build_model(ModelConfig(name="dla46_c", drop_path=0.1, pretrained=pretrained), 32, 3, 5, 0)
