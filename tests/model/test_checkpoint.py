import json
from dataclasses import asdict, replace

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pipeline.competition.answers.task import Task
from pipeline.files import InputError
from pipeline.model.checkpoint import Checkpoint, read_checkpoint, save_checkpoint

WEIGHTS = {
    "conv.weight": torch.arange(24.0).reshape(2, 3, 2, 2),
    "norm.count": torch.tensor(7),
    "half": torch.ones(3, dtype=torch.bfloat16),
    "mask": torch.tensor([True, False]),
}


def task(classes):
    return Task("single", tuple(classes), "accuracy", ("label",))


def make(weights=WEIGHTS, **changes):
    values = {
        "config": {"model": {"name": "net", "width": 64}, "train": {"lr": 0.1, "views": ["a", "b"]}},
        "task": task(("ant", "b\u00e9e", "\u732b")),
        "normalisation": ((0.1, 0.2, 1 / 3), (0.4, 0.5, 0.6)),
        "fold": "full",
        "prior": (0.2, 0.3, 0.5),
        "network": "",
        "smallest_size": 8,
    }
    return Checkpoint(weights, **{**values, **changes})


def test_read_gives_what_was_saved(tmp_path):
    save_checkpoint(tmp_path / "m.safetensors", make())
    again = read_checkpoint(tmp_path / "m.safetensors")
    assert again.weights.keys() == WEIGHTS.keys()
    for name, value in WEIGHTS.items():
        assert again.weights[name].dtype == value.dtype
        assert torch.equal(again.weights[name], value)
    assert replace(again, weights={}) == replace(make(), weights={})


def test_equal_models_are_equal_bytes(tmp_path):
    def turned(value):
        if isinstance(value, dict):
            return {key: turned(value[key]) for key in reversed(value)}
        return value

    first = make()
    weights = turned(WEIGHTS)
    weights["conv.weight"] = weights["conv.weight"].clone(memory_format=torch.channels_last).requires_grad_()
    second = make(weights, config=turned(first.config))
    save_checkpoint(tmp_path / "a", first)
    save_checkpoint(tmp_path / "b", second)
    save_checkpoint(tmp_path / "c", make(fold="0"))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes() != (tmp_path / "c").read_bytes()


def test_tied_weights_and_views_are_saved_each(tmp_path):
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    whole = torch.arange(6.0)
    weights = {**model.state_dict(), "view": whole[1:3], "other": whole[2:5], "columns": whole.reshape(2, 3).T}
    save_checkpoint(tmp_path / "m", make(weights))
    again = read_checkpoint(tmp_path / "m").weights
    assert all(torch.equal(again[name], value) for name, value in weights.items())


@settings(max_examples=25)
@given(
    classes=st.lists(st.text(max_size=5), max_size=4),
    mean=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=4),
)
def test_labels_and_numbers_come_back_exactly(classes, mean, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "exact.safetensors"
    save_checkpoint(path, make({}, task=task(classes), normalisation=(tuple(mean), tuple(mean))))
    again = read_checkpoint(path)
    assert again.task.classes == tuple(classes)
    assert again.normalisation == (tuple(mean), tuple(mean))


def test_what_is_no_json_is_refused_and_nothing_is_written(tmp_path):
    for config in ({"x": float("nan")}, {"x": torch.zeros(1)}):
        with pytest.raises((TypeError, ValueError)):
            save_checkpoint(tmp_path / "m", make(config=config))
    assert not list(tmp_path.iterdir())


def test_missing_file_names_the_command(tmp_path):
    with pytest.raises(InputError, match=r"does not exist\. It is made by: python -m pipeline\.train"):
        read_checkpoint(tmp_path / "m")


def test_every_truncation_is_noticed(tmp_path):
    save_checkpoint(tmp_path / "m", make())
    content = (tmp_path / "m").read_bytes()
    for length in (0, 1, 8, 20, len(content) // 2, len(content) - 1):
        (tmp_path / "cut").write_bytes(content[:length])
        with pytest.raises(InputError, match="whole safetensors"):
            read_checkpoint(tmp_path / "cut")


def test_a_header_that_lies_is_noticed(tmp_path):
    header = {"a": {"dtype": "F32", "shape": [1000], "data_offsets": [0, 4000]}}
    negative = {"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}
    overlapping = {name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for name in "ab"}
    unknown = {"a": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}
    for lie in (header, negative, overlapping, unknown, [], "x"):
        text = json.dumps(lie).encode()
        (tmp_path / "lie").write_bytes(len(text).to_bytes(8, "little") + text + bytes(4))
        with pytest.raises(InputError, match="whole safetensors"):
            read_checkpoint(tmp_path / "lie")
    (tmp_path / "lie").write_bytes((2**62).to_bytes(8, "little") + b"{}")
    with pytest.raises(InputError):
        read_checkpoint(tmp_path / "lie")


EXTRA = {"task": asdict(task("a")), "part": "0", "prior": [1.0], "network": "", "smallest_size": 8}
GOOD = {"config": {"image": {"size": 8}}, "classes": ["a"], "normalisation": [[0.5], [0.5]], "extra": EXTRA}


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {"format": "pt"},
        {"checkpoint": "{"},
        {"checkpoint": "[]"},
        {"checkpoint": "[" * 100_000},
        *(
            {"checkpoint": json.dumps({key: value for key, value in GOOD.items() if key != left_out})}
            for left_out in GOOD
        ),
        {"checkpoint": json.dumps({**GOOD, "classes": "abc"})},
        {"checkpoint": json.dumps({**GOOD, "classes": [1]})},
        {"checkpoint": json.dumps({**GOOD, "normalisation": [[1.0]]})},
        {"checkpoint": json.dumps({**GOOD, "classes": ["b"]})},
        {"checkpoint": json.dumps({**GOOD, "config": []})},
        *(
            {"checkpoint": json.dumps({**GOOD, "extra": {key: EXTRA[key] for key in EXTRA if key != left_out}})}
            for left_out in ("task", "part", "prior", "network")
        ),
    ],
)
def test_foreign_metadata_is_refused(metadata, tmp_path):
    safetensors.torch.save_file({"a": torch.zeros(1)}, tmp_path / "m", metadata)
    with pytest.raises(InputError, match="must be a model of this pipeline"):
        read_checkpoint(tmp_path / "m")


def test_the_good_metadata_of_the_test_above_is_read(tmp_path):
    safetensors.torch.save_file({"a": torch.zeros(1)}, tmp_path / "m", {"checkpoint": json.dumps(GOOD)})
    assert read_checkpoint(tmp_path / "m").task.classes == ("a",)
