"""Whatever is taken apart is, put together again, the same: types, dtypes, shapes and how tensors lie in memory."""

import json
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from pipeline.engine.nested import put_together, take_apart

DTYPES = (
    torch.float32,
    torch.float64,
    torch.bfloat16,
    torch.float16,
    torch.int64,
    torch.int32,
    torch.uint8,
    torch.bool,
)


def through_a_file(value: Any) -> Any:
    tensors, rest = take_apart(value)
    return put_together(safetensors.torch.load(safetensors.torch.save(tensors)), json.loads(json.dumps(rest)))


def must_be_same(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            must_be_same(one[key], other[key])
    elif isinstance(one, (list, tuple)):
        for first, second in zip(one, other, strict=True):
            must_be_same(first, second)
    elif isinstance(one, Tensor):
        assert one.dtype == other.dtype and one.stride() == other.stride() and torch.equal(one, other)
    else:
        assert one == other or (one != one and other != other)


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, False, 0, -7, 2**80, 0.1, 1e-300, float("inf"), float("nan"), "", "a.b"),
        *([], {}, (), [[], {}, ()], [None, (1, [2.5, {"a": "b"}])], torch.float32, torch.bfloat16),
        {
            "state": {0: {"momentum": None, "step": 3}, 1: {}},
            "1": 1,
            "a.b": {"tensor": "0", "stride": [1]},
            "a": {"b": 2},
        },
        *(torch.arange(6).view(2, 3).to(dtype) for dtype in DTYPES),
        *(torch.zeros(shape) for shape in [(), (0,), (0, 3), (1,), (2, 1, 3)]),
        torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        torch.randn(4, 1, 3, 3).to(memory_format=torch.channels_last),
        torch.randn(3, 4).t(),
        torch.nn.Parameter(torch.ones(2)).data,
        {"Q": [torch.randn(3), torch.randn(3, 3)], "pair": (torch.randn(2), {"deep": torch.randn(1)})},
    ],
    ids=lambda value: "",
)
def test_values_come_back_as_they_were(value: Any) -> None:
    must_be_same(through_a_file(value), value)


def test_tensors_in_the_memory_of_others_come_back_by_themselves() -> None:
    whole = torch.arange(12.0).view(3, 4)
    value = [whole, whole, whole[:, ::2], torch.ones(()).expand(3)]
    back = through_a_file(value)
    assert all(torch.equal(one, other) for one, other in zip(value, back, strict=True))
    back[0].zero_(), back[3][0].zero_()
    assert back[1].sum() == 66 and back[2].any() and back[3].tolist() == [0, 1, 1]


def test_what_was_taken_apart_does_not_change_with_the_value() -> None:
    value = {"weights": torch.ones(2), "history": [1]}
    tensors, rest = take_apart(value)
    value["weights"].zero_(), value["history"].append(2)
    must_be_same(put_together(tensors, rest), {"weights": torch.ones(2), "history": [1]})
    again = put_together(tensors, rest)
    again["weights"].zero_()
    assert tensors["0"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"a": [lambda: 1]}, "Got a function"),
        ({"a": {1, 2}}, "Got a set"),
        ({(0, 1): 2}, r"keys must be text or whole numbers. Got \(0, 1\)"),
    ],
)
def test_what_no_file_can_hold_is_refused(value: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        take_apart(value)
