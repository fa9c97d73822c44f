"""A network as it predicts: how many images it predicts at once, and its network's way to the CPU."""

import pytest
import torch
from torch import nn

from pipeline.config import InferConfig
from pipeline.engine.predictor import copied_to_cpu, evaluation_batch


@pytest.mark.parametrize(
    ("asked", "train", "expected"),
    [(0, 1, 4), (0, 8, 32), (0, 32, 128), (0, 33, 128), (0, 128, 128), (0, 500, 500), (16, 500, 16), (1, 1, 1)],
)
def test_a_batch_of_evaluation_is_what_is_asked_for_or_what_must_fit(asked: int, train: int, expected: int) -> None:
    assert evaluation_batch(InferConfig(batch_size=asked), train) == expected


def test_a_network_is_copied_to_the_cpu_tensor_by_tensor() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    model[0].weight.requires_grad_(False)
    model.register_buffer("table", torch.arange(3), persistent=False)
    model.add_module("again", model[0])  # a tied module stays tied
    copied = copied_to_cpu(model)
    assert copied.again is copied[0] and copied.training
    assert [p.requires_grad for p in copied.parameters()] == [p.requires_grad for p in model.parameters()]
    for before, after in zip(
        [*model.parameters(), *model.buffers()], [*copied.parameters(), *copied.buffers()], strict=True
    ):
        assert torch.equal(before, after) and before.data_ptr() != after.data_ptr()


def test_no_tensor_is_copied_on_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Linear(2, 2)
    monkeypatch.setattr(torch.Tensor, "clone", lambda *_, **__: pytest.fail("a copy on the device"))
    assert torch.equal(copied_to_cpu(model).weight, model.weight)


@pytest.mark.gpu
def test_a_network_comes_from_a_gpu() -> None:
    model = nn.Sequential(nn.Linear(300, 300), nn.BatchNorm1d(300)).cuda()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    copied = copied_to_cpu(model)
    assert torch.cuda.max_memory_allocated() == before
    assert all(tensor.device.type == "cpu" for tensor in copied.state_dict().values())
