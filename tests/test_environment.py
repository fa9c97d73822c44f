"""Set-up: what is needed is seen without any package; run.sh uses what is there and finishes what was begun."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline import environment
from pipeline.competition.tables.other_tables import INSTALL_XLSX
from pipeline.image_kinds import INSTALL_HEIC

ROOT = Path(__file__).parent.parent
CODE = ["pipeline", "configs", "tests", "run.sh", "pyproject.toml", "README.md", "input", "output", "folds", ".ci"]


def test_requirements_are_those_of_the_project() -> None:
    names = [requirement.split(">")[0] for requirement in environment.needed()]
    assert {"torch", "timm", "pandas", "pydantic"} <= set(names)
    assert any(requirement.startswith("pytest") for requirement in environment.needed("test"))


def test_missing_and_untested_packages_are_told_apart() -> None:
    missing, outside = environment.look(["pytest>=1", "no-such-package>=1", "pydantic>=1,<2", "tqdm>=4.66,<5"])
    assert missing == ["no-such-package"]
    assert len(outside) == 1 and outside[0].startswith("pydantic ")


@pytest.mark.parametrize(
    ("version", "part", "fits"),
    [
        ("2.13.0+cu130", ">=2.11", True),
        ("2.9.1", ">=2.11", False),
        ("2.14.0", "<2.14", False),
        ("2.13.9", "<2.14", True),
        ("1.0.31", "==1.0.31", True),
        ("5", ">=4.66", True),
    ],
)
def test_versions_are_compared_by_their_numbers(
    monkeypatch: pytest.MonkeyPatch, version: str, part: str, fits: bool
) -> None:
    monkeypatch.setattr(environment.importlib.metadata, "version", lambda name: version)
    outside = [] if fits else [f"torch {version} (tested: {part})"]
    assert environment.look([f"torch{part}"]) == ([], outside)


@pytest.mark.parametrize("with_torch", [True, False])
def test_what_a_nearly_whole_environment_lacks_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], with_torch: bool
) -> None:
    missing = ["no-such-package", *([] if with_torch else ["torch"])]
    monkeypatch.setattr(environment, "look", lambda needed: (missing, []))
    monkeypatch.setattr(sys, "argv", ["environment"])
    assert environment.main() == 1
    assert ("lacks no-such-package; pip install" in capsys.readouterr().out) == with_torch


def test_it_needs_no_package() -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); import pipeline.environment as e; print(e.needed()[0])"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code, str(ROOT)], capture_output=True, text=True)
    assert done.stdout.startswith("torch"), done.stderr


def test_what_a_link_points_to_is_not_emptied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "file").write_text("theirs")
    (tmp_path / ".venv").symlink_to("others")
    monkeypatch.setattr(environment, "PROJECT", tmp_path)
    assert environment.make("stamp") == 1
    assert "Got a link to others, which was not made for these packages: delete the link" in capsys.readouterr().err
    assert (tmp_path / "others" / "file").read_text() == "theirs"


@pytest.mark.parametrize("extra", ["", "heic", "xlsx", "http"])
def test_every_pinned_version_lies_in_its_tested_range(monkeypatch: pytest.MonkeyPatch, extra: str) -> None:
    pinned = dict(requirement.split("==") for requirement in environment.needed("pinned") if "==" in requirement)
    monkeypatch.setattr(environment.importlib.metadata, "version", pinned.__getitem__)
    assert environment.look(environment.needed(extra)) == ([], [])


@pytest.mark.parametrize(("extra", "said"), [("heic", INSTALL_HEIC), ("xlsx", INSTALL_XLSX)])
def test_what_messages_say_to_install_is_the_extra(extra: str, said: str) -> None:
    assert environment.needed(extra)[-1].startswith(f"{said.removeprefix('pip install ')}>=")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the project without its environment and products."""
    target = tmp_path / "project"
    target.mkdir()
    ignore = shutil.ignore_patterns("__pycache__", ".*_cache")
    for name in CODE:
        source = ROOT / name
        if name in ("input", "output", "folds"):
            (target / name).mkdir()
        elif source.is_dir():
            shutil.copytree(source, target / name, ignore=ignore)
        elif source.exists():
            shutil.copy(source, target / name)
    return target


