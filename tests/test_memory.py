"""Devices with too little memory: evaluation goes on with smaller batches and fewer networks, training with its batches
in pieces, and nothing ends in a traceback. The device is faked: it has room for so many images and networks at once."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from pipeline import ensemble, folds, infer, prepare, train
from pipeline.competition.answers.predictions import read_predictions
from pipeline.config import Config, TrainConfig
from pipeline.engine.machine import Machine
from pipeline.images.batches import Batch, Batches
from pipeline.stamps import note
from running import CONFIG, RUN, forget, run_all
from states import state_of

ANY = 10**6


def must_fit(num_images: int, room: int) -> None:
    if num_images > room:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nAnd more")


class Device:
    """What there is room for, and the sizes of the batches that were tried."""

    def __init__(self) -> None:
        self.train_images = self.images = self.networks = ANY
        self.trained: list[int] = []
        self.evaluated: list[int] = []
        self.placed: set[int] = set()


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    """A device with room for anything at first."""
    fake = Device()
    starting_at, place, cpu = Batches.starting_at, Machine.place, nn.Module.cpu

    def limited_batches(self: Batches, first_step: int) -> Iterator[Batch]:
        for batch in starting_at(self, first_step):
            learns = torch.is_grad_enabled()
            (fake.trained if learns else fake.evaluated).append(len(batch))
            if not learns:
                must_fit(len(batch), fake.images)
            yield batch

    def limited_pass(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        if layer.training and torch.is_grad_enabled():
            must_fit(len(inputs[0]), fake.train_images)

    def limited_place(self: Machine, model: nn.Module) -> nn.Module:
        fake.placed.add(id(model))
        if len(fake.placed) > fake.networks:
            raise torch.AcceleratorError("CUDA error: out of memory")
        return place(self, model)

    def taken_back(self: nn.Module) -> nn.Module:
        fake.placed.discard(id(self))
        return cpu(self)

    monkeypatch.setattr(Batches, "starting_at", limited_batches)
    monkeypatch.setattr(Machine, "place", limited_place)
    monkeypatch.setattr(Machine, "holds", lambda self, model: id(model) in fake.placed)
    monkeypatch.setattr(nn.Module, "cpu", taken_back)
    watch = register_module_forward_pre_hook(limited_pass)
    yield fake
    watch.remove()


def models() -> list[dict[str, torch.Tensor]]:
    return [load_file(RUN / f"fold{k}" / "model.safetensors") for k in (0, 1)]


def max_pieces(batch_size: int) -> int:
    state = state_of(TrainConfig(num_epochs=1, batch_size=batch_size), nn.Linear(2, 3), [batch_size])
    while state.halve_pieces():
        pass
    return state.num_pieces(batch_size)


def model_bytes() -> list[bytes]:
    return [(RUN / f"fold{k}" / "model.safetensors").read_bytes() for k in (0, 1)]


def predicted() -> np.ndarray[Any, Any]:
    names = [f"fold{k}/{name}.parquet" for k in (0, 1) for name in ("oof", "test")]
    return np.concatenate([read_predictions(RUN / name, "infer").probs.array for name in names])


def test_evaluation_halves_its_batches_and_changes_no_model(
    competition: Callable[..., Config], capsys: pytest.CaptureFixture[str], device: Device
) -> None:
    competition()
    assert run_all() == 0
    whole, probs = model_bytes(), predicted()
    forget("model.safetensors", "train.json", "infer.json")
    device.images = 4
    device.evaluated.clear()
    capsys.readouterr()
    assert run_all() == 0
    said = capsys.readouterr().out
    assert "train 0 epoch 1/2 valid: there is too little memory for batches of 12. It begins again with 6" in said
    assert "batches of 6. It begins again with 3: infer.batch_size = 3 does so at once" in said
    assert "infer 0, 1 test: there is too little memory for batches of 8. It begins again with 4" in said
    assert "epoch 2/2 valid: there" not in said, "what was found is kept"
    assert max(device.evaluated) == 12 and set(device.evaluated[-4:]) == {3}
    assert model_bytes() == whole and np.allclose(predicted(), probs, atol=1e-6)
    device.images = ANY
    forget("infer.json")
    assert run_all() == 0
    assert np.array_equal(predicted(), probs), "where memory is back, what halved batches said is not taken for it"


def test_one_setting_is_read_wherever_nothing_is_learned(competition: Callable[..., Config], device: Device) -> None:
    competition()
    assert run_all() == 0
    whole = model_bytes()
    assert set(device.evaluated) == {12, 8}, "four times train's 8 images, of those that there are"
    forget("model.safetensors", "train.json", "infer.json")
    device.evaluated.clear()
    assert run_all("infer.batch_size=4") == 0
    assert set(device.evaluated) == {4} and model_bytes() == whole
    assert len(device.evaluated) == 2 * 2 * 3 + 2, "two models, two validations, three batches; two of test images"
    (RUN / "fold0" / "infer.json").unlink()
    device.evaluated.clear()
    assert run_all("infer.batch_size=5") == 0, "another batch size later asks the models again, for the same bytes"
    assert sorted(device.evaluated) == [2, 2, 3, 5, 5, 5, 5, 5] and model_bytes() == whole


def test_a_training_goes_on_with_another_batch_size_of_evaluation(
    competition: Callable[..., Config], capsys: pytest.CaptureFixture[str], device: Device
) -> None:
    competition()
    assert run_all() == 0
    whole = model_bytes()
    forget("model.safetensors", "train.json", "infer.json")
    device.images = 0
    assert run_all() == 1
    said = capsys.readouterr().err
    assert "too little memory for batches of 1. Lower image.size or take a smaller model.name (CUDA out of" in said
    assert "And more" not in said
    device.images = 4
    device.trained.clear()
    assert run_all("infer.batch_size=4") == 0
    assert "train 0: goes on in epoch 1 after 2 steps" in capsys.readouterr().out
    assert len(device.trained) == 2 + 4, "no step is made twice"
    assert model_bytes() == whole


def test_a_batch_of_training_goes_through_the_network_in_pieces(
    competition: Callable[..., Config], capsys: pytest.CaptureFixture[str], device: Device
) -> None:
    competition()
    assert run_all() == 0
    whole = models()
    capsys.readouterr()
    forget("model.safetensors", "train.json")
    device.train_images = 3
    assert train.main(CONFIG) == 0
    said = capsys.readouterr().out
    assert (
        "train 0: there is too little memory for a batch of 8 at once. It goes through the network in 2 pieces" in said
    )
    assert said.count("of 8 at once") == 2 * 2, "a training keeps what it found; then in 4 pieces"
    assert set(device.trained) == {8, 4}, "the batches are those of the settings"
    assert max_pieces(14) == 7, "of two images each"
    for kept, model in zip(whole, models(), strict=True):
        assert any(not torch.equal(kept[name], value) for name, value in model.items())
        assert all(torch.allclose(kept[name], value, atol=1e-5) for name, value in model.items())
    assert [note(RUN / f"fold{k}" / "train.json", "pieces of a batch") for k in (0, 1)] == [4, 4]


def test_pieces_that_were_found_are_gone_on_with(
    competition: Callable[..., Config], capsys: pytest.CaptureFixture[str], device: Device
) -> None:
    competition()
    for stage in (prepare, folds):
        assert stage.main(CONFIG) == 0
    device.train_images, device.images = 4, 0
    assert train.main(CONFIG) == 1, "after the first epoch's steps, in the validation"
    device.images = ANY
    capsys.readouterr()
    assert train.main([*CONFIG, "--fold", "0"]) == 0
    said = capsys.readouterr().out
    assert "goes on in epoch 1 after 2 steps" in said and "at once" not in said


def test_training_says_what_to_change_where_two_images_are_too_many(
    competition: Callable[..., Config], capsys: pytest.CaptureFixture[str], device: Device
) -> None:
    competition()
    for stage in (prepare, folds):
        assert stage.main(CONFIG) == 0
    device.train_images = 1
    assert train.main(CONFIG) == 1
    said = capsys.readouterr().err
    assert "too little memory for 2 images at once. Lower image.size or take a smaller model.name (CUDA" in said
    assert train.main([*CONFIG, "--set", "train.batch_size=1"]) == 0
    forget("model.safetensors", "train.json")
    device.train_images = 0
    one = [*CONFIG, "--set", "train.batch_size=1", "model.name=test_resnet"]
    assert train.main(one) == 1
    assert "1 images at once. Set train.grad_checkpointing = true, lower image.size or take" in capsys.readouterr().err
    assert train.main([*one, "train.grad_checkpointing=true"]) == 1
    assert "1 images at once. Lower image.size or take" in capsys.readouterr().err


@pytest.mark.parametrize(("room", "what"), [(0, "to train"), (1, "for the network")])
def test_a_network_that_has_no_room_in_training(
    competition: Callable[..., Config], capsys: pytest.CaptureFixture[str], device: Device, room: int, what: str
) -> None:
    """There is none for the network that trains, or for the one that predicts beside it, its norms fused."""
    competition()
    device.networks = room
    assert run_all("model.name=resnet9", "model.width=4") == 1
    said = capsys.readouterr().err
    assert f"there is too little memory {what}. End other programs that use it, or take a smaller model.name" in said
    assert "CUDA error: out of memory" in said


def test_a_network_without_norms_predicts_where_it_trains(competition: Callable[..., Config], device: Device) -> None:
    competition()
    device.networks = 1
    assert prepare.main(CONFIG) == folds.main(CONFIG) == train.main([*CONFIG, "--fold", "0"]) == 0


def test_networks_that_have_no_room_beside_each_other_predict_one_after_the_other(
    competition: Callable[..., Config], capsys: pytest.CaptureFixture[str], device: Device
) -> None:
    competition()
    for stage in (prepare, folds, train, infer):
        assert stage.main(CONFIG) == 0
    expected = [(RUN / f"fold{k}" / "test.parquet").read_bytes() for k in (0, 1)]
    forget("infer.json")
    device.placed.clear()
    device.networks = 1
    capsys.readouterr()
    assert infer.main(CONFIG) == 0 and ensemble.main(CONFIG) == 0
    said = capsys.readouterr().out
    assert "infer 0, 1 test: there is too little memory for 2 networks at once. End" in said
    assert [(RUN / f"fold{k}" / "test.parquet").read_bytes() for k in (0, 1)] == expected
    forget("infer.json")
    device.networks = 0
    assert infer.main(CONFIG) == 1
    assert "there is too little memory for the network. End other programs" in capsys.readouterr().err
