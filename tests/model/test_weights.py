import inspect
import logging
import os
import pickle

import pytest
import safetensors.torch
import torch

from pipeline.config import ConfigError, ModelConfig
from pipeline.files import InputError
from pipeline.model.build import build_model
from pipeline.model.weight_file import read_weights
from pipeline.model.weights import remove_classifier, set_classifier


def build(name, size=32, channels=3, num_outputs=5, seed=0, **settings):
    return build_model(ModelConfig(name=name, width=4, **settings), size, channels, num_outputs, seed)


def store(model, path, wrap=lambda weights: weights):
    weights = wrap(model.state_dict())
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(weights, path)
    else:
        torch.save(weights, path)
    return str(path)


@pytest.mark.parametrize("name", ["resnet9", "lenet5", "net", "mlp", "test_resnet", "test_vit"])
def test_weights_of_the_same_network_are_all_taken(name, tmp_path, caplog):
    source = build(name, seed=1)
    with caplog.at_level(logging.INFO, "pipeline"):
        model = build(name, weights=store(source, tmp_path / "w.safetensors"))
    assert all(torch.equal(value, source.state_dict()[key]) for key, value in model.state_dict().items())
    assert not caplog.messages


def assert_equal(model, source):
    for key, value in model.state_dict().items():
        assert torch.equal(value, source.state_dict()[key]), key


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar"])
@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.module.", "model.", "net.", "backbone.", "model.trunk."])
def test_names_may_have_any_prefix(suffix, prefix, tmp_path, caplog):
    source = build("net", seed=1)
    path = store(source, tmp_path / f"w{suffix}", lambda weights: {prefix + key: weights[key] for key in weights})
    with caplog.at_level(logging.INFO, "pipeline"):
        assert_equal(build("net", weights=path), source)
    assert not caplog.messages


def test_a_prefix_that_timm_cuts_itself_makes_no_second_network(tmp_path, caplog):
    source = build("eva02_tiny_patch14_224", size=28, seed=1)
    wrapped = {"model": {f"module.{key}": value for key, value in source.state_dict().items()}}
    torch.save(wrapped, tmp_path / "w.pth")
    with caplog.at_level(logging.INFO, "pipeline"):
        assert_equal(build("eva02_tiny_patch14_224", size=28, weights=str(tmp_path / "w.pth")), source)
    assert not caplog.messages


@pytest.mark.parametrize("name", ["net", "test_vit"])
@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict", "net", "weights", "params", "anything"])
def test_weights_may_lie_under_any_key(key, name, tmp_path):
    source = build(name, seed=1)
    path = store(source, tmp_path / "w.pth", lambda weights: {"epoch": 3, key: weights})
    assert_equal(build(name, weights=path), source)


def trained(model):
    """AdamW after a step: twice as many numbers as the network, in its shapes."""
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(2, 3, 32, 32)).sum().backward()
    optimizer.step()
    return optimizer


def test_a_checkpoint_of_lightning_is_read(tmp_path):
    source = build("test_vit", seed=1)
    optimizer = trained(source).state_dict()

    def lightning(weights):
        named = {f"model.backbone.{key}": weights[key] for key in weights} | {"loss.weight": torch.ones(5)}
        rest = {"epoch": 3, "pytorch-lightning_version": "2.5.0", "hyper_parameters": {"lr": 0.1, "sizes": [1, 2]}}
        return rest | {"state_dict": named, "optimizer_states": [optimizer], "callbacks": {"a": {"best": 0.5}}}

    assert_equal(build("test_vit", weights=store(source, tmp_path / "last.ckpt", lightning)), source)


def test_a_checkpoint_of_timms_training_is_read(tmp_path, caplog):
    from argparse import Namespace

    from timm.utils import CheckpointSaver, ModelEmaV3

    source = build("test_resnet", seed=1)
    optimizer = trained(source)
    average = ModelEmaV3(build("test_resnet", seed=2))
    saver = CheckpointSaver(
        source, optimizer, args=Namespace(model="test_resnet"), model_ema=average, checkpoint_dir=str(tmp_path)
    )
    saver.save_checkpoint(0, 0.5)
    with caplog.at_level(logging.INFO, "pipeline"):
        model = build("test_resnet", weights=str(tmp_path / "last.pth.tar"))
    assert_equal(model, average.module)
    (message,) = caplog.messages
    assert message.endswith("the weights in state_dict_ema are taken, not those in state_dict")


