"""Settings: every mistake is one sentence that names the key, the value and what is allowed."""

import json
import shlex
import subprocess
import sys
from inspect import signature
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cli import load_target
from pipeline.combinations import DETECTED_WIDTH, WIDE
from pipeline.config import Config, ConfigError, sections
from pipeline.config_file import check, load, to_toml
from pipeline.model import networks
from pipeline.model.weight_names import OWN

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"train": {"epochs": 3}}, "Unknown setting 'train.epochs'. Did you mean 'train.num_epochs'?"),
        ({"trian": {}}, "Unknown setting 'trian'. Did you mean 'train'?"),
        ({"train": {"lr": float("nan")}}, "'train.lr': input should be a finite number. Got nan"),
        ({"train": {"seed": True}}, "'train.seed': input should be a valid integer. Got True"),
        ({"train": {"lr": "0.1"}}, "'train.lr': input should be a valid number. Got '0.1'"),
        ({"train": {"num_epochs": 0}}, "greater than or equal to 1. Got 0"),
        ({"folds": {"num_folds": 1}}, "'num_folds' must be 0 or at least 2. Got 1"),
        ({"folds": {"num_folds": 0}}, "'num_folds = 0' needs 'full_fit = true'"),
        ({"image": {"margin": 0.5}}, "'image.margin': input should be greater than or equal to 1. Got 0.5"),
        ({"augment": {"policy": "auto"}}, "'autoaugment-imagenet'"),
        ({"data": 3}, "'data': input should be"),
    ],
)
def test_a_wrong_setting_is_one_sentence(values: dict, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        check(values)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_overrides_are_toml_unless_the_setting_is_text(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("[train]\nlr = 0.5\n")
    cfg = load(
        path,
        ["train.lr=0.25", "model.name=lenet5", 'data.labels=["a", "b"]', "folds.full_fit=true", "image.channels=1"],
    )
    assert (cfg.train.lr, cfg.model.name, cfg.data.labels, cfg.folds.full_fit, cfg.image.channels, cfg.name) == (
        0.25, "lenet5", ("a", "b"), True, 1, "run",
    )  # fmt: skip


@pytest.mark.parametrize(
    "override", ["train.lr", "lr=1", "train.speed=1", "train.lr=fast", "train.lr=1\nx=2", "=1", "train.=1", ".lr=1"]
)
def test_a_wrong_override_is_refused(tmp_path: Path, override: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text("")
    with pytest.raises(ConfigError):
        load(path, [override])


@pytest.mark.parametrize("text", ["[train", "name = 'x'", "data = 3", "\x00", "[train]\nlr = nan"])
def test_a_broken_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        load(path)


def test_a_missing_file_names_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load(tmp_path / "none.toml")


def test_settings_survive_their_own_toml(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    cfg = check({"name": "run", "path": str(path), "data": {"labels": ("고양이", 'a"b\\c')}, "train": {"lr": 1e-7}})
    path.write_text(to_toml(cfg), encoding="utf-8")
    assert load(path) == cfg


def test_every_setting_is_documented() -> None:
    for name, section in sections():
        for key, field in section.model_fields.items():
            assert field.description, f"{name}.{key}"


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_any_value_is_taken_or_refused_in_one_line(value: object) -> None:
    for name, section in sections():
        for key in section.model_fields:
            try:
                cfg = check({name: {key: value}})
            except ConfigError as error:
                assert "\n" not in str(error)
            else:
                assert isinstance(cfg, Config)


STAGES = ["detect", "prepare", "folds", "train", "infer", "ensemble", "check", "practice"]
ANSWERS = """
import contextlib, io, json, runpy, sys
heavy, answers = {'torch', 'pandas', 'timm', 'sklearn', 'cv2', 'torchvision', 'pyarrow'}, {}
for stage in sys.argv[1:]:
    for arguments in ('--help', '--bogus 1', '--config configs/none.toml'):
        sys.argv, said, status = ['x', *arguments.split()], io.StringIO(), None
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
            try:
                runpy.run_module(f'pipeline.{stage}', run_name='__main__')
            except SystemExit as error:
                status = error.code
        lines = len(said.getvalue().splitlines())
        answers[f'{stage} {arguments}'] = [status, lines, sorted(heavy & set(sys.modules))]
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def answers() -> dict[str, list[object]]:
    """What a fresh process answers to a stage and its arguments: exit status, lines on stderr, heavy packages."""
    done = subprocess.run([sys.executable, "-c", ANSWERS, *STAGES], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("stage", STAGES)
def test_help_and_mistakes_answer_before_anything_heavy(answers: dict[str, list[object]], stage: str) -> None:
    assert answers[f"{stage} --help"] == [0, 0, []]
    assert answers[f"{stage} --bogus 1"] == [2, 1, []]
    if stage != "practice":
        assert answers[f"{stage} --config configs/none.toml"] == [2, 1, []]


def test_what_a_message_tells_to_run_has_the_settings_of_this_call(tmp_path: Path) -> None:
    path = tmp_path / "a b.toml"
    path.write_text("")
    cfg = load(path, ["train.lr=0.5", 'infer.views=["identity", "hflip"]'])
    words = shlex.split(cfg.options)
    assert words[:2] == ["--config", str(path)] and words[2] == "--set"
    again = load(Path(words[1]), words[3:])
    assert again.train.lr == 0.5 and again.infer.views == ("identity", "hflip")
    assert load(path).options == f"--config '{path}'"


def test_names_that_a_shell_or_a_parser_would_read_otherwise_are_quoted(workplace: Path) -> None:
    Path("-x.toml").write_text("")
    assert load(Path("-x.toml")).options == "--config ./-x.toml"
    Path("input/a b").mkdir()
    with pytest.raises(ConfigError, match=r"python -m pipeline\.detect --config 'input/a b'$"):
        load_target(Path("input/a b"), [])


def test_a_wrong_value_names_where_it_came_from(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("")
    with pytest.raises(ConfigError, match=r"with --set train\.lr=-1: 'train.lr'"):
        load(path, ["train.lr=-1"])
    with pytest.raises(ConfigError) as caught:
        load(path, ['infer.views=["hflop"]'])
    assert "hflop" in str(caught.value) and "at least 1" not in str(caught.value)
    assert load(path, ['infer.views=["hflip+shift_up"]']).infer.views == ("hflip+shift_up",)
    for wrong in ("hflip+", "hflip+identity", "", "hflip shift_up"):
        with pytest.raises(ConfigError, match="a view must be identity, or moves joined by"):
            load(path, [f'infer.views=["{wrong}"]'])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("train.freeze_epochs=10",), "train.freeze_epochs must be less than train.num_epochs"),
        (("train.focal_gamma=1.0",), "train.focal_gamma is read with train.loss = 'focal' alone. Got 1.0 with 'auto'"),
        (("train.focal_gamma=1.0", "train.loss=nll"), "Got 1.0 with 'nll': set the loss, or leave it out"),
        (
            ("model.width=16",),
            "model.width is read for resnet9 and cifarnet alone. Got 16 for 'resnet18'",
        ),
        (("train.head=probe",), "train.head = 'probe' needs a network that starts from published weights"),
        (
            ("train.shard=true", "train.optimizer=muon"),
            "train.shard = true needs an optimizer that never looks at a whole matrix: sgd, nesterov, adam, adamw, "
            "rmsprop. Got 'muon'",
        ),
        (("train.shard=true", "train.optimizer=lamb"), "Got 'lamb': take one of these, or train.shard = false"),
        (("train.shard=true", "train.time_limit=1h"), "train.time_limit measures what one process does"),
    ],
)
def test_what_would_be_ignored_is_refused(tmp_path: Path, settings: tuple[str, ...], message: str) -> None:
    path = tmp_path / "x.toml"
    path.write_text("")
    with pytest.raises(ConfigError) as caught:
        load(path, settings)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        ("train.freeze_epochs=9",),
        ("train.focal_gamma=1.0", "train.loss=focal"),
        ("train.focal_gamma=2.0",),
        ("model.width=16", "model.name=cifarnet"),
        (f"model.width={DETECTED_WIDTH}",),
        ("train.head=probe", "model.weights=w.pth"),
        ("train.head=probe", "model.pretrained=true"),
        ("train.shard=true", "train.optimizer=sgd"),
        ("train.optimizer=muon",),
    ],
)
def test_what_is_read_is_not_refused(tmp_path: Path, settings: tuple[str, ...]) -> None:
    """Nor the width that detection wrote for another network."""
    path = tmp_path / "x.toml"
    path.write_text("")
    assert load(path, settings).overrides == settings


def test_the_networks_with_a_width_are_those_that_take_one() -> None:
    classes = [network for network in vars(networks).values() if hasattr(network, "min_size")]
    taking = [network.__name__.lower() for network in classes if "width" in signature(network).parameters]
    assert len(classes) == len(OWN) and sorted(taking) == sorted(WIDE)
