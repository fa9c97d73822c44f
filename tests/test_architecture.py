"""The house stays as drawn: imports point one way, rooms stay small, the top level clear, data hold no code."""

import ast
import csv
import re
import subprocess
from pathlib import Path

import pytest

import pipeline
from pipeline.cli import DEFAULT_CONFIG
from pipeline.config_file import load

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "pipeline").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
TEST_FILES = [path for path in TESTS if path.stem.startswith("test_") or path.stem == "conftest"]
# The later may import the earlier. Stages import all, and never each other.
ROOMS = ["base", "competition", "detection", "images", "audit", "model", "scores", "recipes", "engine", "page", "stage"]
BASE = {
    "section",
    "competition_config",
    "config",
    "combinations",
    "config_file",
    "log",
    "signals",
    "files",
    "paths",
    "stamps",
    "freshness",
    "cli",
    "cores",
}
BASE |= {"nearest", "randomness", "environment", "practice_sources", "durations", "plan", "quoting", "image_kinds"}
BASE |= {"text_table", "stopwatch", "bars", "as_made", "others", "processes", "sharing", "dealing"}
BASE |= {"launch", "gpus", "archive_names", "roots", "__init__"}
TOP = {"pipeline", "input", "output", "folds", "configs", "tests", "run.sh", "pyproject.toml", "README.md"}


def room(parts: tuple[str, ...]) -> str:
    """The room of a module `pipeline.<parts>`."""
    if len(parts) > 1 or (ROOT / "pipeline" / parts[0]).is_dir():
        return parts[0]
    if parts[0] in ROOMS:
        return parts[0]
    return "base" if parts[0] in BASE else "stage"


def imports(path: Path) -> list[tuple[str, ...]]:
    """Parts after `pipeline` of every import in a module, wherever it stands."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module] if node.module != "pipeline" else [f"pipeline.{alias.name}" for alias in node.names]
            if node.module.count(".") == 1:
                names += [
                    f"{node.module}.{a.name}"
                    for a in node.names
                    if (ROOT / f"{node.module.replace('.', '/')}/{a.name}.py").is_file()
                ]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found += [tuple(name.split(".")[1:]) for name in names if name.startswith("pipeline.")]
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    parts = path.relative_to(ROOT / "pipeline").with_suffix("").parts
    own = room(parts)
    for target in imports(path):
        other = room(target)
        assert ROOMS.index(other) <= ROOMS.index(own), f"{path}: {own} imports {other}"
        assert not (own == other == "stage"), f"{path}: a stage imports a stage"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_rooms_stay_small(path: Path) -> None:
    lines = path.read_text(encoding="ascii").splitlines()
    assert len(lines) <= 400, "a module holds one idea; past so many lines it rarely does"


def test_no_room_holds_more_than_a_quarter_of_the_lines() -> None:
    lines: dict[str, int] = {}
    for path in MODULES:
        name = room(path.relative_to(ROOT / "pipeline").with_suffix("").parts)
        lines[name] = lines.get(name, 0) + len(path.read_text(encoding="ascii").splitlines())
    assert max(lines.values()) <= sum(lines.values()) / 4, lines


def test_competition_never_imports_torch() -> None:
    for path in (ROOT / "pipeline" / "competition").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] in ("torch", "timm", "torchvision") for name in names), path


def test_data_hold_no_code() -> None:
    """No pickle, no eval; `practice` alone lets torchvision unpickle its own checksummed files."""
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [a.name for a in node.names] + [getattr(node, "module", "") or ""]
                assert not {"pickle", "dill", "joblib", "marshal"} & {name.split(".")[0] for name in names}, path
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                owner = getattr(getattr(node.func, "value", None), "id", "")
                keywords = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
                assert not (name in ("eval", "exec") and isinstance(node.func, ast.Name)), path
                assert keywords.get("allow_pickle") is not True, path
                assert keywords.get("shell") is not True, path
                assert keywords.get("weights_only") is not False, path
                assert (owner, name) not in {("yaml", "load"), ("os", "system"), ("os", "popen")}, path
                if (owner, name) == ("torch", "load"):
                    assert keywords.get("weights_only") is True, path


def test_the_map_names_every_room_and_stage() -> None:
    text = pipeline.__doc__ or ""
    for path in MODULES:
        parts = path.relative_to(ROOT / "pipeline").with_suffix("").parts
        name = parts[-1] if parts[-1] != "__init__" else parts[0]
        # A family of downloads is one file: no other one, this map neither, knows of it.
        if parts[0] != "__init__" and (parts[1:2] != ("readings",) or name == "readings"):
            assert name in text, f"{name} is not on the map in pipeline/__init__.py"


def defined(tree: ast.AST) -> set[str]:
    """Names that a module gives to functions, classes, variables and attributes."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    names = {node.name for node in ast.walk(tree) if isinstance(node, kinds)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.id if isinstance(node, ast.Name) else node.attr)
    return names