def run_sh(checkout: Path, *arguments: str, path: str | None = None, **more: str) -> subprocess.CompletedProcess[str]:
    hidden = ("VIRTUAL_ENV", "CONDA_PREFIX")
    environ = {key: value for key, value in os.environ.items() if key not in hidden} | more
    if path:
        environ["PATH"] = path
    return subprocess.run(
        ["bash", str(checkout / "run.sh"), *arguments], capture_output=True, text=True, env=environ, cwd=checkout
    )


def test_run_sh_uses_an_active_environment_that_has_everything(checkout: Path) -> None:
    active = Path(sys.prefix)
    done = run_sh(checkout, "configs/none.toml", VIRTUAL_ENV=str(active))
    assert done.returncode == 2
    assert "configs/none.toml does not exist" in done.stderr
    assert not (checkout / ".venv").exists()


def test_run_sh_names_the_python_that_it_needs(checkout: Path, tmp_path: Path) -> None:
    old = tmp_path / "bin"
    old.mkdir()
    for name in ("python3", "python3.13", "python3.12", "python3.11"):
        (old / name).write_text("#!/bin/sh\n[ \"$1\" = --version ] && echo 'Python 3.8.1'\nexit 1\n")
        (old / name).chmod(0o755)
    for tool in ("bash", "cksum", "cat", "dirname", "sed", "sh"):
        found = shutil.which(tool)
        assert found
        (old / tool).symlink_to(found)
    done = run_sh(checkout, path=str(old))
    assert done.returncode == 1
    assert "python 3.11 or newer with venv must be installed. Got: Python 3.8.1" in done.stderr


def test_help(checkout: Path) -> None:
    done = run_sh(checkout, "--help")
    assert done.returncode == 0
    assert "bash run.sh [TARGET] [--set KEY=VALUE ...]" in done.stdout


@pytest.mark.slow
def test_a_set_up_that_was_killed_is_finished_and_the_next_installs_nothing(checkout: Path) -> None:
    environ = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "CONDA_PREFIX")}
    first = subprocess.Popen(["bash", "run.sh"], cwd=checkout, env=environ, start_new_session=True)
    while not (checkout / ".venv" / "bin" / "uv").exists():  # the packages come next
        assert first.poll() is None
        time.sleep(0.1)
    os.killpg(first.pid, 9)
    first.wait()
    assert not (checkout / ".venv" / "ready").exists()
    done = run_sh(checkout, "configs/none.toml", PYTHONDONTWRITEBYTECODE="1", PYTHONPYCACHEPREFIX="")
    assert "making .venv" in done.stdout and done.returncode == 2
    assert (checkout / ".venv" / "ready").is_file()
    assert list((checkout / ".venv").glob("lib/*/site-packages/torch/__pycache__/__init__.*.pyc"))
    again = run_sh(checkout, "configs/none.toml")
    assert "making .venv" not in again.stdout and again.returncode == 2


@pytest.mark.slow
def test_two_first_calls_at_once_install_once(checkout: Path) -> None:
    environ = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "CONDA_PREFIX")}
    command = ["bash", "run.sh", "configs/none.toml"]
    calls = [
        subprocess.Popen(command, cwd=checkout, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [call.communicate()[0] for call in calls]
    assert [call.returncode for call in calls] == [2, 2]
    assert sum("making .venv and installing" in output for output in outputs) == 1
    assert sum("another call is making .venv" in output for output in outputs) == 1


@pytest.mark.slow
@pytest.mark.parametrize("python", ["python3.11", "python3.12"])
def test_the_fast_suite_passes_with_the_oldest_torch(checkout: Path, python: str) -> None:
    # A launcher may stand for a version that is not there.
    found = shutil.which(python)
    if found is None or subprocess.run([found, "-c", ""], capture_output=True).returncode:
        pytest.skip(f"no {python} here")
    subprocess.run([python, "-m", "venv", ".venv"], cwd=checkout, check=True)
    subprocess.run([".venv/bin/python", "-m", "pip", "install", "-q", "uv"], cwd=checkout, check=True)
    uv = [
        ".venv/bin/uv",
        "pip",
        "install",
        "-q",
        "--python",
        ".venv/bin/python",
        "-r",
        "pyproject.toml",
        "--extra",
        "test",
    ]
    subprocess.run([*uv, "torch==2.11.*", "torchvision==0.26.*"], cwd=checkout, check=True)
    done = subprocess.run([".venv/bin/python", "-m", "pytest", "-q"], cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:]
