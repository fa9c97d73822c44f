"""A run from an address: detect and prepare copy what lies there, and no other stage asks for it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from making import tiny_competition
from pipeline import detect, ensemble, folds, infer, prepare, train
from pipeline.__main__ import STAGES, main
from pipeline.config_file import load
from pipeline.files import walk
from pipeline.roots import local_root
from running import CONFIG, run_all
from web import served

ADDRESS = "memory://bucket/tiny"
SMALL = ["image.size=12", "model.name=mlp", "folds.num_folds=2", "train.num_epochs=1", "train.time_limit="]


@pytest.fixture
def bucket(workplace: Path) -> Iterator[MemoryFileSystem]:
    """The tiny competition in memory, and nowhere else."""
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]
    tiny_competition(workplace)
    for name in walk(workplace / "input" / "tiny"):
        memory.pipe_file(f"/bucket/tiny/{name}", (workplace / "input" / "tiny" / name).read_bytes())
    shutil.rmtree(workplace / "input")
    yield memory
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]


def refused(*arguments: object, **options: object) -> None:
    raise AssertionError("the source was asked")


def test_an_address_is_a_target_like_a_folder(bucket: MemoryFileSystem) -> None:
    Path("configs/tiny.toml").unlink()
    assert main([*STAGES[:-1], "--config", ADDRESS, "--set", *SMALL]) == 0
    cfg = load(Path("configs/tiny.toml"))
    assert cfg.data.root == ADDRESS and cfg.root == local_root(ADDRESS) and cfg.competition == "tiny"
    text = Path("configs/tiny.toml").read_text()
    assert f"from what is in {ADDRESS};" in text and 'labels = ["label"]' in text
    lines = Path("output/tiny/submission.csv").read_text().splitlines()
    assert lines[0] == "id,label" and len(lines) == 9


def test_the_copy_gives_the_bytes_that_the_folder_gives(
    bucket: MemoryFileSystem, trained_place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the stages after prepare never ask the source."""
    settings = ["--set", f"data.root={ADDRESS}"]
    assert prepare.main([*CONFIG, *settings]) == 0
    for name in ("find", "open", "info", "ls"):
        monkeypatch.setattr(MemoryFileSystem, name, refused)
    for stage in (folds, train, infer, ensemble):
        assert stage.main([*CONFIG, *settings]) == 0
    for name in ("submission.csv", "oof.parquet"):
        assert Path(f"output/tiny/{name}").read_bytes() == (trained_place / "output" / "tiny" / name).read_bytes()


def test_a_stage_before_prepare_says_what_copies(bucket: MemoryFileSystem, capsys: pytest.CaptureFixture[str]) -> None:
    assert folds.main([*CONFIG, "--set", f"data.root={ADDRESS}"]) == 1
    assert "python -m pipeline.prepare" in capsys.readouterr().err


def test_a_changed_source_makes_anew_what_depends_on_it(
    bucket: MemoryFileSystem, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = f"data.root={ADDRESS}"
    assert run_all(settings) == 0
    before = Path("output/tiny/prepare.json").read_bytes()
    capsys.readouterr()
    assert prepare.main([*CONFIG, "--set", settings]) == 0
    assert capsys.readouterr().out == "prepare: up to date\n"
    rows = bucket.cat_file("/bucket/tiny/train.csv").decode().replace("000,ant", "000,bee")
    bucket.pipe_file("/bucket/tiny/train.csv", rows.encode())
    assert prepare.main([*CONFIG, "--set", settings]) == 0
    assert Path("output/tiny/prepare.json").read_bytes() != before
    assert "copying 1 files, " in capsys.readouterr().out


def test_two_competitions_of_one_name_are_told_apart(
    bucket: MemoryFileSystem, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("configs/tiny.toml").write_text(f'[data]\nroot = "{ADDRESS}"\n')
    assert prepare.main(["--config", "memory://other/tiny"]) == 2
    assert f"configs/tiny.toml must be the config of memory://other/tiny. Its data.root is {ADDRESS}" in (
        capsys.readouterr().err
    )
    assert prepare.main(["--config", "memory://bucket/none"]) == 2
    assert "python -m pipeline.detect --config memory://bucket/none" in capsys.readouterr().err


def test_no_secret_of_an_address_is_written_beside_the_config(
    workplace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    tiny_competition(workplace / "served")
    with served(workplace / "served" / "input") as web:
        address = f"{web.address}/tiny/".replace("//", "//me:s3cret@", 1)
        assert main([*STAGES, "--config", address, "--set", *SMALL]) == 0
    said = capsys.readouterr()
    assert "s3cret" not in said.out + said.err and "copying 35 files" in said.out
    assert load(Path("configs/tiny.toml")).data.root == address
    shown = [path for path in Path("output").rglob("*") if path.suffix in (".txt", ".html", ".csv", ".jsonl")]
    assert len(shown) > 4 and not [path for path in shown if "s3cret" in path.read_text()]


def test_detect_writes_nothing_for_what_it_cannot_have(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert detect.main(["--config", "memory://nothing/here"]) == 1
    assert "memory://nothing/here must hold files" in capsys.readouterr().err
    assert list(Path("configs").iterdir()) == []
