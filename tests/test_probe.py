"""The probe: a first submission, a classifier to start from, a share in the last; killed from there on there is one."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch

from making import TOML, write_table
from pipeline import ensemble, folds, infer, prepare, probe, train
from pipeline.__main__ import main
from pipeline.competition.answers.predictions import read_predictions
from pipeline.competition.folds.fold_table import read_labelled
from pipeline.config import Config
from pipeline.config_file import load
from pipeline.engine import planning
from pipeline.engine.heads import read_head
from pipeline.engine.limit import Pace
from pipeline.files import read_json
from pipeline.paths import head_path
from played_hub import PlayedHub
from running import CONFIG, KINDS, RUN

PROBED = TOML.replace('name = "mlp"', 'name = "test_resnet"\nweights = "w.pth"').replace("size = 12", "size = 32")
SUBMISSION, SAFE = RUN / "submission.csv", ".safetensors"
STAGES = ("prepare", "folds", "probe", "train", "infer", "ensemble")


@pytest.fixture
def probed(competition: Callable[..., Config]) -> Callable[..., Config]:
    """A function that writes the tiny competition, and weights for the network of its config."""

    def make(*overrides: str) -> Config:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            torch.save(timm.create_model("test_resnet").state_dict(), "w.pth")
        return competition(*overrides, toml=PROBED)

    return make


def run(*stages: str, settings: tuple[str, ...] = ()) -> int:
    return main([*stages, *CONFIG, *(["--set", *settings] if settings else [])])


def scores() -> dict[str, Any]:
    return dict(read_json(RUN / "scores.json"))


def test_a_submission_of_the_probe_alone(probed: Callable[..., Config], capsys: pytest.CaptureFixture[str]) -> None:
    cfg = probed()
    assert run("prepare", "folds", "probe", "ensemble") == 0
    said = capsys.readouterr().out
    assert "probe: test_resnet at 32 px, 24 train and 8 test images" in said
    assert "0 of 2 models are ready" in said and "the submission is the probe's, a classifier on the frozen" in said
    assert SUBMISSION.is_file()
    labelled = read_labelled(cfg)
    oof = read_predictions(RUN / "probe" / "oof.parquet", "")
    right = oof.aligned(labelled.samples.ids, "", "").array.argmax(1) == labelled.targets
    assert scores()["cv"] == pytest.approx(right.mean()) and scores()["probe"] == {
        "cv": {"probe": scores()["cv"]},
        "share": 1.0,
    }
    test = read_predictions(RUN / "probe" / "test.parquet", "").probs.array
    np.testing.assert_array_equal(read_predictions(RUN / "test.parquet", "").probs.array, test)
    before = SUBMISSION.read_bytes()
    assert run("probe", "ensemble") == 0
    assert "probe: up to date" in capsys.readouterr().out and SUBMISSION.read_bytes() == before


def test_the_end_of_a_run_of_the_probe_alone_says_to_train(
    probed: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    probed()
    assert run("prepare", "folds", "probe", "ensemble", "report") == 0
    *_, submission, following, report = capsys.readouterr().out.splitlines()
    assert submission == "submission: output/tiny/submission.csv" and report == "report: output/tiny/report.html"
    assert following.startswith("next: train networks: ")
    assert following.endswith("python -m pipeline train infer ensemble report --config configs/tiny.toml")


def test_there_is_a_submission_before_the_first_training_and_after_each(
    probed: Callable[..., Config], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    probed()
    models: list[list[str]] = []
    original = ensemble.write_stamp

    def seen(path: Path, *rest: Any, **notes: Any) -> None:
        models.append(scores()["models"])
        original(path, *rest, **notes)

    monkeypatch.setattr(ensemble, "write_stamp", seen)
    assert run(*STAGES) == 0
    assert models == [[], ["0"], ["0", "1"]]
    said = capsys.readouterr().out
    assert said.index("the submission is the probe's") < said.index("train 0 epoch 1/2")
    assert said.index("1 of 2 models are ready") < said.index("train 1 epoch 1/2")
    assert "(accuracy on the folds that are ready: both " in said
    before = SUBMISSION.read_bytes()
    assert run(*STAGES) == 0
    said = capsys.readouterr().out
    assert "probe: up to date" in said and said.count("CV accuracy") == 1 and len(models) == 3
    shutil.rmtree(RUN / "fold1")
    assert run(*STAGES) == 0
    assert len(models) == 3 and SUBMISSION.read_bytes() == before


def test_a_call_that_training_refuses_leaves_the_submission(
    probed: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    probed()
    assert run(*STAGES) == 0
    before = SUBMISSION.read_bytes()
    assert run(*STAGES, settings=("train.lr=0.02",)) == 1
    assert "was trained with other settings" in capsys.readouterr().err
    assert SUBMISSION.read_bytes() == before


def test_what_stops_the_training_leaves_the_submission(
    probed: Callable[..., Config], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    probed()
    monkeypatch.setattr(train, "train_all", lambda cfg, fold: (_ for _ in ()).throw(KeyboardInterrupt))
    assert run(*STAGES) == 130
    assert SUBMISSION.is_file() and scores()["models"] == []


def test_the_blend_is_that_of_the_tables(probed: Callable[..., Config]) -> None:
    """Share, CV and test predictions, by hand from the tables of the probe and the folds."""
    cfg = probed("train.num_epochs=1", "train.lr=0.0001")
    assert run(*STAGES, settings=cfg.overrides) == 0
    share, labelled = scores()["probe"]["share"], read_labelled(cfg)
    ids = [f"{number:03d}" for number in range(8)]
    paths = [RUN / "fold0", RUN / "fold1", RUN / "probe"]
    first, second, probed_ = (read_predictions(path / "test.parquet", "").probs.array for path in paths)
    wanted = (1 - share) * (first + second) / 2 + share * probed_
    np.testing.assert_allclose(read_predictions(RUN / "test.parquet", "").probs.array, wanted, rtol=1e-5, atol=1e-7)
    assert len(ids) == len(wanted)
    assert scores()["probe"]["cv"].keys() == {"both", "networks", "probe"}
    oof = read_predictions(RUN / "oof.parquet", "").aligned(labelled.samples.ids, "", "").array
    assert scores()["cv"] == pytest.approx((oof.argmax(1) == labelled.targets).mean())
    assert scores()["cv"] == max(scores()["probe"]["cv"].values())


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_kind_of_labels(probed: Callable[..., Config], kind: str) -> None:
    column, values, settings = KINDS[kind]
    cfg = probed()
    rows = [[f"{number:03d}", values[number % 3]] for number in range(24)]
    write_table(cfg.root / "train.csv", ["id", column], rows)
    answers = [[f"{number:03d}", values[0]] for number in range(8)]
    write_table(cfg.root / "sample_submission.csv", ["id", column], answers)
    (cfg.root / "answers.csv").unlink(missing_ok=True)
    options = tuple(settings) if kind == "multi" else (*settings, f'data.labels=["{column}"]')
    assert run(*STAGES, settings=tuple(dict.fromkeys((*options, "train.head=probe")))) == 0
    assert scores()["probe"]["cv"]["probe"] is not None and SUBMISSION.is_file()


def test_training_starts_from_the_classifier(probed: Callable[..., Config]) -> None:
    """With a rate of next to nothing the network says of its fold what the probe said."""
    cfg = probed("train.head=probe", "train.lr=1e-12", "train.num_epochs=1", "train.freeze_norms=true")
    assert run(*STAGES, settings=cfg.overrides) == 0
    labelled = read_labelled(cfg)
    _, held_out = labelled.split(0)
    network = read_predictions(RUN / "fold0" / "oof.parquet", "").aligned(labelled.ids(held_out), "", "").array
    probe_said = read_predictions(RUN / "probe" / "oof.parquet", "").aligned(labelled.samples.ids, "", "").array
    np.testing.assert_allclose(network, probe_said[held_out], atol=2e-3)
    head = read_head(head_path(cfg, 0))
    assert head.fitted.linear.weight.shape[0] == 3 and len(head.normalisation[0]) == 3


def files_of_probe() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (RUN / "probe").iterdir() if path.suffix in (".parquet", SAFE)}


def test_a_plan_of_smaller_images_leaves_the_probe_its_size(
    probed: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """To the byte; trainings start from a classifier of features of their own size: that of a run of this size."""
    settings = ("train.head=probe", "train.lr=1e-12", "train.freeze_norms=true")
    limited = (*settings, "train.time_limit=100s")
    cfg = probed()
    assert run("prepare", "folds", "probe", settings=settings) == 0
    full = files_of_probe()
    shutil.rmtree(RUN)
    monkeypatch.setattr(planning, "elapsed", lambda: 0.0)
    pace = Pace(0.0, 6.0, 6.0, 0.0, 0.0, 0.0)
    monkeypatch.setattr(planning, "measure", lambda cfg, *_: pace.of_pixels((cfg.image.size / 32) ** 2))
    assert run(*STAGES, settings=limited) == 0
    said = capsys.readouterr().out
    assert "plan: 2 epochs, as asked for, images of 16 px instead of 32" in said
    assert "probe: test_resnet at 32 px, 24 train and 8 test images" in said
    assert said.count("train: the classifiers to start from are fitted on images of 16 px") == 1
    assert files_of_probe() == full
    assert scores()["probe"]["cv"]["probe"] is not None
    assert run(*STAGES, settings=limited) == 0
    said = capsys.readouterr().out
    assert "probe: up to date" in said and "train 1: up to date" in said and "are fitted" not in said
    models = [(RUN / f"fold{fold}" / "model.safetensors").read_bytes() for fold in (0, 1)]
    held_out = read_predictions(RUN / "fold0" / "oof.parquet", "")

    # The same without a clock, at that size throughout.
    shutil.copy("configs/tiny.toml", "configs/small.toml")
    size = ("image.size=16", "image.margin=2.0")
    assert load(RUN / "config.toml").image == load(Path("configs/small.toml"), size).image
    assert main([*STAGES, "--config", "configs/small.toml", "--set", *settings, *size]) == 0
    small = RUN.parent / "small"
    assert [(small / f"fold{fold}" / "model.safetensors").read_bytes() for fold in (0, 1)] == models
    ids = read_labelled(cfg).samples.ids
    of_probes = [read_predictions(folder / "probe" / "oof.parquet", "") for folder in (small, RUN)]
    places = [ids.index(id_) for id_ in held_out.ids]
    smaller, larger = (oof.aligned(ids, "", "").array[places] for oof in of_probes)
    np.testing.assert_allclose(held_out.probs.array, smaller, atol=2e-3)
    assert np.abs(smaller - larger).max() > 0.01


def test_a_training_that_starts_from_the_probe_needs_one(
    probed: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    probed()
    options = ["--set", "train.head=probe"]
    assert prepare.main(CONFIG) == folds.main(CONFIG) == 0
    assert train.main([*CONFIG, *options, "--fold", "0"]) == 1
    assert "the probe must be current. Got: not made yet. Run: python -m pipeline.probe" in capsys.readouterr().err
    assert train.main([*CONFIG, *options, "probe.enabled=false", "--fold", "0"]) == 2
    assert "train.head = 'probe' needs a probe: a network that starts from" in capsys.readouterr().err
    assert probe.main([*CONFIG, *options]) == 0
    assert train.main([*CONFIG, *options, "--fold", "0"]) == 0
    (RUN / "probe" / "fold1.safetensors").unlink()
    assert train.main([*CONFIG, *options, "--fold", "1"]) == 1
    assert "fold1.safetensors is missing" in capsys.readouterr().err


def test_what_training_would_refuse_is_refused_before_the_probe(
    probed: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the settings alone, the labels or the network say it."""
    cfg = probed()
    assert run("prepare", "folds") == 0
    refused = {
        "train.batch_size=1": "train.batch_size must be 2 or more for this network, whose batch norm",
        "train.loss=bce": "'train.loss' must be one of auto, cross_entropy",
        "train.optimizer=adamm": "train.optimizer",
        "train.head=probe model.weights=": "train.head = 'probe' needs a network that starts from published weights",
        "train.head=probe probe.enabled=false": "train.head = 'probe' needs a probe",
    }
    for settings, message in refused.items():
        assert run("probe", settings=tuple(settings.split())) == 2, settings
        assert message in capsys.readouterr().err
    column, values, numbers = KINDS["number"]
    write_table(cfg.root / "train.csv", ["id", column], [[f"{n:03d}", values[n % 3]] for n in range(24)])
    write_table(cfg.root / "sample_submission.csv", ["id", column], [[f"{n:03d}", values[0]] for n in range(8)])
    assert run("prepare", "folds", "probe", settings=(*numbers, "train.class_weights=balanced", "data.answers=")) == 2
    assert "'train.class_weights' must be \"none\" where numbers are predicted" in capsys.readouterr().err
    assert not list((RUN / "probe").glob(f"*{SAFE}")) and not list(Path("output/cache").glob("*-features-*"))


