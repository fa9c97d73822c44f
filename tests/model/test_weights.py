import logging
import os
import pickle

import pytest
import safetensors.torch
import torch

from pipeline.config import ModelConfig
from pipeline.files import InputError
from pipeline.model.build import build_model
from pipeline.model.weights import read_weights


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


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt", ".bin"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: {f"module.{key}": value for key, value in weights.items()},
        lambda weights: {f"_orig_mod.module.{key}": value for key, value in weights.items()},
    ],
)
def test_prefixes_are_cut(suffix, wrap, tmp_path):
    source = build("net", seed=1)
    model = build("net", weights=store(source, tmp_path / f"w{suffix}", wrap))
    assert torch.equal(model.fc3.weight, source.fc3.weight)


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_weights_are_unpacked(key, tmp_path):
    source = build("net", seed=1)
    path = store(source, tmp_path / "w.pth", lambda weights: {"epoch": 3, key: weights})
    assert torch.equal(build("net", weights=path).fc3.weight, source.fc3.weight)


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
    source = build(name, channels=before, seed=1)
    model = build(name, channels=after, weights=store(source, tmp_path / "w.safetensors"))
    from timm.models import adapt_input_conv

    weight = source.state_dict()[f"{conv}.weight"]
    torch.testing.assert_close(model.state_dict()[f"{conv}.weight"], adapt_input_conv(after, weight, before))
    if after == 1 or after % before == 0:
        # A grey image answers as before.
        grey = torch.randn(2, 1, 32, 32)
        expected = source.eval()(grey.expand(-1, before, -1, -1))
        torch.testing.assert_close(model.eval()(grey.expand(-1, after, -1, -1)), expected, rtol=1e-3, atol=1e-4)


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
    with pytest.raises(InputError, match=r"set model\.name"):
        build("resnet34", weights=path)
