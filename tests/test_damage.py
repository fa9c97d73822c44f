"""Files that are lost, cut short or changed between stages, a machine that says no: one line, and the run goes on."""

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from making import picture
from pipeline import ensemble, files, folds, train
from pipeline import prepare as prepare_stage
from pipeline.config import Config
from pipeline.config_file import load
from pipeline.engine import fit as fit_room
from pipeline.engine.resume import Store
from pipeline.images.cache import open_images
from running import CONFIG, RUN, run_all, run_sh

ROOT = Path(__file__).parent.parent


def products() -> dict[str, bytes]:
    names = ["submission.csv", "scores.json", "test.parquet", "oof.parquet", "fold0/model.safetensors"]
    return {name: (RUN / name).read_bytes() for name in names}


def made() -> list[Path]:
    """Every file that the stages have written, but for locks and the log."""
    found = [path for folder in ("output", "folds") for path in Path(folder).rglob("*")]
    return sorted(path for path in found if path.is_file() and not path.name.endswith(("log.txt", "lock")))


def lose(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size // 2)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def change(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x55
    path.write_bytes(content)


@pytest.mark.parametrize("harm", [lose, cut, pytest.param(empty, marks=pytest.mark.slow), change])
def test_any_file_may_be_lost_or_broken_between_two_runs(
    trained: Config,
    capsys: pytest.CaptureFixture[str],
    harm: Callable[[Path], None],
    record_property: Callable[[str, object], None],
) -> None:
    whole = products()
    shutil.copytree("output", "kept/output")
    shutil.copytree("folds", "kept/folds")
    record_property("tried", len(made()))
    for path in made():
        harm(path)
        capsys.readouterr()
        if run_sh():
            said = capsys.readouterr().err
            # What is told is done: the folder or file that the message names is deleted.
            assert said.count("\n") == 1 and "elete" in said, (path, said)
            folder = path.parent
            assert str(folder) in said or str(path) in said, (path, said)
            shutil.rmtree(folder)
            assert run_sh() == 0, (path, capsys.readouterr().err)
        assert products() == whole, path
        for name in ("output", "folds"):
            shutil.rmtree(name)
            shutil.copytree(f"kept/{name}", name)


@pytest.mark.parametrize(
    ("number", "told"),
    [(errno.ENOSPC, "make room"), (errno.EROFS, "start from another folder"), (errno.EACCES, "must be writable")],
)
def test_a_machine_that_says_no_is_one_line_and_the_run_goes_on(
    trained: Config,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    told: str,
    record_property: Callable[[str, object], None],
) -> None:
    whole = products()
    for name in ("output", "folds"):
        shutil.rmtree(name)
        Path(name).mkdir()
    original, attempts = os.fsync, 0
    for fail_at in range(1, 200, 3):
        reached = 0

        def failing(descriptor: int, fail_at: int = fail_at) -> None:
            nonlocal reached
            reached += 1
            if reached == fail_at:
                raise OSError(number, os.strerror(number), "a file")
            original(descriptor)

        monkeypatch.setattr(files.os, "fsync", failing)
        capsys.readouterr()
        status = run_sh()
        monkeypatch.setattr(files.os, "fsync", original)
        if status == 0:
            break
        attempts += 1
        said = capsys.readouterr().err
        assert status == 1 and said.count("\n") == 1 and told in said
        assert not [path for path in made() if path.name.endswith(".tmp")]
    record_property("tried", attempts)
    assert attempts >= 3 and products() == whole


def test_a_limit_on_the_size_of_files(competition: Callable[..., Config]) -> None:
    competition()
    # Python takes half a file of bytecode for a whole one.
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pipeline", "prepare", "folds", "train", "--config", "configs/tiny.toml"]

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, resource.RLIM_INFINITY))

    done = subprocess.run(command, env=environ, capture_output=True, text=True, preexec_fn=limit)
    assert done.returncode == 1 and "raise it" in done.stderr, done.stderr
    assert done.stderr.count("\n") == 1
    assert run_sh() == 0


@pytest.mark.parametrize("folder", ["output", "folds"])
def test_a_folder_that_is_a_file(
    competition: Callable[..., Config], capsys: pytest.CaptureFixture[str], folder: str
) -> None:
    competition()
    shutil.rmtree(folder)
    Path(folder).write_text("")
    assert run_all() == 1
    assert capsys.readouterr().err.count("\n") == 1
    Path(folder).unlink()
    Path(folder).mkdir()
    assert run_all() == 0