@pytest.mark.parametrize("key", ["model_ema", "state_dict_ema", "ema", "ema_state_dict", "swa_model", "averaged"])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("flat", [True, False])
def test_averaged_weights_are_taken_and_said(key, first, flat, tmp_path, caplog):
    raw, average = build("net", seed=1), build("net", seed=2)
    both = {key: average.state_dict(), "model": raw.state_dict()}
    content = dict(both if first else reversed(both.items()))
    if flat:
        content = {f"{part}.module.{name}": value for part, values in content.items() for name, value in values.items()}
    torch.save(content, tmp_path / "w.pth")
    with caplog.at_level(logging.INFO, "pipeline"):
        assert_equal(build("net", weights=str(tmp_path / "w.pth")), average)
    (message,) = caplog.messages
    end = ".module" if flat else ""
    assert message.endswith(f"the weights in {key}{end} are taken, not those in model{end}")


def test_averaged_weights_without_the_norms_statistics_are_passed_over_and_named(tmp_path, caplog):
    raw, average = build("resnet9", seed=1), build("resnet9", seed=2)
    torch.save({"ema": dict(average.named_parameters()), "model": raw.state_dict()}, tmp_path / "w.pth")
    with caplog.at_level(logging.INFO, "pipeline"):
        assert_equal(build("resnet9", weights=str(tmp_path / "w.pth")), raw)
    (message,) = caplog.messages
    assert message.endswith("the weights in model are taken, not those in ema")


def test_of_two_networks_the_first_is_taken_and_said(tmp_path, caplog):
    student, teacher = build("net", seed=1), build("net", seed=2)
    torch.save({"student": student.state_dict(), "teacher": teacher.state_dict()}, tmp_path / "w.pth")
    with caplog.at_level(logging.INFO, "pipeline"):
        assert_equal(build("net", weights=str(tmp_path / "w.pth")), student)
    assert caplog.messages[0].endswith("the weights in student are taken, not those in teacher")


def test_dictionaries_that_hold_themselves_are_read_once(tmp_path):
    source = build("net", seed=1)
    content = {"model": source.state_dict()}
    for _ in range(30):
        content = {f"{key}{number}": content for key in "ab" for number in range(9)}
    content["self"] = content
    content["model"] = source.state_dict()
    torch.save(content, tmp_path / "w.pth")
    assert_equal(build("net", weights=str(tmp_path / "w.pth")), source)


@pytest.mark.parametrize(
    ("name", "head"), [("resnet9", "linear"), ("net", "fc3"), ("mlp", "fc2"), ("test_vit", "head")]
)
def test_another_number_of_classes_gets_a_new_head(name, head, tmp_path, caplog):
    source = build(name, num_outputs=7, seed=1)
    path = store(source, tmp_path / "w.safetensors")
    with caplog.at_level(logging.INFO, "pipeline"):
        model = build(name, weights=path)
    fresh = build(name)
    for key, value in model.state_dict().items():
        expected = fresh if key.startswith(head) else source
        assert torch.equal(value, expected.state_dict()[key]), key
    assert len(caplog.messages) == 1
    assert f"{head}.weight" in caplog.messages[0]


@pytest.mark.parametrize(("name", "conv"), [("resnet9", "prep.conv"), ("test_resnet", "conv1.0"), ("net", "conv1")])
@pytest.mark.parametrize(("before", "after"), [(3, 1), (3, 4), (1, 3), (4, 3), (1, 4)])
def test_first_convolution_is_adapted(name, conv, before, after, tmp_path):
    from timm.models import adapt_input_conv

    if len(inspect.signature(adapt_input_conv).parameters) < 3:
        pytest.skip("this timm adapts from three channels alone")
    source = build(name, channels=before, seed=1)
    model = build(name, channels=after, weights=store(source, tmp_path / "w.safetensors"))
    weight = source.state_dict()[f"{conv}.weight"]
    torch.testing.assert_close(model.state_dict()[f"{conv}.weight"], adapt_input_conv(after, weight, before))
    if after == 1 or after % before == 0:
        # A grey image answers as before.
        grey = torch.randn(2, 1, 32, 32)
        expected = source.eval()(grey.expand(-1, before, -1, -1))
        torch.testing.assert_close(model.eval()(grey.expand(-1, after, -1, -1)), expected, rtol=1e-3, atol=1e-4)


# One of each family whose first layers are several, or lie behind a space-to-depth; a size that each can take.
FAMILIES = pytest.mark.parametrize(
    ("name", "size"),
    [
        ("crossvit_9_240", 120),
        ("fastvit_t8", 32),
        pytest.param("crossvit_9_dagger_240", 120, marks=pytest.mark.slow),
        pytest.param("mobileone_s0", 32, marks=pytest.mark.slow),
        pytest.param("repvgg_a0", 32, marks=pytest.mark.slow),
        pytest.param("tresnet_m", 32, marks=pytest.mark.slow),
    ],
)


