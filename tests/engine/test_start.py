"""Training: what a model starts from, beside its weights."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline import folds, infer, prepare, train
from pipeline.combinations import DETECTED_WIDTH
from pipeline.competition.answers.task import Task
from pipeline.config import Config
from pipeline.engine import fit, machine, predict, run_model
from pipeline.engine.predictor import read_predictor
from pipeline.engine.start import spread
from pipeline.images.batches import Batches
from pipeline.model.checkpoint import Checkpoint, save_checkpoint, saved_normalisation
from running import CONFIG


def test_weights_of_this_pipeline_bring_their_normalisation(tmp_path: Path) -> None:
    path, task = tmp_path / "model.safetensors", Task("single", ("a",), "accuracy", ("label",))
    save_checkpoint(path, Checkpoint({"weight": torch.zeros(2)}, {}, task, ((0.25,), (0.5,)), "0", (1.0,), "", 8))
    assert saved_normalisation(path) == ((0.25,), (0.5,))
    assert saved_normalisation(tmp_path / "model.pth") is None


@pytest.mark.parametrize(
    ("values", "channels", "expected"),
    [
        ((0.1, 0.2, 0.3), 3, (0.1, 0.2, 0.3)),
        ((0.1, 0.2, 0.3), 1, (0.2,)),
        ((0.1, 0.2, 0.3), 4, (0.1, 0.2, 0.3, 0.2)),
        ((0.5,), 3, (0.5, 0.5, 0.5)),
    ],
)
def test_statistics_are_spread_over_the_images_channels(
    values: tuple[float, ...], channels: int, expected: tuple[float, ...]
) -> None:
    assert spread(values, channels) == pytest.approx(expected)


@pytest.mark.parametrize(("first_size", "expected"), [(1.0, "bfloat16"), (0.75, "bfloat16"), (0.5, "float32")])
def test_images_that_grow_are_judged_by_the_smallest_in_training_and_in_inference(
    competition: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, first_size: float, expected: str
) -> None:
    """From 17 px on this network steps over no map."""
    monkeypatch.setattr(machine, "find_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    settings = ("image.size=24", "model.name=test_resnet", "train.num_epochs=2", f"augment.first_size={first_size}")
    competition()
    options = ["--config", "configs/tiny.toml", "--set", *settings]
    assert prepare.main(options) == folds.main(options) == train.main([*options, "--fold", "0"]) == 0
    assert f'precision = "{expected}"' in Path("output/tiny/config.toml").read_text()
    assert read_predictor(Path("output/tiny/fold0/model.safetensors")).machine.precision == expected


@pytest.mark.parametrize(
    ("asked", "trains", "predicts"), [("auto", "float32", "bfloat16"), ("float32", *["float32"] * 2)]
)
def test_a_network_is_validated_in_what_it_predicts_in(
    competition: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, asked: str, trains: str, predicts: str
) -> None:
    monkeypatch.setattr(machine, "find_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(machine, "cpu_vendor", lambda: "amd")
    seen: list[tuple[str, torch.dtype]] = []

    def watched(model: torch.nn.Module, batches: Batches, mode: str, where: machine.Machine, *rest: Any) -> None:
        seen.append((mode, batches.dtype))
        assert where.dtype == batches.dtype
        run_model.run_model(model, batches, mode, where, *rest)

    monkeypatch.setattr(fit, "run_model", watched)
    monkeypatch.setattr(predict, "run_model", watched)
    competition()
    depthwise = ["model.name=test_mambaout", "image.size=24", "train.num_epochs=1", f"train.precision={asked}"]
    options = ["--config", "configs/tiny.toml", "--set", *depthwise]
    assert prepare.main(options) == folds.main(options) == train.main([*options, "--fold", "0"]) == 0
    assert infer.main([*options, "--fold", "0"]) == 0
    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    assert seen == [("train", dtypes[trains]), ("valid", dtypes[predicts]), ("test", dtypes[predicts])]


def test_bfloat16_is_refused_where_images_are_too_small_for_it(
    competition: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine, "find_device", lambda: torch.device("cpu"))
    competition()
    options = ["--config", "configs/tiny.toml", "--set", "model.name=test_resnet", "train.precision=bfloat16"]
    assert prepare.main(options) == folds.main(options) == 0
    assert train.main(options) == 2
    assert "train.precision must be auto or float32 without a GPU" in capsys.readouterr().err


def test_images_that_grow_are_of_sizes_that_the_network_takes(
    competition: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    """Of 32, 40, 48, 56 and 64 px it takes the first and the last."""
    competition(num_train=9)
    settings = ["model.name=dla46_c", "image.size=64", "augment.first_size=0.5", "augment.full_size_from=0.8"]
    options = [*CONFIG, "--set", *settings, "train.num_epochs=5", "train.batch_size=4"]
    assert prepare.main(options) == folds.main(options) == 0
    assert train.main([*options, "--fold", "0"]) == 0
    said = capsys.readouterr().out
    assert "dla46_c does not take every size; its images grow by 32, 63, 64 px" in said
    assert "epoch 5/5" in said


def test_a_network_of_one_size_is_refused_before_it_is_trained(
    competition: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    competition(num_train=9)
    options = [*CONFIG, "--set", "augment.first_size=0.5"]
    assert prepare.main(options) == folds.main(options) == 0
    assert train.main([*options, "--fold", "0"]) == 2
    assert "augment.first_size must be 1 for mlp: it takes no images of 6 to 11 px" in capsys.readouterr().err


def test_what_changes_nothing_in_the_network_is_said_once(
    competition: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    competition(num_train=9)
    options = [*CONFIG, "--set", "train.num_epochs=1", "train.freeze_norms=true", f"model.width={DETECTED_WIDTH}"]
    options.append("train.shard=true")
    assert prepare.main(options) == folds.main(options) == train.main(options) == 0
    said = capsys.readouterr().out
    assert said.count("warning: train.freeze_norms = true changes nothing: mlp has no batch norms") == 1
    assert said.count("warning: model.width = 32 changes nothing: mlp has no width") == 1
    assert said.count("warning: train.shard = true changes nothing: one process trains the network") == 1
    other = [*CONFIG, "--set", "train.num_epochs=1", "train.freeze_norms=true", "model.name=resnet9", "model.width=4"]
    shutil.rmtree("output/tiny/fold0")
    assert train.main([*other, "--fold", "0"]) == 0
    assert "changes nothing" not in capsys.readouterr().out
