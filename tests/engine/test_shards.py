"""A network that several processes hold in parts; what they make of it, `tests/test_processes.py` shows too."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from pipeline.config import TrainConfig
from pipeline.engine.machine import Machine
from pipeline.engine.resume import Store
from pipeline.engine.shards import blocks
from pipeline.engine.state import TrainState
from pipeline.files import InputError
from pipeline.processes import ONE, Team
from states import CPU, state_of

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.slow
def test_what_two_processes_hold_in_parts_learns_as_what_one_holds(tmp_path: Path) -> None:
    """Weights after two epochs; what each holds; what is saved and gone on from, to the same bytes."""
    script = ROOT / "tests" / "engine" / "in_parts.py"
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script), tmp_path],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(": well") == 7


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # All blocks are alike, an eighth of the parameters or less.
        ("vit_base_patch16_224", [f"blocks.{number}" for number in range(12)]),
        # The first stages have 1 and 5 % of them; the others are divided.
        (
            "convnext_tiny",
            [
                "stages.0",
                "stages.1",
                *(f"stages.2.blocks.{i}" for i in range(9)),
                *(f"stages.3.blocks.{i}" for i in range(3)),
            ],
        ),
        # Its stages are lists, whose entries timm may call by itself: none of them is a block, however small.
        (
            "tf_efficientnet_lite0",
            [f"blocks.{i}.{j}" for i, num in enumerate((1, 2, 2, 3, 3, 4, 1)) for j in range(num)],
        ),
        ("resnet18", [f"layer{stage}.{number}" for stage in (1, 2, 3, 4) for number in (0, 1)]),
    ],
)
def test_blocks_are_what_a_network_has_in_lists(name: str, expected: list[str]) -> None:
    with torch.device("meta"):
        model = timm.create_model(name)
    names = {module: name for name, module in model.named_modules()}
    assert [names[block] for block in blocks(model)] == expected


def test_a_network_without_lists_is_one_part() -> None:
    assert blocks(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 2))) == []


# ---- states in parts, of one process


@pytest.fixture
def store(tmp_path: Path) -> Callable[[], Store]:
    return lambda: Store(tmp_path, {}, 0, ONE, is_in_parts=True)


def stepped(number: int) -> TrainState:
    """A state in whose weights its number stands."""
    state = state_of(TrainConfig(optimizer="sgd"), nn.Linear(2, 2, bias=False), [4] * 9)
    with torch.no_grad():
        state.model.weight.fill_(number)
    state.step = number
    return state


def found(store: Store) -> float:
    """The number of the state that is gone on from."""
    saved = store.load(CPU)
    assert saved is not None
    return float(saved["model"]["weight"].mean())


def test_parts_are_there_for_as_long_as_a_file_names_them(store: Callable[[], Store], tmp_path: Path) -> None:
    saving = store()
    saving.save(stepped(1), epoch_end=True, wait=True)
    for number in (2, 3):
        saving.save(stepped(number), wait=True)
        assert found(store()) == number
    assert len(list((tmp_path / "resume-parts").glob("*/0.safetensors"))) == 2
    assert float(saving.load_epoch_end(CPU)["model"]["weight"].mean()) == 1
    saving.save(stepped(4), epoch_end=True, wait=True)
    assert found(store()) == 4 and len(list((tmp_path / "resume-parts").iterdir())) == 1
    saving.delete()
    assert not list(tmp_path.iterdir())


def test_the_state_before_is_there_until_all_parts_are(
    store: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who dies between the parts and the file that names them leaves what was there."""
    store().save(stepped(1), wait=True)

    def fails(team: Team) -> None:
        raise OSError("another process could not write its part")

    monkeypatch.setattr(Team, "meet", fails)
    with pytest.raises(OSError, match="could not write"):
        store().save(stepped(2), wait=True)
    assert found(store()) == 1


@pytest.mark.parametrize("damage", [b"", b"x", None])
def test_a_part_that_is_not_whole_is_not_gone_on_from(
    store: Callable[[], Store], tmp_path: Path, damage: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    saving = store()
    saving.save(stepped(1), epoch_end=True, wait=True)
    before = set((tmp_path / "resume-parts").iterdir())
    saving.save(stepped(2), wait=True)
    (added,) = set((tmp_path / "resume-parts").iterdir()) - before
    newest = added / "0.safetensors"
    if damage is None:
        newest.unlink()
    else:
        newest.write_bytes(damage)
    with caplog.at_level(logging.INFO, "pipeline"):
        assert found(store()) == 1
    assert "resume.safetensors are not all whole" in caplog.text


def test_a_part_that_was_changed_is_not_gone_on_from(store: Callable[[], Store], tmp_path: Path) -> None:
    store().save(stepped(1), wait=True)
    (part,) = (tmp_path / "resume-parts").glob("*/0.safetensors")
    part.write_bytes(part.read_bytes()[:-1] + b"\x01")
    assert store().load(CPU) is None


def test_another_number_of_processes_does_not_go_on(store: Callable[[], Store], tmp_path: Path) -> None:
    """Nor does a training that holds the network whole, whose file would be another."""
    store().save(stepped(1), wait=True)
    with pytest.raises(
        InputError, match=r"begun on cpu, .*train.shard.*Go on there, or delete it to begin anew on cpu"
    ):
        store().load(Machine(CPU.device, CPU.precision, 2))
    with pytest.raises(InputError, match="Go on there, or delete it"):
        Store(tmp_path, {}, 0).load(CPU)