def imported(tree: ast.AST) -> set[str]:
    """Every word of a module's imports."""
    words: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom | ast.Import):
            for name in (getattr(node, "module", None) or "", *(alias.name for alias in node.names)):
                words |= set(name.split("."))
    return words


def test_no_test_imports_another() -> None:
    for path in TESTS:
        found = imported(ast.parse(path.read_text(encoding="utf-8"))) & {other.stem for other in TEST_FILES}
        assert not found, f"{path}: what several tests need stands in a module of its own beside them"


def test_tests_use_what_is_public() -> None:
    """No private name of the pipeline is imported, behind a dot, or the last of a text such as "pipeline.files.x"."""
    defined_there = set().union(*(defined(ast.parse(path.read_text(encoding="utf-8"))) for path in MODULES))
    private = {name for name in defined_there if re.match("_[^_]", name)}
    for path in TESTS:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        used = imported(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                used.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                used.add(node.value.rpartition(".")[2])
        found = used & private - defined(tree)
        assert not found, f"{path}: what tests need is public, or seen from outside"


def tracked(folder: str = ".") -> list[str]:
    """The project's own files, as git knows them."""
    done = subprocess.run(["git", "ls-files", folder], cwd=ROOT, capture_output=True, text=True)
    if done.returncode or not done.stdout:
        pytest.skip("no git checkout")
    return done.stdout.splitlines()


def test_the_top_level_is_what_is_drawn() -> None:
    top = {name.split("/")[0] for name in tracked()}
    assert {name for name in top if not name.startswith(".")} <= TOP


def test_no_competition_stands_in_the_code() -> None:
    names = [
        "cactus",
        "cassava",
        "aptos",
        "herbarium",
        "hotel",
        "inaturalist",
        "iwildcam",
        "paddy",
        "plant",
        "dacon",
        "kaggle",
    ]
    for path in MODULES:
        # Notebooks have there what is attached to them, whatever the competition; and a variable says what they are.
        text = path.read_text().lower().replace("/kaggle/input", "").replace("kaggle_kernel_run_type", "")
        assert not [name for name in names if name in text], path


# Words that any competition may use, and the documented names of a class in which nothing is to be found.
COMMON = {
    "category",
    "cover",
    "healthy",
    "image",
    "images",
    "label",
    "labels",
    "name",
    "normal",
    "predicted",
    "sample_submission",
    "test",
    "train",
}


@pytest.mark.shared
def test_no_column_class_or_folder_of_the_miniatures_stands_in_the_code(shared: Path) -> None:
    words: set[str] = set()
    for public in (shared / "competitions" / "mini").glob("*/public"):
        words |= {path.name.split(".")[0] for path in [*public.glob("*"), *public.glob("*/*/")] if path.is_dir()}
        words |= {path.name.split(".")[0] for path in public.glob("*")}
        for path in public.glob("*.csv"):
            header, *rows = csv.reader(path.read_text(encoding="utf-8").splitlines())
            columns = [set(column) for column in zip(*rows, strict=True)]
            words |= {
                *header,
                *(part for cells in columns if len(cells) <= 150 for cell in cells for part in cell.split()),
            }
    wanted = {word.lower() for word in words if len(word) >= 3 and not re.fullmatch(r"[\d.:-]+", word)} - COMMON
    assert len(wanted) > 150
    for path in MODULES:
        found = wanted & set(re.findall(r"[\w-]+", path.read_text(encoding="utf-8").lower()))
        assert not found, path


# Users copy configs to change them: what is said of the project's own is not asked of theirs.
CONFIGS = re.findall(r"^\| `(configs/\w+\.toml)` \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)


def test_the_readme_lists_the_project_s_configs() -> None:
    assert sorted(CONFIGS) == sorted(tracked("configs"))


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_is_sound_and_opens_with_its_command(name: str) -> None:
    load(ROOT / name)
    assert (ROOT / name).read_text().startswith(f"# bash run.sh{'' if name == DEFAULT_CONFIG else f' {name}'}\n")
