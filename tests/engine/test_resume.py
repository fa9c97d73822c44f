"""A training that is stopped after any step and goes on is, to the byte, one that was not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm.optim
import torch
from torch import nn

from pipeline.config import Config, TrainConfig
from pipeline.engine import fit as fit_room
from pipeline.engine.nested import take_apart
from pipeline.engine.optimizer import OWN_OPTIMIZERS
from pipeline.engine.resume import Store
from pipeline.engine.state import TrainState
from running import CONFIG, RUN, forget, run_all
from states import CPU, state_of

SETTINGS = (
    "augment.hflip=0.5",
    "augment.policy=randaugment",
    "augment.mixup=0.3",
    "train.num_epochs=3",
)
FILES = ("model.safetensors", "history.csv", "valid.parquet")


@pytest.fixture(autouse=True)
def saved_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that is "killed" here leaves no thread behind that goes on writing."""
    original = Store.save

    def save(self: Store, *arguments: Any, **options: Any) -> None:
        original(self, *arguments, **{**options, "wait": True})

    monkeypatch.setattr(Store, "save", save)


TIMMS = [
    name
    for name in timm.optim.list_optimizers()
    # Refused without CUDA, and because of its second derivatives.
    if not name.startswith(("bnb", "fused")) and name != "adahessian"
]
EVERY = [*dict.fromkeys((*OWN_OPTIMIZERS, *TIMMS)), *(f"lookahead_{name}" for name in TIMMS)]


def new_state(name: str, seed: int) -> TrainState:
    """The state of a new network of convolutions, one of them hidden, in the memory format of trainings."""
    torch.manual_seed(seed)
    layers = (nn.Conv2d(3, 4, 3), nn.Conv2d(4, 6, 3, bias=False), nn.Flatten(), nn.Linear(6, 2))
    state = state_of(TrainConfig(optimizer=name, lr=0.01), CPU.place(nn.Sequential(*layers)), [8] * 20)
    for group in state.optimizer.param_groups:
        if "lookahead_k" in group:
            group["lookahead_k"] = 2  # the slow weights are made by the second step and move with the fourth
    return state


def steps_to(state: TrainState, last: int) -> tuple[bytes, Any]:
    """Make the steps up to one; all that there is of the network and the optimizer then."""
    while state.step < last:
        CPU.seed(state.step)
        state.add_gradients(state.model(torch.randn(4, 3, 5, 5)).square().mean())
        state.take_step()
    tensors, rest = take_apart([state.model.state_dict(), state.optimizer.state_dict()])
    return safetensors.torch.save(tensors), rest


class Killed(BaseException):
    """What stands for a killed process."""


def products() -> dict[str, bytes]:
    return {name: (RUN / "fold0" / name).read_bytes() for name in FILES}


def kills_until_the_end(settings: tuple[str, ...]) -> int:
    """Start the training again until nothing kills it; how often something did."""
    num_kills = 0
    while True:
        try:
            assert train_one(*settings) == 0
            return num_kills
        except Killed:
            num_kills += 1


def train_one(*settings: str, fold: str = "0") -> int:
    from pipeline import folds, prepare, train

    options = [*CONFIG, "--set", *settings]
    for stage in (prepare, folds):
        assert stage.main(options) == 0
    return train.main([*options, "--fold", fold])


@pytest.mark.parametrize(
    ("model", "more"),
    [
        ("resnet9", ("train.ema=0.9", "model.dropout=0.2", "train.accumulate=2")),
        ("resnet9", ("train.optimizer=nesterov", "augment.first_size=0.75", "train.clip_grad=1.0")),
        ("mlp", ("train.optimizer=normed_muon",)),
        ("resnet9", ("train.optimizer=lamb",)),
        ("resnet9", ("train.freeze_epochs=1", "train.freeze_norms=true", "train.head_lr=3")),
    ],
)
def test_killed_after_any_step(
    competition: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, model: str, more: tuple[str, ...]
) -> None:
    competition()
    network = (f"model.name={model}", *(["model.width=4"] if model == "resnet9" else []))
    settings = (*SETTINGS, *more, *network, "train.batch_size=4", "train.checkpoint_minutes=0")
    assert train_one(*settings) == 0
    whole, steps = products(), 9
    assert not list((RUN / "fold0").glob("resume*"))
    original, made, killed = TrainState.take_step, [], set()

    def killing(self: TrainState) -> None:
        """Kill behind every second step and all that follows it, before the next is made."""
        if len(made) in range(2, 2 * steps, 2) and len(made) not in killed:
            killed.add(len(made))
            raise Killed
        made.append(self.step)
        original(self)

    monkeypatch.setattr(TrainState, "take_step", killing)
    forget(*FILES, "train.json", folds=(0,))
    num_kills = kills_until_the_end(settings)
    assert num_kills >= 3 and products() == whole
    assert len(made) <= steps * (2 if "train.accumulate=2" in more else 1) + num_kills, "no step is made twice"