def make_weights(seed: int, path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.save(timm.create_model("test_resnet").state_dict(), path)


@pytest.mark.parametrize("settings", [("model.weights=input/weights",), ("model.pretrained=true", "model.weights=")])
def test_other_weights_of_the_same_name_make_probe_and_models_again(
    probed: Callable[..., Config],
    nowhere: PlayedHub,
    capsys: pytest.CaptureFixture[str],
    settings: tuple[str, ...],
) -> None:
    """But not what else lies beside them, and none are needed once all is made."""
    options = (*settings, "train.head=probe", "train.num_epochs=1")
    probed()
    file = Path("input/weights/test_resnet.pth")
    file.parent.mkdir()
    make_weights(0, file)
    assert run(*STAGES, settings=options) == 0
    said = capsys.readouterr().out
    assert said.count("of test_resnet") == 1 and said.count(f"{file}: ") <= 1, "for all models once"
    assert "ensemble: 0 of 2 models are ready so far" in said and "run it again" not in said
    for stamp in ("probe/probe.json", "fold0/train.json"):
        assert read_json(RUN / stamp)["made_from"]["weights"] == hashlib.sha256(file.read_bytes()).hexdigest()
    for name in ("resnet18.pth", "notes.txt"):
        file.with_name(name).write_bytes(b"something else")
    assert run("probe", "train", settings=options) == 0
    file.unlink()
    assert run("probe", "train", settings=options) == 0
    said = capsys.readouterr().out
    assert said.count("probe: up to date") == said.count("train 0: up to date") == 2

    make_weights(1, file)
    shutil.rmtree(RUN / "fold1")
    assert train.main([*CONFIG, "--set", *options, "--fold", "1"]) == 1
    assert "the probe must be current. Got: changed: weights. Run: python -m" in capsys.readouterr().err
    assert run("probe", settings=options) == 0 and "probe: test_resnet at" in capsys.readouterr().out
    assert train.main([*CONFIG, "--set", *options, "--fold", "0"]) == 1
    assert "trained with other settings or data; changed: weights." in capsys.readouterr().err
    assert train.main([*CONFIG, "--set", *options, "--fold", "1"]) == 0


def test_weights_that_were_fetched_are_those_of_the_stamps(probed: Callable[..., Config], nowhere: PlayedHub) -> None:
    options = ("model.pretrained=true", "model.weights=", "train.num_epochs=1", "probe.enabled=false")
    probed()
    make_weights(0, Path("on_the_hub.bin"))
    nowhere.files["timm/test_resnet.r160_in1k", "pytorch_model.bin"] = Path("on_the_hub.bin").absolute()
    assert run(*STAGES, settings=options) == 0
    sha256 = hashlib.sha256(Path("on_the_hub.bin").read_bytes()).hexdigest()
    assert read_json(RUN / "fold0" / "train.json")["made_from"]["weights"] == sha256
    assert run("train", "infer", settings=options) == 0


def test_stamps_of_before_do_not_say_the_weights(probed: Callable[..., Config]) -> None:
    """And ask for nothing to be made again."""
    options = ("model.weights=w", "train.num_epochs=1")
    probed()
    Path("w").mkdir()
    make_weights(0, Path("w/test_resnet.pth"))
    assert run(*STAGES, settings=options) == 0
    for stamp in (RUN / "probe" / "probe.json", RUN / "fold0" / "train.json", RUN / "fold1" / "train.json"):
        written = read_json(stamp)
        del written["made_from"]["weights"]
        stamp.write_text(json.dumps(written))
    before = (RUN / "probe" / "probe.json").read_bytes()
    assert run("probe", "train", "infer", settings=options) == 0
    assert (RUN / "probe" / "probe.json").read_bytes() == before


def test_a_run_without_a_probe_says_why(probed: Callable[..., Config], capsys: pytest.CaptureFixture[str]) -> None:
    probed()
    assert probe.main([*CONFIG, "--set", "model.weights="]) == 0
    assert "probe: none, as the network starts at random" in capsys.readouterr().out
    assert probe.main([*CONFIG, "--set", "probe.enabled=false"]) == 0
    assert "probe: none, as probe.enabled is false" in capsys.readouterr().out
    assert not (RUN / "probe").exists()


def test_elsewhere_the_probe_predicts_other_test_images(
    probed: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    """Without train images, by the classifiers that are there; its share is what was measured where these were."""
    cfg = probed()
    assert run(*STAGES) == 0
    first, share = SUBMISSION.read_bytes(), scores()["probe"]["share"]
    heads = {fold: head_path(cfg, fold).read_bytes() for fold in (0, 1)}
    shutil.rmtree(cfg.root / "train")
    for name in ("train.csv", "answers.csv"):
        (cfg.root / name).unlink()
    for name in ("000", "001"):
        shutil.copy(cfg.root / "test" / "007.png", cfg.root / "test" / f"{name}.png")
    assert run(*STAGES) == 0
    said = capsys.readouterr().out
    assert "probe: test_resnet at 32 px, 8 test images" in said
    assert {fold: head_path(cfg, fold).read_bytes() for fold in heads} == heads
    assert read_json(RUN / "scores_elsewhere.json")["probe"]["share"] == share
    probs = read_predictions(RUN / "probe" / "test.parquet", "").probs.array
    np.testing.assert_allclose(probs[0], probs[7], rtol=1e-4)
    assert SUBMISSION.read_bytes() != first


def test_elsewhere_other_weights_are_not_taken_for_the_probe_s(
    probed: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = probed()
    assert run(*STAGES) == 0
    shutil.rmtree(cfg.root / "train")
    for name in ("train.csv", "answers.csv"):
        (cfg.root / name).unlink()
    shutil.copy(cfg.root / "test" / "007.png", cfg.root / "test" / "000.png")
    torch.default_generator.manual_seed(7)
    torch.save(timm.create_model("test_resnet").state_dict(), "w.pth")
    stamp = (RUN / "probe" / "probe.json").read_bytes()
    assert run("prepare", "probe") == 0
    assert "left out, as its classifiers are of other weights or settings" in capsys.readouterr().out
    assert (RUN / "probe" / "probe.json").read_bytes() == stamp


def test_elsewhere_trained_models_need_no_published_weights(
    probed: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    """The probe does: it is left out, which is said."""
    cfg = probed("model.pretrained=true", "model.weights=")
    weights = Path("input/weights/test_resnet.pth")
    weights.parent.mkdir()
    Path("w.pth").rename(weights)
    assert run(*STAGES, settings=cfg.overrides) == 0 and scores()["probe"]["share"] > 0
    shutil.rmtree(cfg.root / "train")
    for path in (cfg.root / "train.csv", cfg.root / "answers.csv", weights):
        path.unlink()
    shutil.copy(cfg.root / "test" / "007.png", cfg.root / "test" / "000.png")
    capsys.readouterr()
    assert run(*STAGES, settings=cfg.overrides) == 0
    said = capsys.readouterr().out
    assert "probe: left out, as its network is not here" in said and "CV accuracy: none" in said
    assert "the CV score was measured with the probe, which is not here" in said
    assert "probe" not in read_json(RUN / "scores_elsewhere.json")


def test_a_stop_between_two_submissions_leaves_the_first(
    probed: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    """But not where it is of other settings, nor where the new one would be refused."""
    probed()
    assert run("prepare", "folds", "probe", "ensemble") == 0
    first = SUBMISSION.read_bytes()
    for stage in (train, infer):
        assert stage.main([*CONFIG, "--fold", "0"]) == 0

    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.competition.answers.submission.fill", stopped)
        assert ensemble.main(CONFIG) == 130 and SUBMISSION.read_bytes() == first
        assert ensemble.main([*CONFIG, "--set", "data.sample_submission=answers.csv"]) == 130
        assert not SUBMISSION.is_file()
    assert ensemble.main(CONFIG) == 0 and SUBMISSION.is_file()
    assert train.main([*CONFIG, "--fold", "1"]) == infer.main([*CONFIG, "--fold", "1"]) == 0
    monkeypatch.setattr("pipeline.competition.answers.submission.check", lambda *_: ["it is odd"])
    assert ensemble.main(CONFIG) == 1 and not SUBMISSION.is_file()


def test_a_model_of_all_images_comes_before_the_probe(probed: Callable[..., Config]) -> None:
    """Where no fold measures either: its predictions alone, and no score that would be the probe's."""
    probed()
    full = ("folds.full_fit=true",)
    assert run("prepare", "folds", "probe", settings=full) == 0
    for stage in (train, infer):
        assert stage.main([*CONFIG, "--set", *full, "--fold", "full"]) == 0
    assert run("ensemble", settings=full) == 0
    assert scores()["probe"]["share"] == 0.0 and scores()["cv"] is None
    made = read_predictions(RUN / "test.parquet", "").probs.array
    np.testing.assert_array_equal(made, read_predictions(RUN / "full" / "test.parquet", "").probs.array)


def test_images_of_which_none_can_be_read_get_the_prior(probed: Callable[..., Config]) -> None:
    cfg = probed()
    for path in (cfg.root / "test").iterdir():
        path.write_bytes(b"no image")
    assert run("prepare", "folds", "probe", "ensemble", settings=("data.bad_images=drop",)) == 0
    np.testing.assert_allclose(read_predictions(RUN / "test.parquet", "").probs.array, 1 / 3, atol=1e-6)


def test_other_predictions_of_the_probe_ask_for_another_submission(probed: Callable[..., Config]) -> None:
    probed()
    assert run("prepare", "folds", "probe", "ensemble") == 0
    made = json.loads((RUN / "ensemble.json").read_text())["made_from"]["probe"]
    assert set(made) == {"oof.parquet", "test.parquet", "alike.csv"}
    assert run("probe", "ensemble", settings=("augment.hflip=0.5",)) == 0
    assert json.loads((RUN / "ensemble.json").read_text())["made_from"]["probe"] != made


def test_without_folds_the_network_replaces_the_probe(probed: Callable[..., Config]) -> None:
    settings = ("folds.num_folds=0", "folds.full_fit=true", "train.num_epochs=1")
    probed()
    assert run("prepare", "folds", "probe", "ensemble", settings=settings) == 0
    assert scores()["cv"] is None and scores()["probe"]["share"] == 1.0
    assert run(*STAGES, settings=settings) == 0
    assert scores()["probe"]["share"] == 0.0 and infer.main([*CONFIG, "--set", *settings]) == 0
