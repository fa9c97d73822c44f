"""What a network cannot do is refused, or gone round and said, before training."""

import pytest
import torch

from pipeline.config import ConfigError, ModelConfig
from pipeline.model.build import build_model
from pipeline.model.trial import accepted_sizes

# The smallest of most modules of timm that have one of fewer than eight million parameters.
SMALL = """
    coat_tiny convit_tiny cpubone_nano cs3darknet_focus_s cspnext_tiny deit_tiny_patch16_224 densenet121 dla46x_c
    edgenext_xx_small efficientformerv2_s0 efficientvim_m1 efficientvit_b0 efficientvit_m0 ese_vovnet19b_slim_dw
    fasternet_t0 fastvit_t8 ghostnet_050 gmlp_ti16_224 hardcorenas_b hgnetv2_b0 iformer_t inception_next_atto lcnet_035
    lcnetv2_small levit_128s mobilenetv3_small_050 mobilevit_xxs pit_ti_224 pvt_v2_b0 regnetx_002 repghostnet_050
    repvit_m1 rexnet_100 shvit_s1 starnet_s050 swiftformer_xs test_byobnet test_coatnet test_convnext
    test_efficientnet test_mambaout test_nfnet test_resnet test_vit test_vit_relpos vit_tiny_patch16_dinov3_qkvb
    vit_tiny_r_s16_p8_224 xcit_nano_12_p8_224
""".split()  # noqa: SIM905
AT_ONCE = ("dla46x_c", "lcnet_035", "test_efficientnet", "test_resnet", "test_vit")


def build(name, size=64, channels=3, num_outputs=5, seed=0, **settings):
    return build_model(ModelConfig(name=name, **settings), size, channels, num_outputs, seed)


@pytest.mark.parametrize("rate", ["dropout", "drop_path"])
def test_refuses_a_rate_that_the_network_takes_and_ignores(rate, monkeypatch):
    import timm

    def deaf(name, in_chans, num_classes, **ignored):
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(in_chans * 64 * 64, num_classes))

    monkeypatch.setattr(timm, "create_model", deaf)
    build("resnet18")
    with pytest.raises(ConfigError, match=rf"model\.{rate} must be 0 for resnet18"):
        build("resnet18", **{rate: 0.1})


@pytest.mark.parametrize(
    "name", [name if name in AT_ONCE else pytest.param(name, marks=pytest.mark.slow) for name in SMALL]
)
@pytest.mark.parametrize(("rate", "argument"), [("dropout", "drop_rate"), ("drop_path", "drop_path_rate")])
def test_a_rate_is_taken_where_a_training_network_draws_by_it(name, rate, argument):
    import timm

    images = torch.randn(2, 3, 64, 64)
    settings = {"img_size": 64} if timm.get_pretrained_cfg(name).fixed_input_size else {}

    def drawn(value):
        model = timm.create_model(name, **{argument: value}, **settings)
        torch.manual_seed(0)
        with torch.no_grad():
            model.train()(images)
        return torch.get_rng_state()

    try:
        draws = not torch.equal(drawn(0.5), drawn(0.0))
    except TypeError:
        draws = False
    if draws:
        build(name, **{rate: 0.5})
    else:
        with pytest.raises(ConfigError, match=rf"model\.{rate}"):
            build(name, **{rate: 0.5})


@pytest.mark.parametrize(("name", "smaller"), [("lenet5", ""), ("mlp", ""), ("test_vit", ", or at most 0.75,")])
def test_networks_that_take_none_of_the_sizes_are_refused_with_those_that_they_take(name, smaller):
    with pytest.raises(ConfigError, match=f"augment.first_size must be 1{smaller} for {name}: .* of 56 to 63 px"):
        accepted_sizes(build(name), name, [56, 60, 64], 64, 3, 5)
    if smaller:
        assert accepted_sizes(build(name), name, [48, 60, 64], 64, 3, 5) == [48, 64, 64]


@pytest.mark.parametrize("name", ["resnet9", "cifarnet", "test_resnet"])
def test_other_networks_take_images_that_grow(name, caplog):
    model = build(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    sizes = [32, 37, 43, 64, 64]
    with caplog.at_level("INFO", "pipeline"):
        assert accepted_sizes(model, name, sizes, 64, 3, 5) == sizes
    assert model.training and not caplog.messages
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("dla46_c", [32, 40, 48, 56, 64]),
        # Four at a time.
        pytest.param("tresnet_m", [32, 35, 39, 42, 45, 64], marks=pytest.mark.slow),
        pytest.param("hrnet_w18_small", [32, 40, 48, 61, 64], marks=pytest.mark.slow),
        # Its position embeddings serve some sizes and not those between: the first of the epochs is no measure.
        pytest.param("lambda_resnet26t", [48, 60, 72, 80, 84, 88, 96], marks=pytest.mark.slow),
    ],
)
def test_images_grow_by_sizes_that_the_network_takes(name, sizes, caplog):
    full = sizes[-1]
    with caplog.at_level("INFO", "pipeline"):
        taken = accepted_sizes(build(name, size=full), name, sizes, full, 3, 5)
    model = build(name, size=full).eval()

    def takes(size):
        try:
            return model(torch.rand(2, 3, size, size)).shape == (2, 5)
        except RuntimeError:
            return False

    assert taken != sizes
    for asked, size in zip(sizes, taken, strict=True):
        assert takes(size) and not any(takes(smaller) for smaller in range(asked, size))
    assert f"grow by {', '.join(map(str, sorted(set(taken))))} px" in caplog.messages[-1]
