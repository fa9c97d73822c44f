"""Inference where there are models, test images and the sample only; on other test images; from a folder to read."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from making import picture, write_table
from pipeline import train
from pipeline.__main__ import main
from pipeline.config import Config
from pipeline.images.cache import open_images
from running import CONFIG, RUN, run_all, run_sh


def bring(*names: str) -> None:
    """Go to another machine: of the run only these files, of the competition only test images and sample."""
    kept = {name: (RUN / name).read_bytes() for name in names}
    for name in ("output", "folds"):
        shutil.rmtree(name)
        Path(name).mkdir()
    for name, content in kept.items():
        (RUN / name).parent.mkdir(parents=True, exist_ok=True)
        (RUN / name).write_bytes(content)
    shutil.rmtree("input/tiny/train")
    for name in ("train.csv", "answers.csv"):
        Path("input/tiny", name).unlink()


MODELS = [f"fold{k}/{name}" for k in (0, 1) for name in ("model.safetensors", "train.json")]


def test_models_test_images_and_the_sample_are_enough(trained: Config, capsys: pytest.CaptureFixture[str]) -> None:
    submission = (RUN / "submission.csv").read_bytes()
    bring(*MODELS)
    capsys.readouterr()
    assert run_sh() == 0
    said = capsys.readouterr().out
    assert "test images alone are prepared" in said and "folds: none are needed" in said
    assert "train 0: up to date" in said and "CV accuracy: none, there are no train images" in said
    assert (RUN / "submission.csv").read_bytes() == submission
    assert run_sh() == 0 and "infer 0: up to date" in capsys.readouterr().out
    assert run_sh("train.lr=0.5") == 1
    assert "changed: train.lr (0.01 -> 0.5)" in capsys.readouterr().err
    assert run_sh("folds.full_fit=true") == 0
    said = capsys.readouterr().out
    assert "train full: there is no such model, and there are no images" in said and "2 of 3 models are ready" in said
    assert train.main([*CONFIG, "--fold", "full", "--set", "folds.full_fit=true"]) == 1
    assert "the train images must be under input/tiny to train fold full" in capsys.readouterr().err


def test_the_range_of_grey_values_goes_with_the_models(
    competition: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    """Test images that are darker than all train images are scaled as these are, here and elsewhere."""
    cfg = competition("image.channels=1")
    for path in sorted(cfg.root.glob("*/*.png")):
        deep = picture(int(path.stem) % 3, int(path.stem))[:, :, 0].astype(np.uint16) * 10 + 1000
        Image.fromarray(deep - 500 * (path.parent.name == "test")).save(path)
    assert run_sh("image.channels=1") == 0
    assert "the train images use 1,000 to 3,390, which become 0 to 255" in capsys.readouterr().out
    submission = (RUN / "submission.csv").read_bytes()
    test = open_images(cfg, "test", ["test/000.png"]).gather(np.array([0]))[0, :, :, 0]
    values = picture(0, 0)[:, :, 0] * 10.0 + 500
    assert np.abs(test - (values - 1000).clip(0) * 255 / 2390).max() <= 0.5
    bring(*MODELS)
    assert run_sh("image.channels=1") == 0
    assert "1,000 to 3,390" in capsys.readouterr().out and (RUN / "submission.csv").read_bytes() == submission
    note = json.loads((RUN / "prepare.json").read_text())
    assert note["notes"]["grey"] == {"low": 1000, "high": 3390}


def test_a_finished_run_is_brought_along_and_taken_home_again(
    trained: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    """The scores have another name where the train images are not; a submission of one place is none of the other."""
    submission = (RUN / "submission.csv").read_bytes()
    competition = {path: path.read_bytes() for path in Path("input/tiny").rglob("*") if path.is_file()}
    tables = {path: path.read_bytes() for path in Path("folds").iterdir()}
    bring(*(str(path.relative_to(RUN)) for path in RUN.rglob("*") if path.is_file()))
    for path, content in tables.items():
        path.write_bytes(content)
    assert run_sh() == 0
    assert (RUN / "scores_elsewhere.json").is_file() and (RUN / "submission.csv").read_bytes() == submission
    for path, content in competition.items():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    capsys.readouterr()
    assert run_sh() == 0 and "CV accuracy: " in capsys.readouterr().out
    assert (RUN / "scores.json").is_file() and (RUN / "submission.csv").read_bytes() == submission


def test_models_are_told_apart(trained: Config, capsys: pytest.CaptureFixture[str]) -> None:
    bring(*MODELS, "scores.json")
    shutil.rmtree(RUN / "fold1")
    shutil.copytree(RUN / "fold0", RUN / "fold1")
    capsys.readouterr()
    assert run_sh() == 1 and 'changed: part ("0" -> "1")' in capsys.readouterr().err
    shutil.rmtree(RUN / "fold1")
    scores = (RUN / "scores.json").read_bytes()
    assert run_sh() == 0
    said = capsys.readouterr().out
    assert re.search(r"CV accuracy: \d", said) and "1 of 2 models are ready" in said, "some of the models are enough"
    assert (RUN / "scores.json").read_bytes() == scores, "what was measured is not lost"
    (RUN / "scores.json").write_bytes(scores.replace(b'"0": "', b'"0": "0'))
    (RUN / "ensemble.json").unlink()
    assert run_sh() == 0
    assert "there is no CV score, and labels are decided plainly" in capsys.readouterr().out, "of other models"
    (RUN / "scores.json").write_bytes(scores)
    assert run_sh("task.metric=rmse") == 2 and "scores number labels" in capsys.readouterr().err
    assert run_sh("infer.views=['hflip']") == 0 and "CV accuracy: none" in capsys.readouterr().out


@pytest.mark.parametrize("full_fit", [True, False])
def test_what_was_measured_decides_elsewhere_too(
    competition: Callable[..., Config], capsys: pytest.CaptureFixture[str], full_fit: bool
) -> None:
    """Without the model of all images too, on which no threshold was found."""
    competition()
    settings = ["task.metric=quadratic_kappa", 'task.order=["ant", "bee", "cow"]']
    settings += ["folds.full_fit=true"] if full_fit else []
    assert run_all(*settings) == 0
    submission, scores = (RUN / "submission.csv").read_bytes(), (RUN / "scores.json").read_bytes()
    said = capsys.readouterr().out
    cv = next(line for line in said.splitlines() if line.startswith("CV "))
    bring(*MODELS, "scores.json")
    assert run_sh(*settings) == 0
    assert cv in capsys.readouterr().out
    assert (RUN / "scores.json").read_bytes() == scores
    assert json.loads((RUN / "scores_elsewhere.json").read_text())["decision"] == json.loads(scores)["decision"]
    assert full_fit or (RUN / "submission.csv").read_bytes() == submission


def test_train_images_that_come_back_are_no_reason_to_train(
    trained: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    """But one to predict them: not with the model of all images, which has seen each of them."""
    full = "folds.full_fit=true"
    assert run_all(full) == 0
    models = [*MODELS, "full/model.safetensors", "full/train.json"]
    before = {name: (RUN / name).read_bytes() for name in (*models, "oof.parquet", "submission.csv", "scores.json")}
    shutil.copytree("input", "kept")
    bring(*models)
    assert run_sh(full) == 0
    shutil.rmtree("input")
    shutil.move("kept", "input")
    capsys.readouterr()
    assert main(["prepare", "folds", "ensemble", *CONFIG, "--set", full]) == 0
    left_out = "predictions of fold 1 are left out, they are not current; made without the train images, which are here"
    assert left_out in capsys.readouterr().out
    assert run_sh(full) == 0
    said = capsys.readouterr().out
    assert "train 1: up to date" in said and re.search(r"CV accuracy: \d", said)
    assert "infer 1: 8 test images, 12 oof" in said and "infer full: up to date" in said
    assert {name: (RUN / name).read_bytes() for name in before} == before


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_replaced_test_set(trained: Config, capsys: pytest.CaptureFixture[str], elsewhere: bool) -> None:
    if elsewhere:
        bring(*MODELS)
    shutil.rmtree(trained.root / "test")
    (trained.root / "test").mkdir()
    ids = [f"hidden_{number}" for number in range(5)]
    for number, id_ in enumerate(ids):
        Image.fromarray(picture(number % 3, 5000 + number)).save(trained.root / "test" / f"{id_}.png")
    write_table(trained.root / "sample_submission.csv", ["id", "label"], [[id_, "ant"] for id_ in ids])
    (trained.root / "answers.csv").unlink(missing_ok=True)
    before = [(RUN / name).read_bytes() for name in MODELS]
    capsys.readouterr()
    assert run_sh() == 0
    lines = (RUN / "submission.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["id", *ids]
    assert [(RUN / name).read_bytes() for name in MODELS] == before
    assert "train 0: up to date" in capsys.readouterr().out


def test_nothing_is_written_under_input(competition: Callable[..., Config]) -> None:
    cfg = competition()

    def state() -> dict[str, int]:
        return {str(path): path.stat().st_mtime_ns for path in [cfg.root, *cfg.root.rglob("*")]}

    before = state()
    subprocess.run(["chmod", "-R", "a-w", "input"], check=True)
    try:
        assert run_sh() == 0
        assert state() == before
    finally:
        subprocess.run(["chmod", "-R", "u+w", "input"], check=True)


def test_without_models_missing_train_images_are_an_error(
    competition: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    competition()
    shutil.rmtree("input/tiny/train")
    assert run_sh() == 1
    assert "data.image = 'train/{id}.png': 24 images are missing" in capsys.readouterr().err.replace("jpg", "png")


def test_a_changed_train_image_is_named_with_the_models_that_saw_it(
    trained: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    path = trained.root / "train" / "003.png"
    os.utime(path)
    assert run_sh() == 0 and "changed" not in capsys.readouterr().out
    Image.fromarray(picture(1, 777)).save(path)
    assert train.main(CONFIG) == 1 and "Run: python -m pipeline.prepare" in capsys.readouterr().err
    assert run_sh() == 1
    said = capsys.readouterr()
    assert "prepare: 1 train images have changed (train/003.png); models that saw the old ones: 0, 1" in said.out
    assert "trained with other settings or data; changed: train images" in said.err