@FAMILIES
@pytest.mark.parametrize("channels", [1, 4])
def test_weights_for_other_channels_are_those_that_timms_own_loader_makes(name, size, channels, tmp_path, caplog):
    import timm

    path = store(build(name, size=size, seed=1), tmp_path / "w.safetensors")
    with caplog.at_level(logging.INFO, "pipeline"):
        model = build(name, size=size, channels=channels, weights=path)
    assert not caplog.messages
    settings = {"img_size": size} if name.startswith("crossvit") else {}
    overlay = {"file": path, "num_classes": 5}
    expected = timm.create_model(
        name, pretrained=True, pretrained_cfg_overlay=overlay, in_chans=channels, num_classes=5, **settings
    ).state_dict()
    loaded = model.state_dict()
    if name == "tresnet_m" and channels == 4:
        # timm leaves this one at random; the next test says what it must be.
        del loaded["body.conv1.conv.weight"], expected["body.conv1.conv.weight"]
    torch.testing.assert_close(loaded, expected)


@FAMILIES
def test_a_network_for_other_channels_answers_as_before(name, size, tmp_path):
    """The definition: grey is three equal channels; of four, the last counts as the first, all by three quarters."""
    source = build(name, size=size, seed=1).eval()
    path = store(source, tmp_path / "w.safetensors")
    images = torch.randn(2, 4, size, size)
    grey, colour = images[:, :1], 0.75 * (images[:, :3] + images[:, 3:] * torch.tensor([1, 0, 0]).view(3, 1, 1))
    for channels, shown, equal in [(1, grey, grey.expand(-1, 3, -1, -1)), (4, images, colour)]:
        model = build(name, size=size, channels=channels, weights=path).eval()
        with torch.no_grad():
            torch.testing.assert_close(model(shown), source(equal), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("layer", "match"),
    [
        (lambda weight: None, "is not in the file"),
        (lambda weight: weight[:, :, 1:, 1:].clone(), r"is \(16, 3, 2, 2\) in the file and \(16, 3, 3, 3\)"),
    ],
)
def test_a_first_layer_is_never_left_at_random(layer, match, tmp_path):
    weights = build("test_resnet").state_dict()
    name = "conv1.0.weight"
    weights = {key: layer(value) if key == name else value for key, value in weights.items()}
    torch.save({key: value for key, value in weights.items() if value is not None}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=rf"first layer.* conv1\.0\.weight {match}"):
        build("test_resnet", weights=str(tmp_path / "w.pth"))


@pytest.mark.slow
def test_a_first_layer_that_is_no_convolution_is_for_its_own_channels(tmp_path):
    name = "naflexvit_base_patch16_gap"
    path = store(build(name, seed=1), tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"embeds\.proj\.weight is \(768, 768\) in the file.*image\.channels"):
        build(name, channels=1, weights=path)
    with pytest.raises(ConfigError, match=r"image\.channels must be 3"):
        build(name, channels=1, pretrained=True)


def test_position_embeddings_are_resized(tmp_path):
    from timm.layers import resample_abs_pos_embed

    source = build("test_vit", size=64, seed=1)
    model = build("test_vit", size=96, weights=store(source, tmp_path / "w.safetensors"))
    expected = resample_abs_pos_embed(source.pos_embed, new_size=(6, 6), num_prefix_tokens=1)
    torch.testing.assert_close(model.pos_embed, expected)


def test_missing_and_left_over_are_logged_with_count(tmp_path, caplog):
    def wrap(weights):
        del weights["layer2.norm.weight"], weights["layer2.norm.bias"]
        return {**weights, **{f"extra{number}": torch.zeros(1) for number in range(9)}}

    path = store(build("resnet9"), tmp_path / "w.pth", wrap)
    with caplog.at_level(logging.INFO, "pipeline"):
        build("resnet9", weights=path)
    (message,) = caplog.messages
    assert "2 missing (layer2.norm.weight, layer2.norm.bias)" in message
    assert "9 not used (extra0, extra1, extra2, extra3, extra4, ...)" in message


@pytest.mark.parametrize(
    ("other", "name"), [("net", "resnet9"), ("test_resnet", "test_vit"), ("test_vit", "test_resnet")]
)
def test_another_networks_weights_are_refused(other, name, tmp_path):
    path = store(build(other), tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"model\.name"):
        build(name, weights=path)


