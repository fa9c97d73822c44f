"""Apple's GPU, which has no float64, played by the CPU."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_iter, tree_map

from making import write_table
from pipeline.config import Config
from pipeline.engine.losses import class_weights
from pipeline.engine.resume import Store
from running import KINDS, RUN, run_all

BALANCED, RESNET = "train.class_weights=balanced", ("model.name=resnet9", "model.width=4")
MPS, CPU = torch.device("mps"), torch.device("cpu")


class OnApple(Tensor):
    """A tensor on the device that is played; so is whatever is computed from it."""

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return MPS

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function in (Tensor.cpu, Tensor.numpy) or (function is Tensor.copy_ and not isinstance(args[0], OnApple)):
            return function(*tree_map(off, args), **kwargs or {})
        return refused(super().__torch_function__(function, types, args, kwargs))

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        copied = self.detach().clone()
        memo[id(self)] = nn.Parameter(copied, self.requires_grad) if isinstance(self, nn.Parameter) else copied
        return memo[id(self)]


def off(value: Any) -> Any:
    return value.as_subclass(Tensor) if isinstance(value, OnApple) else value


def refused(result: Any) -> Any:
    """A result; as torch has it, an error where one of its tensors is in float64 on the device."""
    for tensor in tree_iter(result):
        if isinstance(tensor, OnApple) and tensor.dtype == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64")
    return result


class Apple(TorchFunctionMode):
    """What is made on the device, or sent to it, is an `OnApple`."""

    def __torch_function__(
        self, function: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        devices = [value for value in (*args, *(kwargs or {}).values()) if isinstance(value, torch.device)]
        if not devices or function is torch._C._nn._parse_to:  # which reads the arguments of `nn.Module.to`
            return function(*args, **kwargs or {})
        args, kwargs = tree_map(lambda value: CPU if value == MPS else off(value), (args, kwargs or {}))
        result = function(*args, **kwargs)
        return refused(result.as_subclass(OnApple)) if devices == [MPS] and isinstance(result, Tensor) else result


@pytest.fixture
def apple(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("pipeline.engine.machine.find_device", lambda: MPS)
    monkeypatch.setattr("torch.mps.manual_seed", torch.default_generator.manual_seed)
    monkeypatch.setattr(torch, "Generator", lambda device=CPU, made=torch.Generator: made())  # timm makes one there
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    with Apple():
        yield
    torch.__future__.set_overwrite_module_params_on_conversion(False)


def test_the_player_is_as_strict_as_the_device(apple: None) -> None:
    with pytest.raises(TypeError, match="float64"):
        torch.zeros(2, dtype=torch.float64).to(MPS)
    with pytest.raises(TypeError, match="float64"):
        torch.zeros(2, device=MPS).double()
    sent = torch.zeros(2).to(MPS) + 1
    assert isinstance(sent, OnApple) and sent.cpu().double().sum() == 2 and type(sent.cpu()) is Tensor
    layer = nn.Linear(2, 2).to(MPS)
    assert isinstance(layer.weight, OnApple) and isinstance(layer(sent), OnApple)


@pytest.mark.parametrize("targets", [torch.tensor([0, 2, 2]), torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])])
def test_weights_of_classes_are_counted_elsewhere(apple: None, targets: Tensor) -> None:
    weights = class_weights(targets.to(MPS), 3)
    assert isinstance(weights, OnApple) and torch.equal(weights.cpu(), class_weights(targets, 3))


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("single", (BALANCED, "train.ema=0.9", "augment.mixup=0.2", "augment.policy=randaugment")),
        ("multi", (BALANCED, "train.optimizer=normed_muon", *RESNET, "augment.first_size=0.75")),
        ("multi", ("train.loss=focal", BALANCED, "train.optimizer=lookahead_lamb")),
        ("number", (*RESNET, "train.clip_grad=1", 'infer.views=["hflip+shift_up"]')),
    ],
)
def test_from_images_to_submission(
    apple: None,
    competition: Callable[..., Config],
    capsys: pytest.CaptureFixture[str],
    kind: str,
    settings: Sequence[str],
) -> None:
    cfg = competition()
    column, values, more = KINDS.get(kind, ("label", ["ant", "bee", "cow"], []))
    for name, count in (("train", 24), ("answers", 8), ("sample_submission", 8)):
        write_table(cfg.root / f"{name}.csv", ["id", column], [[f"{n:03d}", values[n % 3]] for n in range(count)])
    assert run_all(*settings, *more) == 0
    assert ", mps, float32" in capsys.readouterr().out and (RUN / "submission.csv").is_file()


class Killed(BaseException):
    """What stands for a killed process."""


def test_a_training_that_was_killed_goes_on(
    apple: None, competition: Callable[..., Config], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    competition()
    original, saved = Store.save, []

    def killing(self: Store, *arguments: Any, **options: Any) -> None:
        original(self, *arguments, **{**options, "wait": True})
        saved.append(1)
        if len(saved) == 2:
            raise Killed

    monkeypatch.setattr(Store, "save", killing)
    settings = (BALANCED, "train.ema=0.9", "train.checkpoint_minutes=0")
    with pytest.raises(Killed):
        run_all(*settings)
    assert run_all(*settings) == 0
    assert "train 0: goes on in epoch 1 after 2 steps" in capsys.readouterr().out
