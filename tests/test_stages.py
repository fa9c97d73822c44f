"""The whole way on a tiny competition: what each stage writes, refuses, skips and makes anew."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from making import picture, read_table, write_table
from pipeline import ensemble, folds, infer, prepare, train
from pipeline.competition.answers.predictions import read_predictions
from pipeline.config import Config
from pipeline.config_file import load
from pipeline.files import InputError
from pipeline.freshness import ensembled_from, inferred_from, read_inputs, trained_from
from running import CONFIG, KINDS, RUN, run_all


def products() -> dict[str, bytes]:
    names = [
        "submission.csv",
        "scores.json",
        "test.parquet",
        "oof.parquet",
        "fold0/model.safetensors",
        "fold1/history.csv",
    ]
    return {name: (RUN / name).read_bytes() for name in names}


def test_from_images_to_submission(competition: Callable[..., Config], capsys: pytest.CaptureFixture[str]) -> None:
    competition("train.num_epochs=6")
    assert run_all("train.num_epochs=8") == 0
    said = capsys.readouterr().out
    assert "CV accuracy: " in said and "score on the hidden answers: " in said
    assert "submission: output/tiny/submission.csv" in said
    rows = list(csv.reader((RUN / "submission.csv").read_text().splitlines()))
    assert rows[0] == ["id", "label"] and [row[0] for row in rows[1:]] == [f"{n:03d}" for n in range(8)]
    scores = json.loads((RUN / "scores.json").read_text())
    assert scores["cv"] > 0.9, "corners are easy to see"
    assert list(scores["folds"]) == ["0", "1"]
    oof = read_predictions(RUN / "oof.parquet", "")
    assert sorted(oof.ids) == [f"{n:03d}" for n in range(24)]
    test = [read_predictions(RUN / f"fold{k}" / "test.parquet", "").probs.array for k in (0, 1)]
    assert np.allclose(read_predictions(RUN / "test.parquet", "").probs.array, np.mean(test, 0), atol=1e-6)
    history = list(csv.DictReader((RUN / "fold0" / "history.csv").read_text().splitlines()))
    assert [row["epoch"] for row in history] == [str(n) for n in range(1, 9)]
    assert float(history[-1]["valid_score"]) == scores["folds"]["0"], "what validates is what predicts"
    assert load(RUN / "config.toml").task.kind == "single"
    audit = list(csv.DictReader((RUN / "audit.csv").read_text().splitlines()))
    assert len(audit) == 32 and audit[0]["format"] == "PNG" and audit[0]["width"] == "12"
    log = (RUN / "log.txt").read_text()
    assert all(line in log for line in said.splitlines() if line)


def test_a_second_run_does_nothing_and_a_fresh_one_gives_the_same_bytes(
    competition: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    competition()
    augmented = [
        "augment.policy=randaugment",
        "augment.mixup=0.5",
        "augment.hflip=0.5",
        "train.ema=0.5",
        "model.dropout=0.2",
    ]
    assert run_all(*augmented) == 0
    first = products()
    times = {path: path.stat().st_mtime_ns for path in RUN.rglob("*.parquet")}
    capsys.readouterr()
    assert run_all(*augmented) == 0
    said = capsys.readouterr().out
    for stage in ("prepare", "folds", "train 0", "train 1", "infer 0", "infer 1"):
        assert f"{stage}: up to date" in said
    assert times == {path: path.stat().st_mtime_ns for path in RUN.rglob("*.parquet")}
    shutil.rmtree("output")
    shutil.rmtree("folds")
    assert run_all(*augmented) == 0
    assert products() == first


def test_nothing_depends_on_the_order_of_rows_and_columns(trained: Config) -> None:
    first = products()
    rows = list(csv.reader((trained.root / "train.csv").read_text().splitlines()))
    write_table(trained.root / "train.csv", rows[0][::-1], [row[::-1] for row in rows[:0:-1]])
    shutil.rmtree("output")
    assert run_all() == 0
    assert products() == first


@pytest.mark.parametrize(
    ("stage", "missing"),
    [
        (train, "python -m pipeline.prepare"),
        (infer, "python -m pipeline.train"),
        (ensemble, "python -m pipeline.infer"),
    ],
)
def test_a_stage_names_the_command_that_is_missing(
    competition: Callable[..., Config], capsys: pytest.CaptureFixture[str], stage: object, missing: str
) -> None:
    competition()
    assert stage.main(CONFIG) == 1  # type: ignore[attr-defined]
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and missing in said[0]


def test_folds_come_before_training(competition: Callable[..., Config], capsys: pytest.CaptureFixture[str]) -> None:
    competition()
    assert prepare.main(CONFIG) == 0
    assert train.main([*CONFIG, "--fold", "0"]) == 1
    assert "python -m pipeline.folds" in capsys.readouterr().err


def test_the_ensemble_s_setting_asks_for_the_ensemble_alone(competition: Callable[..., Config]) -> None:
    mean, rank = competition(), competition("ensemble.method=rank")
    inputs = read_inputs(mean)
    assert ensembled_from(mean, [0], probed=False) != ensembled_from(rank, [0], probed=False)
    assert inferred_from(mean, 0, inputs) == inferred_from(rank, 0, inputs)
    assert trained_from(mean, 0, inputs) == trained_from(rank, 0, inputs)


@pytest.mark.parametrize(
    ("setting", "status", "remade"),
    [
        ("task.metric=macro_f1", 0, {"test.parquet", "submission.csv", "scores.json", "oof.parquet"}),
        ("infer.views=['identity', 'hflip']", 0, {"fold0/oof.parquet", "fold1/test.parquet", "submission.csv"}),
        ("train.lr=0.02", 1, set()),
        ("folds.seed=1", 1, set()),
        ("data.answers=", 0, set()),
    ],
)
def test_a_change_asks_for_what_depends_on_it(
    trained: Config, capsys: pytest.CaptureFixture[str], setting: str, status: int, remade: set[str]
) -> None:
    before = [path for path in RUN.rglob("*") if path.suffix in (".parquet", ".csv", ".json", ".safetensors")]
    for path in before:
        os.utime(path, (0, 0))
    capsys.readouterr()
    assert run_all(setting) == status
    changed = {str(path.relative_to(RUN)) for path in before if path.stat().st_mtime_ns}
    assert remade <= changed
    assert not [name for name in changed if name.endswith((".safetensors", "history.csv"))]
    if "oof.parquet" not in str(remade):
        assert not [name for name in changed if "fold" in name]
    if status:
        said = capsys.readouterr().err
        assert "trained with other settings or data" in said and "under another name" in said and "or delete" in said


def test_a_model_of_other_settings_does_not_predict(trained: Config, capsys: pytest.CaptureFixture[str]) -> None:
    before = (RUN / "fold0" / "test.parquet").read_bytes()
    assert infer.main([*CONFIG, "--set", "train.lr=0.02"]) == 1
    assert "trained with other settings or data; changed: train.lr (0.01 -> 0.02)" in capsys.readouterr().err
    assert (RUN / "fold0" / "test.parquet").read_bytes() == before


def test_an_early_submission_says_how_many(
    competition: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    competition()
    for stage, options in ((prepare, []), (folds, []), (train, ["--fold", "1"]), (infer, []), (ensemble, [])):
        assert stage.main([*CONFIG, *options]) == 0
    said = capsys.readouterr().out
    assert "infer: 1 of 2 models are trained" in said
    assert "ensemble: 1 of 2 models are ready" in said
    assert (RUN / "submission.csv").is_file()
    assert list(json.loads((RUN / "scores.json").read_text())["folds"]) == ["1"]
    assert run_all() == 0
    assert list(json.loads((RUN / "scores.json").read_text())["folds"]) == ["0", "1"]


def test_full_fit_adds_a_model_and_can_be_the_only_one(
    competition: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    competition()
    assert run_all("folds.full_fit=true") == 0
    scores = json.loads((RUN / "scores.json").read_text())
    assert scores["models"] == ["0", "1", "full"]
    assert not (RUN / "full" / "oof.parquet").exists()
    shutil.rmtree("output")
    assert run_all("folds.full_fit=true", "folds.num_folds=0") == 0
    scores = json.loads((RUN / "scores.json").read_text())
    assert (scores["models"], scores["cv"], scores["folds"]) == (["full"], None, {})
    assert "CV accuracy: none" in capsys.readouterr().out
    assert not (RUN / "oof.parquet").exists()


@pytest.mark.parametrize("fold", ["2", "full", "-1", "x"])
def test_a_fold_that_is_not_there(
    competition: Callable[..., Config], capsys: pytest.CaptureFixture[str], fold: str
) -> None:
    competition()
    assert train.main([*CONFIG, f"--fold={fold}"]) == 2
    assert "--fold must be one of 0, 1" in capsys.readouterr().err


def test_what_was_prepared_before_ranges_were_looked_for_is_looked_at_again(
    trained: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    """The stamp of an older version is made anew; where the range does not matter models and predictions stay."""
    path = RUN / "prepare.json"
    stamp = json.loads(path.read_text())
    del stamp["made_from"]["format"]
    path.write_text(json.dumps(stamp))
    before = {file: file.read_bytes() for file in (*RUN.glob("fold*/*"), RUN / "submission.csv")}
    capsys.readouterr()
    assert train.main(CONFIG) == 1 and "Got: changed: format" in capsys.readouterr().err
    assert run_all() == 0
    said = capsys.readouterr().out
    assert "prepare: up to date" not in said and "train 0: up to date" in said and "infer 1: up to date" in said
    assert {file: file.read_bytes() for file in before} == before and "format" in path.read_text()


def test_bad_and_missing_images_stop_or_are_left_out(
    competition: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    """The sample asks for one image more, which nobody has."""
    cfg = competition()
    for name in ("train/003.png", "test/001.png"):
        (cfg.root / name).write_bytes(b"broken")
    assert run_all() == 1
    said = capsys.readouterr().err
    assert "2 images cannot be read (train/003.png, test/001.png): no image that is read here begins with b'br" in said
    assert "set data.bad_images = 'drop'" in said
    for split, setting in (("train", "data.image"), ("test", "data.test_image")):
        (cfg.root / split / "007.png").rename(split)
        assert run_all() == 1
        said = capsys.readouterr().err
        assert f"{setting} = '{split}/{{id}}.png': 1 images are missing ({split}/007.png)" in said
        assert "set data.bad_images = 'drop'" in said
    sample = cfg.root / "sample_submission.csv"
    shutil.copy(sample, cfg.root / "test.csv")
    sample.write_text(sample.read_text() + "900,ant\n")
    settings = ("data.bad_images=drop", "data.test=test.csv")
    assert run_all(*settings) == 0
    said = capsys.readouterr().out
    assert "1 ids have no test image (900) of 9, and get the class prior" in said
    assert (
        "2 images cannot be read (train/007.png, test/007.png): the file is missing; left out but 2 test images" in said
    )
    lines = (RUN / "submission.csv").read_text().splitlines()
    # The prior's likeliest class, by hand: of 24 images, 003 and 007 are gone, an ant and a bee.
    assert len(lines) == 10 and {lines[2][4:], lines[8][4:]} <= {"ant", "bee", "cow"} and lines[9] == "900,ant"
    test = read_predictions(RUN / "fold0" / "test.parquet", "")
    prior = test.probs.array[test.ids.index("001")]
    assert prior.sum() == pytest.approx(1) and prior.min() > 0.1
    audit = {
        (row["split"], row["id"]): row["bad"] for row in csv.DictReader((RUN / "audit.csv").read_text().splitlines())
    }
    assert {key: bad for key, bad in audit.items() if bad and key[1] == "007"} == {
        ("train", "007"): "the file is missing",
        ("test", "007"): "the file is missing",
    }
    assert {key for key, bad in audit.items() if bad and key[1] != "007"} == {("train", "003"), ("test", "001")}
    for split in ("train", "test"):
        Path(split).rename(cfg.root / split / "007.png")
    assert prepare.main([*CONFIG, "--set", *settings]) == 0
    audit = {row["path"]: row["bad"] for row in csv.DictReader((RUN / "audit.csv").read_text().splitlines())}
    assert audit["train/007.png"] == audit["test/007.png"] == ""


@pytest.mark.parametrize("name", ["mlp", "resnet9", "resnet18"])
def test_what_training_says_of_its_fold_is_what_inference_would_say(
    competition: Callable[..., Config], name: str
) -> None:
    cfg = competition()
    (cfg.root / "train/003.png").write_bytes(b"broken")
    width = ["model.width=4"] if name == "resnet9" else []
    settings = (f"model.name={name}", *width, "train.ema=0.9", "data.bad_images=drop")
    assert run_all(*settings) == 0
    said = [(RUN / f"fold{k}" / "oof.parquet").read_bytes() for k in (0, 1)]
    assert said == [(RUN / f"fold{k}" / "valid.parquet").read_bytes() for k in (0, 1)]
    (RUN / "fold0" / "valid.parquet").unlink()
    (RUN / "fold1" / "valid.parquet").write_bytes(b"another")
    for k in (0, 1):
        (RUN / f"fold{k}" / "infer.json").unlink()
    assert run_all(*settings) == 0
    assert said == [(RUN / f"fold{k}" / "oof.parquet").read_bytes() for k in (0, 1)]
    assert run_all(*settings, 'infer.views=["hflip"]') == 0
    assert said[0] != (RUN / "fold0" / "oof.parquet").read_bytes()


def test_a_refused_submission_leaves_none(
    competition: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = competition()
    write_table(cfg.root / "test.csv", ["id"], [[f"{number:03d}"] for number in range(8)])
    assert run_all("data.test=test.csv") == 0
    write_table(cfg.root / "sample_submission.csv", ["id", "label"], [["000", "ant"], ["000", "ant"]])
    assert ensemble.main([*CONFIG, "--set", "data.test=test.csv"]) == 1
    assert "more than once" in capsys.readouterr().err
    assert not (RUN / "submission.csv").exists()


def test_answers_change_no_byte(trained: Config) -> None:
    first = products()
    (trained.root / "answers.csv").unlink()
    shutil.rmtree("output")
    assert run_all() == 0
    assert products() == first


@pytest.mark.parametrize("kind", KINDS)
def test_other_kinds_of_labels(competition: Callable[..., Config], kind: str) -> None:
    cfg = competition()
    column, values, settings = KINDS[kind]
    for name, count in (("train", 24), ("answers", 8), ("sample_submission", 8)):
        write_table(cfg.root / f"{name}.csv", ["id", column], [[f"{n:03d}", values[n % 3]] for n in range(count)])
    assert run_all(*settings, "train.num_epochs=10") == 0
    scores = json.loads((RUN / "scores.json").read_text())
    assert scores["cv"] < 1.5 if kind == "number" else scores["cv"] > 0.8


def test_one_image_for_every_column_of_probabilities(competition: Callable[..., Config]) -> None:
    cfg = competition()
    names = ["ant", "bee", "cow"]
    write_table(cfg.root / "sample_submission.csv", ["id", *names], [[f"{n:03d}", 0.3, 0.3, 0.4] for n in range(8)])
    assert run_all("task.metric=log_loss") == 0
    rows = list(csv.DictReader((RUN / "submission.csv").read_text().splitlines()))
    assert all(abs(sum(float(row[name]) for name in names) - 1) < 1e-9 for row in rows)


def test_class_folders_without_a_table(workplace: Path) -> None:
    for number in range(24):
        path = Path(f"input/folders/train/{['ant', 'big bee'][number % 2]}/{number}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(number % 2, number)).save(path)
    for number in range(4):
        path = Path(f"input/folders/test/{number}.png")
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(picture(number % 2, 100 + number)).save(path)
    Path("configs/tiny.toml").write_text(
        '[data]\nroot="input/folders"\ntrain="train/{label}/{file}"\nid="file"\nimage="train/{label}/{file}"\n'
        'test="test/{file}"\ntest_image="test/{file}"\nsample_submission=""\n'
        '[folds]\nnum_folds=2\n[image]\nsize=12\n[model]\nname="mlp"\n[train]\nnum_epochs=6\nlr=0.01\nbatch_size=8\n'
    )
    assert run_all() == 0
    rows = list(csv.DictReader((RUN / "submission.csv").read_text().splitlines()))
    assert [row["file"] for row in rows] == [f"{n}.png" for n in range(4)]
    assert [row["label"] for row in rows] == ["ant", "big bee", "ant", "big bee"]


def test_the_users_own_folds(competition: Callable[..., Config], capsys: pytest.CaptureFixture[str]) -> None:
    cfg = competition()
    rows = [[f"{n:03d}", ["ant", "bee", "cow"][n % 3], f"part{n % 2}"] for n in range(24)]
    write_table(cfg.root / "train.csv", ["id", "label", "mine"], rows)
    assert folds.main([*CONFIG, "--set", "folds.column=mine", "folds.num_folds=3"]) == 1
    assert "must be the number of values in column 'mine', 2" in capsys.readouterr().err
    assert folds.main([*CONFIG, "--set", "folds.column=mine"]) == 0
    table = next(path for path in Path("folds").glob("*.csv"))
    for row in csv.DictReader(table.read_text().splitlines()):
        assert int(row["fold"]) == int(row["id"]) % 2


HOLDER = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from pipeline.files import lock
with lock(Path("output/tiny/fold0/lock"), "x"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_same_fold_twice_is_refused_and_another_works_beside(competition: Callable[..., Config]) -> None:
    cfg = competition()
    assert prepare.main(CONFIG) == 0
    assert folds.main(CONFIG) == 0
    root = str(Path(__file__).parent.parent)
    command = [sys.executable, "-c", HOLDER, root]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="fold 0 of tiny is being made by another process"):
            train.train(cfg, 0, read_inputs(cfg))
        train.train(cfg, 1, read_inputs(cfg))


def test_training_starts_from_a_local_file_of_weights(trained: Config, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(RUN / "fold0" / "model.safetensors", "weights.safetensors")
    shutil.rmtree("output")
    assert run_all("model.weights=weights.safetensors", "train.lr=1e-9", "train.schedule=constant") == 0
    assert json.loads((RUN / "scores.json").read_text())["cv"] > 0.8, "they were kept"
    Path("weights.safetensors").write_bytes(b"other bytes")
    assert (
        train.main([*CONFIG, "--set", "model.weights=weights.safetensors", "train.lr=1e-9", "train.schedule=constant"])
        == 1
    )
    assert "files.weights.safetensors" in capsys.readouterr().err, "a model knows the file that it started from"


def test_the_users_own_albumentations_are_applied(competition: Callable[..., Config]) -> None:
    import albumentations

    competition()
    pipeline = albumentations.Compose([albumentations.HorizontalFlip(p=1.0), albumentations.InvertImg(p=1.0)])
    albumentations.save(pipeline, "mine.json")
    assert run_all("augment.albumentations=mine.json", "train.num_epochs=4") == 0
    history = list(csv.DictReader((RUN / "fold0" / "history.csv").read_text().splitlines()))
    assert float(history[-1]["train_score"]) > 0.9 > float(history[-1]["valid_score"]), (
        "it learns inverted pictures alone"
    )


def test_a_deleted_cache_is_decoded_again(trained: Config, capsys: pytest.CaptureFixture[str]) -> None:
    first = products()
    shutil.rmtree("output/cache")
    assert train.main([*CONFIG, "--fold", "0"]) == 1
    assert "missing from output/cache. Run: python -m pipeline.prepare" in capsys.readouterr().err
    assert run_all() == 0
    assert products() == first


def test_a_touched_history_costs_no_training_and_a_changed_model_is_not_replaced(
    trained: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    (RUN / "fold0" / "history.csv").write_text("opened and saved")
    assert train.main(CONFIG) == 0
    assert (RUN / "fold0" / "history.csv").read_text() == "opened and saved"
    (RUN / "fold0" / "model.safetensors").write_bytes(b"other bytes")
    assert train.main(CONFIG) == 1
    assert "was changed" in capsys.readouterr().err
    assert (RUN / "fold0" / "model.safetensors").read_bytes() == b"other bytes"
    (RUN / "fold0" / "model.safetensors").unlink()
    assert run_all() == 0


def test_mended_labels_ask_for_folds_and_question_the_models(
    trained: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    table = trained.root / "train.csv"
    table.write_text(table.read_text().replace("000,ant", "000,bee"))
    assert train.main(CONFIG) == 1
    assert "python -m pipeline.prepare" in capsys.readouterr().err
    assert prepare.main(CONFIG) == 0
    assert infer.main(CONFIG) == 1
    assert "python -m pipeline.folds" in capsys.readouterr().err
    assert folds.main(CONFIG) == 0
    assert infer.main(CONFIG) == 1
    assert "trained with other settings or data; changed: folds" in capsys.readouterr().err


def test_a_bad_test_image_questions_no_model(trained: Config) -> None:
    before = (RUN / "fold0" / "model.safetensors").stat().st_mtime_ns
    (trained.root / "test" / "001.png").write_bytes(b"broken")
    assert run_all() == 1
    assert run_all("data.bad_images=drop") == 0
    assert (RUN / "fold0" / "model.safetensors").stat().st_mtime_ns == before


def test_predictions_that_are_not_current_are_left_out(trained: Config, capsys: pytest.CaptureFixture[str]) -> None:
    assert infer.main([*CONFIG, "--fold", "0", "--set", "infer.views=['hflip']"]) == 0
    capsys.readouterr()
    assert ensemble.main([*CONFIG, "--set", "infer.views=['hflip']"]) == 0
    said = capsys.readouterr().out
    assert "predictions of fold 1 are left out, they are not current; changed: infer.views" in said
    assert "1 of 2 models are ready" in said


def test_answers_that_do_not_fit_are_said_so(
    competition: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = competition()
    write_table(cfg.root / "answers.csv", ["id", "label"], [["000", "ant"], ["zzz", "ant"]])
    assert run_all() == 0
    said = capsys.readouterr().out
    line = "answers: warning: the test score is unknown. data.answers must have the test images' ids, each once. Got "
    assert f"{line}input/tiny/answers.csv: 1 ids are of no test image (zzz); input/tiny/answers.csv: 7 test" in said
    assert said.splitlines()[-1].startswith("submission: ")


def test_answers_that_come_twice_score_nothing(
    competition: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = competition()
    header, answers = read_table(cfg.root / "answers.csv")
    write_table(cfg.root / "answers.csv", header, [*answers, answers[2]])
    assert run_all() == 0
    said = capsys.readouterr().out
    assert f"1 ids appear more than once ({answers[2][0]})" in said and "score on the hidden answers" not in said


def test_answers_in_another_spelling_are_the_same(competition: Callable[..., Config]) -> None:
    """Grades as numbers with a point, which whoever saves a table with gaps writes."""
    cfg = competition()
    for name, suffix in (("train.csv", ""), ("answers.csv", ".0")):
        header, rows = read_table(cfg.root / name)
        number = {"ant": "1", "bee": "2", "cow": "3"}
        write_table(cfg.root / name, header, [[id_, number[label] + suffix] for id_, label in rows])
    sample = cfg.root / "sample_submission.csv"
    sample.write_text(re.sub("ant|bee|cow", "1", sample.read_text()))
    assert run_all() == 0
    assert "score on the hidden answers: 1.00000" in (RUN / "log.txt").read_text()


def test_answers_of_a_class_that_train_lacks_are_left_out(
    competition: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = competition()
    header, answers = read_table(cfg.root / "answers.csv")
    unknown, known = answers[:2], answers[2:]
    write_table(cfg.root / "answers.csv", header, [*([id_, "wasp"] for id_, _ in unknown), *known])
    assert run_all() == 0
    submitted = dict(read_table(RUN / "submission.csv")[1])
    right = sum(submitted[id_] == label for id_, label in known) / len(known)
    said = capsys.readouterr().out.splitlines()
    assert f"score on the hidden answers: {right:.5f}" in said
    assert "answers: images with a label that train lacks ('wasp') are left out: 2" in said


def test_a_loss_that_diverges_is_not_kept(
    competition: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    competition()
    assert (
        run_all(
            "train.lr=100.0",
            "train.optimizer=sgd",
            "train.schedule=constant",
            "model.name=net",
            "image.size=16",
            "train.num_epochs=20",
        )
        == 1
    )
    said = capsys.readouterr().err
    assert "the loss of fold 0 must be finite" in said and "lower train.lr" in said
    assert re.search(r"not in epoch \d+, step \d+, of \d images \(0\d\d, 0\d\d", said)
    assert not (RUN / "fold0" / "model.safetensors").exists()


def test_the_last_epochs_are_gentle(competition: Callable[..., Config]) -> None:
    from pipeline.images.augment.epoch_changes import EpochChanges

    cfg = competition(
        "augment.policy=randaugment", "augment.hflip=0.5", "augment.mixup=0.2", "augment.strong_until=0.5"
    )
    changes = EpochChanges(cfg.augment, [12] * 4, 0, 0, torch.zeros(4, dtype=torch.int64), 3)
    assert [changes.of(epoch).mix is not None for epoch in range(4)] == [True, True, False, False]
    assert changes.gentle.policy == "none" and changes.gentle.hflip == 0.5
    assert changes.of(3).augment is not None, "flips go on"


def test_a_refused_ensemble_leaves_the_submission_that_is_there(
    trained: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (RUN / "submission.csv").read_bytes()
    assert run_all("ensemble.method=rank") == 2
    assert "Got 'rank' with accuracy" in capsys.readouterr().err
    assert (RUN / "submission.csv").read_bytes() == before


def test_a_setting_that_did_not_exist_then_counts_as_its_default(
    trained: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    for stamp in RUN.rglob("*.json"):
        content = json.loads(stamp.read_text())
        for sections in (content.get("made_from", {}), content.get("made_from", {}).get("settings", {})):
            for section in ("augment", "train", "image"):
                for key in ("first_size", "clip_grad", "cache_limit"):
                    sections.get(section, {}).pop(key, None)
        stamp.write_text(json.dumps(content))
    capsys.readouterr()
    assert run_all() == 0
    assert "train 0: up to date" in capsys.readouterr().out
    assert run_all("augment.first_size=0.5") == 1
    assert "augment.first_size (1.0 -> 0.5)" in capsys.readouterr().err
    assert trained.augment.first_size == 1.0


def test_what_older_stamps_say_besides_makes_nothing_anew(trained: Config, capsys: pytest.CaptureFixture[str]) -> None:
    for fold in (0, 1):
        stamp = RUN / f"fold{fold}" / "infer.json"
        content = json.loads(stamp.read_text())
        content["made_from"]["out of fold"] = True
        stamp.write_text(json.dumps(content))
    capsys.readouterr()
    assert run_all() == 0
    said = capsys.readouterr().out
    assert "infer 0: up to date" in said and "infer 1: up to date" in said


def test_a_model_of_other_versions_is_used_with_one_line(trained: Config, capsys: pytest.CaptureFixture[str]) -> None:
    stamp = RUN / "fold1" / "train.json"
    content = json.loads(stamp.read_text())
    content["versions"]["torch"] = "1.0.0"
    stamp.write_text(json.dumps(content))
    capsys.readouterr()
    assert run_all() == 0
    said = capsys.readouterr().out.splitlines()
    assert "train 0: up to date" in said
    assert [line for line in said if line.startswith("train 1: up to date (made with torch 1.0.0, here ")]


def test_a_sample_that_cannot_be_filled_is_said_before_training(
    competition: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = competition()
    sample = cfg.root / "sample_submission.csv"
    rows = sample.read_text().splitlines()
    sample.write_text("\n".join(["id,one,two", *(f"{row.split(',')[0]},0,0" for row in rows[1:])]) + "\n")
    assert run_all() == 1
    said = capsys.readouterr()
    assert said.err.startswith("train: ") and "these must be the classes" in said.err
    assert "epoch" not in said.out


def test_the_cv_score_of_ranks_is_of_ranks(competition: Callable[..., Config]) -> None:
    cfg = competition()
    ids = [f"{number:03d}" for number in range(8)]
    write_table(cfg.root / "sample_submission.csv", ["id", "ant", "bee", "cow"], [[id_, 0, 0, 1] for id_ in ids])
    assert run_all("task.metric=mean_column_auc", "ensemble.method=rank", "train.lr=1e-5", "train.num_epochs=1") == 0
    labels = dict(csv.reader((cfg.root / "train.csv").read_text().splitlines()))
    truth, pooled = [], []
    for fold in (0, 1):
        table = read_predictions(RUN / f"fold{fold}" / "oof.parquet", "")
        truth += [labels[id_] for id_ in table.ids]
        pooled.append(np.stack([rankdata(column) / (len(table.ids) + 1) for column in table.probs.array.T], 1))
    ranked = np.concatenate(pooled)
    expected = np.mean([roc_auc_score(np.array(truth) == name, ranked[:, k]) for k, name in enumerate(table.classes)])
    assert json.loads((RUN / "scores.json").read_text())["cv"] == pytest.approx(expected) and expected < 0.99
    test = [read_predictions(RUN / f"fold{fold}" / "test.parquet", "").probs.array for fold in (0, 1)]
    mean = np.mean([[rankdata(column) / 9 for column in probs.T] for probs in test], axis=0).T
    rows = list(csv.DictReader((RUN / "submission.csv").read_text().splitlines()))
    assert np.allclose([[float(row[name]) for name in table.classes] for row in rows], mean)


def test_the_run_s_settings_are_written_once_for_all_folds(competition: Callable[..., Config]) -> None:
    competition()
    assert prepare.main(CONFIG) == folds.main(CONFIG) == 0
    written = []
    for fold in ("0", "1"):
        assert train.main([*CONFIG, "--fold", fold]) == 0
        written.append((RUN / "config.toml").stat().st_ino)
    assert written[0] == written[1]
    (RUN / "config.toml").write_text("another's")
    shutil.rmtree(RUN / "fold1")
    assert train.main([*CONFIG, "--fold", "1"]) == 0
    assert "[train]" in (RUN / "config.toml").read_text()