def test_what_is_broken_or_of_another_training_is_not_gone_on_with(
    competition: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    competition()
    settings = ("train.checkpoint_minutes=0",)
    assert train_one(*settings) == 0
    whole = products()
    monkeypatch.setattr(Store, "delete", lambda self: None)
    within, end = (RUN / "fold0" / f"{name}.safetensors" for name in ("resume", "resume-epoch"))

    def again(*more: str) -> str:
        for name in (*FILES, "train.json"):
            (RUN / "fold0" / name).unlink(missing_ok=True)
        capsys.readouterr()
        status = train_one(*settings, *more)
        said = capsys.readouterr()
        return f"{status} {said.out} {said.err}"

    assert "goes on" not in again() and within.is_file()
    assert "goes on in epoch 2 after 2 steps" in again() and products() == whole
    content = bytearray(within.read_bytes())
    content[-5] ^= 1
    within.write_bytes(content)
    said = again()
    assert "is not whole (its checksum is another)" in said and products() == whole
    assert "goes on in epoch 2 after 0 steps" in said, "the one before is there"
    for path in (within, end):
        path.write_bytes(b"half")
    said = again()
    assert "is not whole" in said and "goes on" not in said and products() == whole
    assert "is of another training" in again("train.lr=0.02")
    monkeypatch.setattr("pipeline.engine.machine.Machine.describe", lambda machine: "an abacus")
    assert again("train.lr=0.02").startswith("1 ") and "begin anew on an abacus" in again("train.lr=0.02")
    within.unlink(), end.unlink()
    assert again("train.lr=0.02").startswith("0 ")
    assert within.is_file() and run_all(*settings, "train.lr=0.02") == 0


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (lambda text: '{"epoch": 1, "step": 3, "sha256": ""}', "was written by another version of this pipeline"),
        (lambda text: json.dumps({**json.loads(text), "format": 1}), "was written by another version of this pipeline"),
        (lambda text: text.replace('"at": [0, 3]', '"at": [0, 4]'), "is not whole (its checksum is another)"),
        (lambda text: "no JSON", "is not whole"),
    ],
)
def test_files_of_other_formats_are_not_gone_on_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: Callable[[str], str], words: str
) -> None:
    state, store = new_state("sgd", 0), Store(tmp_path, {}, 0)
    assert store.load(CPU) is None
    steps_to(state, 3)
    store.save(state)
    with safetensors.safe_open(store.within_epoch, "pt") as file:
        metadata = file.metadata()
    tensors = safetensors.torch.load_file(store.within_epoch)
    text = changed(metadata["resume"])
    assert text != metadata["resume"]
    safetensors.torch.save_file(tensors, store.within_epoch, {**metadata, "resume": text})
    assert store.load(CPU) is None and words in capsys.readouterr().out


@pytest.fixture
def states(monkeypatch: pytest.MonkeyPatch) -> list[TrainState]:
    """The training's state, as soon as there is one."""
    made: list[TrainState] = []

    class Watched(TrainState):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            made[:] = [self]

    monkeypatch.setattr(fit_room, "TrainState", Watched)
    return made


