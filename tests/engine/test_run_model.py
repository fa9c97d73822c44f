"""The loop: loss and outputs over every image, gradients in training alone, and a step for each batch."""

import gc
import weakref
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.competition.tables.table import read_train
from pipeline.config import Config, TrainConfig
from pipeline.engine.losses import make_loss
from pipeline.engine.machine import Machine, TooLittleMemory
from pipeline.engine.predict import evaluate
from pipeline.engine.run_model import run_model
from pipeline.engine.state import TrainState
from pipeline.engine.training import Training
from pipeline.images import cache, fill
from pipeline.images.batches import Batches
from states import CPU, gather, state_of

NORM = ((0.5,) * 3, (0.2,) * 3)
TARGETS = torch.arange(24) % 3


class Small(nn.Module):
    """A network with batch norm and dropout that counts its passes and notes whether gradients are on."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.drop = nn.Dropout(0.5)
        self.linear = nn.Linear(3 * 12 * 12, 3)
        self.seen: list[tuple[int, bool, bool]] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append((len(images), torch.is_grad_enabled(), self.training))
        return self.linear(self.drop(self.norm(images).flatten(1)))


@pytest.fixture
def images(competition: Callable[..., Config]) -> cache.Images:
    cfg = competition()
    return fill.decode_missing(cfg, "train", read_train(cfg).paths)


def batches(images: cache.Images, batch_size: int, indices: np.ndarray | None = None) -> Batches:
    indices = np.arange(24) if indices is None else indices
    return Batches(images, indices, batch_size, 12, NORM, CPU.device, CPU.dtype, TARGETS)


def small() -> Small:
    torch.manual_seed(0)
    return Small()


LOSS = make_loss(TrainConfig(), "single", None)


def test_loss_and_outputs_are_over_every_image_not_the_last_batch(images: cache.Images) -> None:
    model = small()
    result = gather(24)
    run_model(model, batches(images, 7), "valid", CPU, result, LOSS)
    assert [size for size, _, _ in model.seen] == [7, 7, 7, 3]
    with torch.no_grad():
        whole = next(iter(batches(images, 24)))
        logits = model(whole.images)
    assert np.allclose(result.probs().array, logits.softmax(1), atol=1e-5)
    expected = functional.cross_entropy(logits, TARGETS).item()
    assert result.loss == pytest.approx(expected, abs=1e-5)
    last = functional.cross_entropy(logits[21:], TARGETS[21:]).item()
    mean_of_means = np.mean(
        [functional.cross_entropy(logits[i : i + 7], TARGETS[i : i + 7]).item() for i in (0, 7, 14, 21)]
    )
    assert abs(expected - last) > 1e-3 and abs(expected - mean_of_means) > 1e-4, "the test must tell them apart"


@pytest.mark.parametrize(("mode", "learns"), [("train", True), ("valid", False), ("test", False)])
def test_only_training_has_gradients_and_changes_the_network(images: cache.Images, mode: str, learns: bool) -> None:
    model = small()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    cfg = TrainConfig(num_epochs=1, batch_size=8, schedule="constant")
    training = Training(state_of(cfg, model, [8] * 3)) if learns else None
    result = training.state.gathered if training else gather(24)
    loss = None if mode == "test" else LOSS
    run_model(model, batches(images, 8), mode, CPU, result, loss, training)  # type: ignore[arg-type]
    assert {(grad, training) for _, grad, training in model.seen} == {(learns, learns)}
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == (set(before) if learns else set())
    assert not result.loss_sum.requires_grad and not result.state_dict()["values"].requires_grad
    assert (float(result.loss_sum) == 0) == (mode == "test")


def test_outputs_follow_the_order_that_was_asked_for(images: cache.Images) -> None:
    indices = np.random.default_rng(1).permutation(24)
    plain, mixed = gather(24), gather(24)
    run_model(small(), batches(images, 5), "test", CPU, plain)
    run_model(small(), batches(images, 5, indices), "test", CPU, mixed)
    assert np.allclose(plain.probs().array[indices], mixed.probs().array, atol=1e-5)


def epochs(images: cache.Images, **settings: object) -> tuple[nn.Module, TrainState, list[float]]:
    cfg = TrainConfig(
        **{"num_epochs": 2, "batch_size": 4, "schedule": "cosine", "lr": 0.1, "optimizer": "sgd", **settings}
    )  # type: ignore[arg-type]
    model = small()
    training = Training(state_of(cfg, model, [4] * 6))
    rates = []
    for _ in range(2):
        rates.append(training.state.epoch_lr)
        run_model(model, batches(images, 4), "train", CPU, training.state.gathered, LOSS, training)
        training.state.end_epoch({})
    return model, training.state, rates


def test_dropout_is_a_function_of_seed_epoch_and_step(images: cache.Images) -> None:
    torch.manual_seed(1)
    one, _, _ = epochs(images)
    torch.manual_seed(2)
    two, _, _ = epochs(images)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


def test_the_schedule_falls_and_accumulation_makes_fewer_steps(images: cache.Images) -> None:
    _, state, rates = epochs(images)
    assert state.num_updates == 12 and rates[0] == pytest.approx(0.1) and rates[1] < 0.1
    _, state, _ = epochs(images, accumulate=4)
    assert state.num_updates == 4  # two an epoch: four batches, then the two that are left


def test_a_mode_has_what_it_needs(images: cache.Images) -> None:
    with pytest.raises(AssertionError):
        run_model(small(), batches(images, 8), "train", CPU, gather(24), LOSS)
    with pytest.raises(AssertionError):
        run_model(small(), batches(images, 8), "valid", CPU, gather(24))


@pytest.mark.gpu
def test_it_runs_on_a_gpu(images: cache.Images) -> None:
    machine = Machine(torch.device("cuda", 0), "bfloat16")
    model = machine.place(small())
    on_gpu = Batches(images, np.arange(24), 8, 12, NORM, machine.device, machine.dtype, TARGETS)
    training = Training(state_of(TrainConfig(num_epochs=1), model, [8] * 3, machine))
    run_model(model, on_gpu, "train", machine, training.state.gathered, LOSS, training)
    assert np.isfinite(training.state.gathered.loss)
    predicted = gather(24, machine)
    run_model(model, on_gpu, "test", machine, predicted)
    assert predicted.probs().array.shape == (24, 3)


def test_a_step_that_the_scaler_of_float16_skips_is_no_loss_that_diverged(images: cache.Images) -> None:
    machine, model = Machine(torch.device("cpu"), "float16"), small()
    training = Training(state_of(TrainConfig(num_epochs=1, batch_size=8), model, [8] * 3, machine))
    state, result = training.state, training.state.gathered
    state.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)  # gradients overflow at first
    before = model.linear.weight.clone()
    run_model(model, batches(images, 8), "train", machine, result, LOSS, training)
    assert state.scaler.get_scale() < 2.0**127, "it skipped"
    assert result.bad_step == -1 and np.isfinite(result.loss)
    assert state.num_updates == 3 and model.linear.weight.isfinite().all()
    assert torch.equal(model.linear.weight, before) == (state.scaler.get_scale() == 2.0**124), "all three were skipped"


class Greedy(nn.Module):
    """The wrapped network on a device that has room for some images, and for any number in its first pass."""

    def __init__(self, model: nn.Module, room: int) -> None:
        super().__init__()
        self.model = model
        self.room = room
        self.sizes: list[int] = []
        self.used: list[weakref.ref[Tensor]] = []

    def forward(self, images: Tensor) -> Tensor:
        assert not [used for used in self.used if used() is not None], "the pass that failed holds memory"
        self.sizes.append(len(images))
        activations = images * 2
        if len(images) > self.room and len(self.sizes) != 1:
            self.used.append(weakref.ref(activations))
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return self.model(images)[None, None]


@pytest.mark.parametrize("mode", ["valid", "test"])
def test_evaluation_begins_again_with_half_the_images_at_once(images: cache.Images, mode: str) -> None:
    model, loss = small(), LOSS if mode == "valid" else None
    expected, result = gather(24), gather(24)
    run_model(model, batches(images, 3), mode, CPU, expected, loss)  # type: ignore[arg-type]
    greedy = Greedy(model, 4)
    gc.disable()  # what only the collector would find still takes the device's memory
    try:
        fitting = evaluate(greedy, batches(images, 14), CPU, result, loss)
    finally:
        gc.enable()
    assert greedy.sizes == [14, 10, 7, *[3] * 8]
    assert fitting.batch_size == 3 and (result.probs().array == expected.probs().array).all()
    assert result.loss == expected.loss
    with pytest.raises(TooLittleMemory, match=r"batches of 1\. Lower image\.size or take a smaller model\.name"):
        evaluate(Greedy(model, 0), batches(images, 5), CPU, gather(24), loss)