@pytest.mark.parametrize(
    ("name", "settings", "match"),
    [
        ("mlp", {"size": 16}, r"fc1\.weight is \(512, 768\) in the file and \(512, 3072\) in the network.*image\.size"),
        ("mlp", {"channels": 1}, r"fc1\.weight is \(512, 1024\) in the file and \(512, 3072\).*image\.channels"),
        ("test_vit", {}, r"cls_token is not in the file; foreign\.0 is.*or name its tensors as the network does"),
    ],
)
def test_what_is_advised_is_what_helps(name, settings, match, tmp_path):
    def foreign(weights):
        return weights if settings else {f"foreign.{number}": value for number, value in enumerate(weights.values())}

    path = store(build(name, **settings), tmp_path / "w.safetensors", foreign)
    with pytest.raises(InputError, match=match):
        build(name, weights=path)


class _Settings(dict):
    """What a training script of one's own may keep beside its weights."""


@pytest.mark.parametrize(
    ("content", "asked"),
    [
        (lambda model: model, "pipeline.model.networks.Net"),
        (lambda model: {"state_dict": model.state_dict(), "hyper_parameters": _Settings()}, f"{__name__}._Settings"),
    ],
)
def test_code_is_named_with_what_to_do(content, asked, tmp_path):
    torch.save(content(build("net")), tmp_path / "w.ckpt")
    with pytest.raises(InputError, match=rf"code in it is not run\..* asks for {asked}\. .*state_dict alone"):
        read_weights(tmp_path / "w.ckpt")


class _Code:
    def __reduce__(self):
        return (os.mkdir, ("it_ran",))


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin"])
@pytest.mark.parametrize("how", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value, 2))])
def test_code_is_not_run(suffix, how, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"w{suffix}"
    how({"conv1.weight": _Code()}, path)
    with pytest.raises(InputError, match="code in it is not run"):
        read_weights(path)
    assert not (tmp_path / "it_ran").exists()


def test_damaged_files_are_named(tmp_path):
    whole = {suffix: tmp_path / f"whole{suffix}" for suffix in (".safetensors", ".pth")}
    for suffix, path in whole.items():
        store(build("mlp", size=2), path)
        content = path.read_bytes()
        huge = (2**63 - 1).to_bytes(8, "little") + content[8:]
        for number, bad in enumerate([b"", b"x", content[: len(content) // 2], content[:-1], huge]):
            if suffix == ".pth" and bad in (huge, content[:-1]):
                continue  # a zip archive may have bytes before and after it
            damaged = tmp_path / f"bad{number}{suffix}"
            damaged.write_bytes(bad)
            with pytest.raises(InputError, match=damaged.name):
                read_weights(damaged)


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {}, torch.zeros(3), {3: torch.zeros(1)}])
def test_files_without_named_tensors_are_refused(content, tmp_path):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(InputError, match="holds none"):
        read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize(("name", "match"), [("none.pth", "existing file"), ("w.npz", "must end in")])
def test_other_files_are_refused(name, match, tmp_path):
    (tmp_path / "w.npz").write_bytes(b"x")
    with pytest.raises(InputError, match=match):
        read_weights(tmp_path / name)


def test_a_smaller_networks_weights_are_refused(tmp_path):
    import timm

    path = store(timm.create_model("resnet18", num_classes=5), tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"layer1\.2\.conv1\.weight is not in the file\. Set model\.name"):
        build("resnet34", weights=path)


@pytest.mark.parametrize(
    "name", ["test_resnet", "test_efficientnet", "test_vit", "test_convnext", "test_mambaout", "resnet9", "lenet5"]
)
def test_a_network_without_its_classifier_gives_what_that_would_see(name: str) -> None:
    size = {"resnet9": 32, "lenet5": 28, "test_vit": 160}.get(name, 64)
    cfg = ModelConfig(name=name, width=4)
    model, bare = (build_model(cfg, size, 3, 5, 0).eval() for _ in range(2))
    remove_classifier(bare)
    images = torch.rand(2, 3, size, size)
    with torch.no_grad():
        features = bare(images)
        assert features.ndim == 2 and features.shape[1] > 5
        if hasattr(model, "get_classifier"):
            head = model.get_classifier()
            torch.testing.assert_close(head(features), model(images))
            weight, bias = torch.randn(5, features.shape[1]), torch.randn(5)
            set_classifier(model, weight, bias)
            torch.testing.assert_close(model(images), features @ weight.T + bias)


def test_a_classifier_that_is_no_linear_layer_of_the_features_is_refused() -> None:
    model = build_model(ModelConfig(name="resnet9", width=4), 32, 3, 5, 0)
    with pytest.raises(ConfigError, match=r"train.head must be 'random' for networks whose classifier is not one"):
        set_classifier(model, torch.zeros(5, 4), torch.zeros(5))