def spoil(
    monkeypatch: pytest.MonkeyPatch,
    states: list[TrainState],
    step: int,
    *,
    always: bool = False,
    validation: bool = False,
) -> None:
    """Make the loss of a step of training infinite, or of the validation after it: at the full rate, or always."""
    original = fit_room.make_loss

    def make_loss(*arguments: Any) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        loss = original(*arguments)

        def spoiled(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            now = states[0]
            bad = torch.is_grad_enabled() != validation and now.num_updates == step and (always or now.lr_scale == 1)
            return loss(outputs, targets) * (float("inf") if bad else 1)

        return spoiled

    monkeypatch.setattr(fit_room, "make_loss", make_loss)


STEPS = ("train.batch_size=4", "train.num_epochs=4", "train.schedule=constant", "train.optimizer=sgd")


@pytest.mark.parametrize(
    ("step", "place"), [(1, "its beginning"), (4, "the end of epoch 1"), (6, "the end of epoch 2")]
)
@pytest.mark.parametrize("minutes", ["0", "2"])
def test_a_training_that_diverges_goes_back_once_and_on_at_half_the_rate(
    competition: Callable[..., Config],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    states: list[TrainState],
    step: int,
    place: str,
    minutes: str,
) -> None:
    competition()
    spoil(monkeypatch, states, step)
    settings = (*STEPS, f"train.checkpoint_minutes={minutes}")
    assert train_one(*settings) == 1, "without being asked it does not"
    said = capsys.readouterr().err
    where = f"epoch {step // 3 + 1}, step {step % 3 + 1}, of 4 images"
    assert where in said and "train.on_nan = 'rollback'" in said
    assert train_one(*settings, "train.on_nan=rollback") == 0
    said = capsys.readouterr().out
    assert f"It goes back to {place} and on at half the rate" in said and where in said
    rates = [float(line.split(",")[1]) for line in (RUN / "fold0" / "history.csv").read_text().splitlines()[1:]]
    assert rates == [0.01] * (step // 3) + [0.005] * (4 - step // 3)
    assert states[0].num_updates == 12
    whole = products()
    forget(*FILES, "train.json", folds=(0,))
    assert train_one(*settings, "train.on_nan=rollback") == 0
    assert products() == whole


@pytest.mark.parametrize(
    ("epoch", "place"), [(1, "its beginning"), (2, "the end of epoch 1"), (4, "the end of epoch 3")]
)
def test_a_validation_that_diverges_goes_back_before_the_epoch_that_made_it(
    competition: Callable[..., Config],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    states: list[TrainState],
    epoch: int,
    place: str,
) -> None:
    """The model is that of a training in which a step of the same epoch diverged."""
    competition()
    step = 3 * (epoch - 1) + 1
    with monkeypatch.context() as patch:
        spoil(patch, states, step)
        assert train_one(*STEPS, "train.on_nan=rollback") == 0
    expected = products()
    forget(*FILES, "train.json", folds=(0,))
    spoil(monkeypatch, states, 3 * epoch, validation=True)
    capsys.readouterr()
    assert train_one(*STEPS) == 1, "without being asked it does not"
    said = capsys.readouterr().err
    assert f"in the validation of epoch {epoch}, step 1, of 12 images" in said and "train.on_nan = 'rollback'" in said
    assert train_one(*STEPS, "train.on_nan=rollback") == 0, "what was kept is not what diverged"
    assert f"It goes back to {place} and on at half the rate" in capsys.readouterr().out
    assert products() == expected
    forget(*FILES, "train.json", folds=(0,))
    assert train_one(*STEPS, "train.on_nan=rollback") == 0
    assert products() == expected, "in one go"


def test_a_model_of_all_images_goes_back_too(
    competition: Callable[..., Config],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    states: list[TrainState],
) -> None:
    competition()
    spoil(monkeypatch, states, 14)  # of 6 an epoch
    assert train_one(*STEPS, "train.on_nan=rollback", "folds.full_fit=true", fold="full") == 0
    assert "It goes back to the end of epoch 2 and on at half the rate" in capsys.readouterr().out
    rates = [line.split(",")[1] for line in (RUN / "full" / "history.csv").read_text().splitlines()[1:]]
    assert rates == ["0.01", "0.01", "0.005", "0.005"]


def test_an_epoch_that_nothing_validates_is_saved_before_it_is_scored(
    competition: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    competition()
    settings = (*STEPS, "folds.full_fit=true")
    with monkeypatch.context() as patch:
        patch.setattr(fit_room.scoring, "score", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            train_one(*settings, fold="full")
    capsys.readouterr()
    assert train_one(*settings, fold="full") == 0
    assert "goes on in epoch 1 after 6 steps" in capsys.readouterr().out


def test_a_file_that_is_called_like_a_state_is_none(
    competition: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    """A model is never replaced in silence: without its stamp it is another training's, unless a state says not."""
    competition()
    assert train_one(*STEPS) == 0
    fold = RUN / "fold0"
    whole = (fold / "model.safetensors").read_bytes()
    (fold / "train.json").unlink()
    for name in ("resume-mine.safetensors", "resume.safetensors"):
        (fold / name).write_bytes(b"mine")
        assert train_one(*STEPS) == 1 and "is missing or broken" in capsys.readouterr().err
    assert (fold / "model.safetensors").read_bytes() == whole


@pytest.mark.parametrize(("step", "validation"), [(4, False), (6, True)])
def test_what_was_gone_back_on_is_remembered(
    competition: Callable[..., Config],
    monkeypatch: pytest.MonkeyPatch,
    states: list[TrainState],
    step: int,
    validation: bool,
) -> None:
    competition()
    spoil(monkeypatch, states, step, validation=validation)
    settings = (*STEPS, "train.checkpoint_minutes=0", "train.on_nan=rollback")
    assert train_one(*settings) == 0
    whole = products()
    forget(*FILES, "train.json", folds=(0,))
    original, saved = Store.save, []

    def killing(self: Store, *arguments: Any, **options: Any) -> None:
        original(self, *arguments, **options)
        saved.append(1)
        if len(saved) % 3 == 0:
            raise Killed

    monkeypatch.setattr(Store, "save", killing)
    num_kills = kills_until_the_end(settings)
    assert num_kills >= 4 and products() == whole


@pytest.mark.parametrize(("step", "validation"), [(4, False), (6, True)])
def test_the_second_time_it_stops(
    competition: Callable[..., Config],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    states: list[TrainState],
    step: int,
    validation: bool,
) -> None:
    competition()
    spoil(monkeypatch, states, step, always=True, validation=validation)
    assert train_one(*STEPS, "train.on_nan=rollback") == 1
    said = capsys.readouterr()
    assert said.out.count("goes back") == 1 and "must be finite" in said.err
    assert not (RUN / "fold0" / "model.safetensors").exists()


def test_a_step_that_breaks_the_weights_is_not_kept(
    competition: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    competition()

    class Breaking(TrainState):
        def take_step(self) -> None:
            super().take_step()
            if self.num_updates == 6:
                next(self.model.parameters()).data.fill_(float("nan"))

    monkeypatch.setattr(fit_room, "TrainState", Breaking)
    assert train_one(*STEPS) == 1
    assert "epoch 2, step 3" in capsys.readouterr().err
    assert (RUN / "fold0" / "resume-epoch.safetensors").is_file()


# ---- every optimizer


def must_go_on_to_the_same_bytes(name: str, folder: Path) -> None:
    unbroken, resumed = new_state(name, 0), new_state(name, 1)
    before, after = (Store(folder, {}, 0) for _ in range(2))
    before.load(CPU)
    steps_to(unbroken, 3)
    before.save(unbroken)
    saved = after.load(CPU)
    assert saved is not None
    resumed.load_state_dict(saved)
    assert resumed.at == (0, 3)
    assert steps_to(resumed, 5) == steps_to(unbroken, 5)


@pytest.mark.filterwarnings("ignore:It is highly recommended to have 'opt_einsum'")
@pytest.mark.parametrize("name", EVERY)
def test_every_optimizer_goes_on_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)  # a minute for timm's kron, and the same
    must_go_on_to_the_same_bytes(name, tmp_path)


class Hoarder(torch.optim.Optimizer):
    """It keeps something of every kind, and all of it says how far it goes."""

    def __init__(self, groups: Any) -> None:
        super().__init__(groups, {"lr": 0.01, "dtype": torch.bfloat16, "pair": (0.9, None)})
        for group in self.param_groups:
            group["all"] = [torch.zeros(2)]

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            group["all"][0].add_(0.25)
            for parameter in group["params"]:
                state = self.state[parameter]
                if not state:
                    state["count"] = torch.tensor(2**24)  # float32 cannot count on from here
                    state["seen"] = {"signs": [torch.zeros_like(parameter, dtype=torch.bool), None], "odd": False}
                    state["exact"] = (torch.zeros_like(parameter, dtype=torch.float64),)
                    state["rough"] = torch.zeros(parameter.shape, dtype=group["dtype"])
                state["count"].add_(1)
                state["seen"]["signs"][0].logical_xor_(parameter.grad > 0)
                state["seen"]["odd"] = not state["seen"]["odd"]
                state["exact"][0].mul_(group["pair"][0]).add_(parameter.grad.double() / 3)
                state["rough"].lerp_(parameter.grad.to(group["dtype"]), 0.1)
                by = state["exact"][0].float() + state["rough"].float() + state["seen"]["signs"][0].float()
                factor = group["all"][0].sum() + (state["count"] - 2**24) + state["seen"]["odd"]
                parameter.sub_(by * factor, alpha=group["lr"])


def test_a_state_of_every_kind_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timm.optim.create_optimizer_v2", lambda groups, name, **settings: Hoarder(groups))
    must_go_on_to_the_same_bytes("lamb", tmp_path)
