"""A training that is stopped after any step and goes on is, to the byte, one that was not."""

from collections.abc import Callable
from pathlib import Path

import pytest
from test_stages import CONFIG, RUN, run_all

from pipeline.config import Config
from pipeline.engine import fit as fit_room
from pipeline.engine.resume import Resume

SETTINGS = (
    "model.width=4",
    "augment.hflip=0.5",
    "augment.policy=randaugment",
    "augment.mixup=0.3",
    "train.num_epochs=3",
)
FILES = ("model.safetensors", "history.csv", "valid.parquet")


class Killed(BaseException):
    """What stands for a killed process."""


def products() -> dict[str, bytes]:
    return {name: (RUN / "fold0" / name).read_bytes() for name in FILES}


def train_one(*settings: str) -> int:
    from pipeline import folds, prepare, train

    options = [*CONFIG, "--set", *settings]
    for stage in (prepare, folds):
        assert stage.main(options) == 0
    return train.main([*options, "--fold", "0"])


@pytest.mark.parametrize(
    ("model", "more"),
    [
        ("resnet9", ("train.ema=0.9", "model.dropout=0.2", "train.accumulate=2")),
        ("resnet9", ("train.optimizer=nesterov", "augment.first_size=0.75", "train.clip_grad=1.0")),
        ("mlp", ("train.optimizer=muon",)),
        ("resnet9", ("train.optimizer=lamb",)),
    ],
)
def test_killed_after_any_step(
    competition: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, model: str, more: tuple[str, ...]
) -> None:
    competition()
    settings = (*SETTINGS, *more, f"model.name={model}", "train.batch_size=4", "train.checkpoint_minutes=0")
    assert train_one(*settings) == 0
    whole, steps = products(), 9
    assert not (RUN / "fold0" / "resume.safetensors").exists()
    original, made = fit_room._saving, []

    def killing(*arguments: object) -> object:
        after = original(*arguments)  # type: ignore[arg-type]

        def after_step(step: int, *rest: object) -> None:
            after(step, *rest)  # type: ignore[arg-type]
            made.append(step)
            if len(made) % 2 == 0 and len(made) < 2 * steps:
                raise Killed

        return after_step

    monkeypatch.setattr(fit_room, "_saving", killing)
    for name in (*FILES, "train.json"):
        (RUN / "fold0" / name).unlink()
    num_kills = 0
    while True:
        try:
            assert train_one(*settings) == 0
            break
        except Killed:
            num_kills += 1
    assert num_kills >= 3 and products() == whole
    assert len(made) <= steps * (2 if "train.accumulate=2" in more else 1) + num_kills, "no step is made twice"


def test_what_is_broken_or_of_another_training_is_not_gone_on_with(
    competition: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    competition()
    settings = ("train.checkpoint_minutes=0",)
    assert train_one(*settings) == 0
    whole = products()
    monkeypatch.setattr(Resume, "delete", lambda self: None)
    path = RUN / "fold0" / "resume.safetensors"

    def again(*more: str) -> str:
        for name in (*FILES, "train.json"):
            (RUN / "fold0" / name).unlink(missing_ok=True)
        capsys.readouterr()
        status = train_one(*settings, *more)
        said = capsys.readouterr()
        return f"{status} {said.out} {said.err}"

    assert "goes on" not in again() and path.is_file()
    assert "goes on in epoch 2 after 2 steps" in again() and products() == whole
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    assert "is not whole (its checksum is another)" in again() and products() == whole
    path.write_bytes(b"half")
    assert "is not whole" in again() and products() == whole
    assert "is of another training" in again("train.lr=0.02")
    monkeypatch.setattr("pipeline.engine.machine.Machine.describe", lambda machine: "an abacus")
    assert again("train.lr=0.02").startswith("1 ") and "begin anew on an abacus" in again("train.lr=0.02")
    path.unlink()
    assert again("train.lr=0.02").startswith("0 ")
    assert Path(path).is_file() and run_all(*settings, "train.lr=0.02") == 0