def test_the_ensemble_alone_takes_nothing_for_current_that_is_not(
    trained: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (trained.root / "test").iterdir():
        path.write_bytes((trained.root / "train" / path.name).read_bytes())
    capsys.readouterr()
    assert ensemble.main(CONFIG) == 1
    assert "the images must be current" in capsys.readouterr().err


def test_an_index_that_is_lost_is_made_anew(trained: Config) -> None:
    whole = products()
    for harm in (lose, cut):
        for path in Path("output/cache").glob("*/*/*.parquet"):
            harm(path)
        (RUN / "fold0" / "infer.json").unlink()
        assert run_sh() == 0 and products() == whole


@pytest.mark.parametrize("what", ["image", "table"])
def test_what_changes_while_it_is_prepared_counts_as_changed(
    competition: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    cfg = competition()
    original = prepare_stage.write_stamp

    def changing(*arguments: Any, **notes: Any) -> None:
        if what == "image":
            Image.fromarray(picture(1, 99)).save(cfg.root / "train" / "000.png")
        else:
            table = cfg.root / "train.csv"
            table.write_text(table.read_text().replace("023,cow", "023,ant"))
        original(*arguments, **notes)

    monkeypatch.setattr(prepare_stage, "write_stamp", changing)
    assert prepare_stage.main(CONFIG) == 0
    monkeypatch.setattr(prepare_stage, "write_stamp", original)
    assert run_sh() == 0
    assert open_images(cfg, "train", ["train/000.png"]).gather(np.array([0])).shape == (1, 12, 12, 3)
    pixels = open_images(cfg, "train", ["train/000.png"]).gather(np.array([0]))[0]
    assert np.array_equal(pixels, np.asarray(Image.open(cfg.root / "train" / "000.png").convert("RGB")))


def test_other_bytes_of_the_same_size_and_time_are_seen(competition: Callable[..., Config]) -> None:
    cfg = competition()
    for path in (cfg.root / "train").iterdir():
        Image.open(path).save(path.with_suffix(".bmp"))
        os.utime(path.with_suffix(".bmp"), (1e9, 1e9))
    settings = ("data.image=train/{id}.bmp",)
    assert prepare_stage.main([*CONFIG, "--set", *settings]) == 0
    changed = cfg.root / "train" / "005.bmp"
    Image.fromarray(picture(1, 99)).save(changed)
    os.utime(changed, (1e9, 1e9))
    assert run_sh(*settings) == 0
    pixels = open_images(load(Path(cfg.path), settings), "train", ["train/005.bmp"]).gather(np.array([0]))[0]
    assert np.array_equal(pixels, picture(1, 99))


def test_a_model_whose_stamp_is_lost_is_not_replaced(trained: Config, capsys: pytest.CaptureFixture[str]) -> None:
    model = (RUN / "fold0" / "model.safetensors").read_bytes()
    (RUN / "fold0" / "train.json").unlink()
    assert run_sh("train.lr=0.5") == 1
    assert "train.json, which says what it was made from, is missing or broken" in capsys.readouterr().err
    assert (RUN / "fold0" / "model.safetensors").read_bytes() == model


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("audit.csv", b"\xff\xfe\x00binary"),
        ("audit.csv", b'"part","path"\n"train","a\x00b"\n'),
        ("prepare.json", b"[" * 100_000),
        ("fold0/train.json", b"[" * 100_000),
        ("fold0/infer.json", b'{"made_from":[],"files":{}}'),
        ("fold0/infer.json", b"[1]"),
    ],
)
def test_products_that_are_something_else(
    trained: Config, capsys: pytest.CaptureFixture[str], name: str, content: bytes
) -> None:
    whole = products()
    (RUN / name).write_bytes(content)
    capsys.readouterr()
    if run_sh():
        assert capsys.readouterr().err.count("\n") == 1
        shutil.rmtree(RUN / "fold0")
        assert run_sh() == 0
    assert products() == whole


@pytest.mark.parametrize(
    "notes", [None, {"valid": [1]}, {"valid": {}}, {"valid": {"asked": {}}}, {"valid": {"asked": None, "sha256": 1}}]
)
def test_notes_that_are_something_else_are_asked_again(trained: Config, notes: object) -> None:
    whole = products()
    stamp = json.loads((RUN / "fold0" / "train.json").read_text())
    kept = {key: value for key, value in stamp["notes"].items() if key != "valid"}
    stamp["notes"] = notes if notes is None else {**kept, **notes}
    (RUN / "fold0" / "train.json").write_text(json.dumps(stamp))
    stamp = json.loads((RUN / "fold1" / "infer.json").read_text())
    (RUN / "fold1" / "infer.json").write_text(json.dumps({**stamp, "files": {"oof.parquet": [1]}}))
    (RUN / "fold0" / "infer.json").unlink()
    assert run_sh() == 0 and products() == whole


def test_what_a_killed_stage_was_writing_is_cleared_away(trained: Config) -> None:
    """Of the stage's own products alone: others may be writing theirs."""
    names = ("submission.csv", ".submission.csv.checking", "scores.json", "prepare.json", "other.csv")
    for name in names:
        (RUN / f".{name}.abc.tmp").write_bytes(b"half")
    (RUN / "ensemble.json").unlink()
    assert run_sh() == 0
    assert sorted(path.name for path in RUN.glob(".*.tmp")) == [".other.csv.abc.tmp", ".prepare.json.abc.tmp"]


def test_an_error_waits_for_what_is_being_written(
    competition: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock of the folder goes with the error: nothing may be written there after it."""
    competition("train.num_epochs=3")
    assert prepare_stage.main(CONFIG) == folds.main(CONFIG) == 0
    write, failed, done = Store.write, threading.Event(), []

    def late(self: Store, *arguments: Any) -> None:
        failed.wait(60)
        write(self, *arguments)
        done.append("written")

    def fails(*arguments: Any, **options: Any) -> Any:
        failed.set()
        raise OSError(errno.ENOSPC, "no room", "a file")

    monkeypatch.setattr(Store, "write", late)
    monkeypatch.setattr(fit_room, "predict", fails)
    assert train.main([*CONFIG, "--fold", "0"]) == 1
    assert done == ["written"] and not list(RUN.rglob("*.tmp"))
