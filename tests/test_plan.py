"""A run within a time limit: what the plan decides, by paces that are given, and who keeps to it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import folds, infer, prepare, train
from pipeline.competition.folds.fold_table import Labelled
from pipeline.config import Config, ConfigError
from pipeline.config_file import load
from pipeline.engine import pace as pace_module
from pipeline.engine import planning
from pipeline.engine.limit import Pace
from pipeline.files import lock
from pipeline.freshness import train_stamp
from pipeline.images.cache import Images
from pipeline.log import with_log
from pipeline.plan import Plan, plan_is_due, plan_path, planned, read_plan
from pipeline.stamps import made_from, note
from running import CONFIG, RUN, forget, run_all, run_sh

# Its competition has 24 train images in two folds: an epoch of both trains on 24 and validates 24. Limits are of a
# hundred seconds, of which a plan takes 85, and 3 are for what follows the models.
LIMIT = "train.time_limit=100s"
ROOT = Path(__file__).parent.parent
Pacer = Callable[[float], None]


@pytest.fixture
def at_pace(monkeypatch: pytest.MonkeyPatch) -> Pacer:
    """A function that gives the pace: seconds for an image of 12 px that is trained on, fewer of smaller ones."""
    monkeypatch.setattr(planning, "elapsed", lambda: 0.0)

    def at(seconds: float) -> None:
        def measured(cfg: Config, *_: object) -> Pace:
            each = seconds * (cfg.image.size / 12) ** 2
            return Pace(0.0, each, each, 0.0, 0.0, 0.0)

        monkeypatch.setattr(planning, "measure", measured)

    return at


def plan() -> Plan:
    written: Plan = json.loads((RUN / "plan.json").read_text(encoding="utf-8"))
    return written


def trained_settings(fold: int = 0) -> tuple[int, int]:
    """Epochs and image size of a model, by its stamp and its file's history."""
    cfg = load(Path("configs/tiny.toml"))
    made = made_from(train_stamp(cfg, fold))
    assert len((RUN / f"fold{fold}" / "history.csv").read_text().splitlines()) == 1 + made["train"]["num_epochs"]
    return made["train"]["num_epochs"], made["image"]["size"]


Split = Callable[..., Config]


@pytest.fixture
def split(competition: Callable[..., Config]) -> Split:
    """A function that makes a competition whose images are decoded and split, of these settings."""

    def make(*settings: str, limit: str = LIMIT) -> Config:
        competition()
        cfg = load(Path("configs/tiny.toml"), [limit, *settings])
        prepare.prepare(cfg)
        folds.make_folds(cfg)
        return cfg

    return make


@pytest.mark.parametrize(
    ("pace", "num_epochs", "size", "said"),
    [
        (82 / 24 / 4.5, 4, 12, "4 epochs instead of 6: about 76 seconds"),
        (82 / 24 / 7.5, 7, 12, "7 epochs instead of 6: about 80 seconds"),
        (82 / 24 / 6.5, 6, 12, "6 epochs, as asked for: about 79 seconds"),
        (82 / 24 / 2, 4, 8, "4 epochs instead of 6, images of 8 px instead of 12: about 76 seconds"),
        # Not even the fewest, four, fit at the smallest size, and then not even one.
        (82 / 24, 2, 8, "2 epochs instead of 6, images of 8 px instead of 12: about 76 seconds"),
        (82 / 24 * 4, 1, 8, "1 epoch instead of 6, images of 8 px instead of 12: about 2.5 minutes"),
    ],
)
def test_the_run_takes_what_fits(
    split: Split,
    at_pace: Pacer,
    capsys: pytest.CaptureFixture[str],
    pace: float,
    num_epochs: int,
    size: int,
    said: str,
) -> None:
    cfg = split("train.num_epochs=6")
    at_pace(pace)
    with_log(None)
    chosen = planning.make_plan(cfg)
    lines = capsys.readouterr().out.splitlines()
    assert f"plan: {said}" in lines
    assert (chosen.train.num_epochs, chosen.image.size, chosen.image.stored) == (num_epochs, size, 12)
    assert chosen.planned and planned(cfg) == chosen
    too_short = [line for line in lines if line.startswith("plan: train.time_limit must be")]
    assert len(too_short) == (num_epochs == 1)


def test_a_limit_that_is_too_short_names_the_least(
    split: Split, at_pace: Pacer, capsys: pytest.CaptureFixture[str]
) -> None:
    """24 images take 24 x 10 s at the smallest size: 243 s in all, 286 with what a plan keeps free."""
    cfg = split()
    at_pace(10 * (12 / 8) ** 2)
    with_log(None)
    planning.make_plan(cfg)
    assert (
        "plan: train.time_limit must be about 5m here for one epoch of each model. Got 100s: one is trained all the "
        "same, and the run ends later; a smaller model.name or fewer folds.num_folds take less time"
    ) in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("has_own", "num_epochs", "said"), [(True, 9, "plan: 2 models by 2 processes"), (False, 4, "plan: 4 epochs")]
)
def test_processes_with_a_gpu_each_train_models_at_the_same_time(
    split: Split,
    at_pace: Pacer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    has_own: bool,
    num_epochs: int,
    said: str,
) -> None:
    """Each trains on the 12 images of one fold; those that share a processor train no faster than one."""
    cfg = split("train.num_epochs=6")
    at_pace(82 / 24 / 4.5)
    monkeypatch.setattr(planning, "count", lambda: 2)
    monkeypatch.setattr(planning, "have_own_gpus", lambda: has_own)
    with_log(None)
    assert planning.make_plan(cfg).train.num_epochs == num_epochs and said in capsys.readouterr().out


def test_sizes_that_cannot_fit_are_not_measured(split: Split, at_pace: Pacer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two epochs of 12 px fit into 82 s, of 16 px take 117 s and of 20 px 182 s: from 24 px on, 12 px are next."""
    cfg = split("image.size=24")
    at_pace(82 / 24 / 2.5)
    measured, sizes = planning.measure, []

    def counted(cfg: Config, *rest: object) -> Pace:
        sizes.append(cfg.image.size)
        return measured(cfg, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(planning, "measure", counted)
    chosen = planning.make_plan(cfg)
    assert sizes == [24, 12] and (chosen.train.num_epochs, chosen.image.size) == (2, 12)


def test_what_has_elapsed_counts(split: Split, at_pace: Pacer, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = split("train.num_epochs=12")
    at_pace(82 / 24 / 10)
    monkeypatch.setattr(planning, "elapsed", lambda: 40.0)
    assert planning.make_plan(cfg).train.num_epochs == 5  # 0.85 x 60 s, less 3 s, are 48 s; an epoch takes 8.2 s


def test_a_size_that_the_network_refuses_is_passed_over(
    split: Split, at_pace: Pacer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = split("image.size=20")
    at_pace(82 / 24 / 4.5)
    measured = planning.measure

    def refused(cfg: Config, *rest: object) -> Pace:
        if cfg.image.size == 16:
            raise ConfigError("model.name must work with image.size = 16")
        return measured(cfg, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(planning, "measure", refused)
    with_log(None)
    assert planning.make_plan(cfg).image.size == 12
    assert "plan: images of 16 px are not tried. model.name must work with image.size = 16" in capsys.readouterr().out


def test_without_a_limit_there_is_no_plan(competition: Callable[..., Config]) -> None:
    competition()
    assert run_all() == 0
    assert not (RUN / "plan.json").exists()


def nothing_is_measured(*_: object) -> Pace:
    raise AssertionError("the plan is there")


@pytest.fixture
def limited(competition: Callable[..., Config], at_pace: Pacer, monkeypatch: pytest.MonkeyPatch) -> Config:
    """A run within its limit, of three epochs where two are asked for; its pace is not to be measured again."""
    cfg = competition()
    at_pace(82 / 24 / 3.5)
    assert run_all(LIMIT) == 0
    assert trained_settings() == (3, 12)
    monkeypatch.setattr(planning, "measure", nothing_is_measured)
    return cfg


def test_every_stage_keeps_to_the_plan(limited: Config, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run_sh(LIMIT) == 0
    said = capsys.readouterr().out
    assert all(f"{stage} {fold}: up to date" in said for stage in ("train", "infer") for fold in (0, 1))
    assert "changed since" not in said, "what is planned is what the run was made with"
    (RUN / "fold1" / "infer.json").unlink()
    assert infer.main([*CONFIG, "--fold", "1", "--set", LIMIT]) == 0
    assert "infer 1: 8 test images, 12 oof" in capsys.readouterr().out


def test_a_model_that_is_lost_is_trained_again_by_the_plan(limited: Config) -> None:
    before = (RUN / "fold1" / "model.safetensors").read_bytes()
    shutil.rmtree(RUN / "fold1")
    assert train.main([*CONFIG, "--fold", "1", "--set", LIMIT]) == 0
    assert (RUN / "fold1" / "model.safetensors").read_bytes() == before


def test_the_models_are_those_of_the_planned_settings(limited: Config) -> None:
    """Without a limit, with the epochs that the plan chose: as the run's config.toml has it."""
    before = (RUN / "fold0" / "model.safetensors").read_bytes()
    chosen = load(RUN / "config.toml")
    assert (chosen.train.num_epochs, chosen.train.time_limit) == (3, "")
    shutil.rmtree(RUN)
    assert run_all("train.num_epochs=3") == 0
    assert (RUN / "fold0" / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    "lost", ["gone", '{"made_from": 3, "decided": {}}', '{"made_from": {}, "decided": {"train": 3}}']
)
def test_a_plan_that_is_lost_is_in_every_model_s_stamp(limited: Config, lost: str) -> None:
    """So that models go elsewhere without it."""
    path = RUN / "plan.json"
    path.write_text(lost)
    if lost == "gone":
        path.unlink()
    (RUN / "fold0" / "infer.json").unlink()
    assert infer.main([*CONFIG, "--set", LIMIT]) == 0
    assert note(RUN / "fold0" / "train.json", "plan")["decided"]["train"]["num_epochs"] == 3


def test_a_plan_that_decides_nonsense_is_refused(limited: Config, capsys: pytest.CaptureFixture[str]) -> None:
    written = plan()
    written["decided"]["train"]["num_epochs"] = -1
    (RUN / "plan.json").write_text(json.dumps(written))
    assert infer.main([*CONFIG, "--set", LIMIT]) == 2
    assert "output/tiny/plan.json: 'train.num_epochs': input should be greater" in capsys.readouterr().err


def test_another_limit_after_training_says_what_differs(limited: Config, capsys: pytest.CaptureFixture[str]) -> None:
    before = (RUN / "fold0" / "model.safetensors").read_bytes()
    for stage in (train, infer):
        assert stage.main([*CONFIG, "--set", "train.time_limit=50s"]) == 1
        assert (
            'output/tiny holds models trained by the plan of a time limit; changed: train.time_limit ("100s" -> "50s").'
            " Keep them and train under another name (copy configs/tiny.toml), or delete output/tiny"
        ) in capsys.readouterr().err
    assert train.main([*CONFIG, "--set", LIMIT, "train.lr=0.02"]) == 1
    assert "changed: train.lr (0.01 -> 0.02)." in capsys.readouterr().err
    assert train.main([*CONFIG, "--set", "train.num_epochs=9"]) == 1
    assert "changed: train.num_epochs (3 -> 9)." in capsys.readouterr().err
    assert train.main(CONFIG) == infer.main(CONFIG) == 0, "models keep their plan where no limit is given"
    assert (RUN / "fold0" / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize("setting", ['infer.views=["hflip"]', "folds.full_fit=true"])
def test_what_no_model_depends_on_may_change_after_training(limited: Config, setting: str) -> None:
    models = (RUN / "fold0" / "model.safetensors").read_bytes()
    assert run_all(LIMIT, setting) == 0
    assert (RUN / "fold0" / "model.safetensors").read_bytes() == models


@pytest.mark.parametrize("setting", ["train.time_limit=50s", "train.lr=0.02", 'infer.views=["hflip"]', "folds.seed=1"])
def test_before_there_is_a_model_another_setting_asks_for_another_plan(
    split: Split, at_pace: Pacer, setting: str
) -> None:
    at_pace(82 / 24 / 3.5)
    planning.make_plan(split())
    changed = split(setting)
    assert not planned(changed).planned and plan_is_due(changed)
    assert planning.make_plan(changed).planned and planned(changed).planned
    assert not planned(load(Path("configs/tiny.toml"), [LIMIT])).planned


def test_a_training_under_way_keeps_its_plan(competition: Callable[..., Config], at_pace: Pacer) -> None:
    """Stopped in the midst of its first model, at a pace that is another when it goes on."""
    competition()
    at_pace(82 / 24 / 3.5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.engine.history.line", stopped)
        assert run_all(LIMIT) == 1
    at_pace(82 / 24)
    assert run_all(LIMIT) == 0
    assert trained_settings() == (3, 12)


def stopped(*_: object) -> str:
    raise OSError("stopped here")


def test_models_that_are_there_decide_before_any_plan(
    competition: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A limit that comes later asks for no other models, and shortens none that must equal these."""
    competition()
    monkeypatch.setattr(planning, "measure", nothing_is_measured)
    assert run_all() == 0
    said = "plan: none. Models are there that were trained without a time limit, and the others are trained alike"
    capsys.readouterr()
    assert run_all(LIMIT) == 0
    assert "plan:" not in capsys.readouterr().out
    shutil.rmtree(RUN / "fold1")
    assert run_all(LIMIT) == 0
    lines = capsys.readouterr().out.splitlines()
    assert said in lines and "train 0: up to date" in lines
    assert trained_settings(1) == (2, 12)


def test_two_processes_agree(limited: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes second takes the plan of the first, which was not there when it began."""
    forget("train.json", "model.safetensors")
    cfg = load(Path("configs/tiny.toml"), [LIMIT])
    assert plan_is_due(cfg)
    again = planning.make_plan(cfg)
    assert again.planned and again.train.num_epochs == 3 and not plan_is_due(again)
    assert planned(again) is again


WAITS = """
import sys
from pathlib import Path
from pipeline.files import lock
print("asks", flush=True)
with lock(Path(sys.argv[1]), "it", (), wait=True):
    print(Path(sys.argv[2]).is_file())
"""


def test_a_lock_is_waited_for_where_that_is_asked(tmp_path: Path) -> None:
    """Who waits for it sees what its holder has done last."""
    path, done = tmp_path / "lock", tmp_path / "done"
    command, paths = [sys.executable, "-c", WAITS, str(path), str(done)], {"PYTHONPATH": str(ROOT)}
    with lock(path, "it", ()):
        other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **paths})
        assert other.stdout is not None and other.stdout.readline() == "asks\n"
        done.touch()
    assert other.communicate()[0] == "True\n" and other.returncode == 0


def test_measuring_leaves_no_trace(
    competition: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever it finds: the models are those of the settings, and nothing is left in the run's folder."""
    competition()
    assert run_all() == 0
    models = [(RUN / f"fold{fold}" / "model.safetensors").read_bytes() for fold in (0, 1)]
    shutil.rmtree(RUN)
    found: list[Pace] = []

    def measured(cfg: Config, labelled: Labelled, images: Images, _: float) -> Pace:
        found.append(pace_module.measure(cfg, labelled, images, 0.0))
        assert sorted(path.name for path in RUN.iterdir() if path.name.startswith(".")) == []
        return Pace(0.0, 82 / 24 / 2, 82 / 24 / 2, 0.0, 0.0, 0.0)

    monkeypatch.setattr(planning, "measure", measured)
    monkeypatch.setattr(planning, "elapsed", lambda: 0.0)
    capsys.readouterr()
    assert run_all(LIMIT) == 0
    assert [(RUN / f"fold{fold}" / "model.safetensors").read_bytes() for fold in (0, 1)] == models
    (pace,) = found
    assert min(vars(pace).values()) > 0
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("train 0:")] == [
        "train 0: mlp on 12 images, 12 validate, cpu, 1 threads, float32"
    ]


def test_a_plan_without_a_limit_is_that_of_models(limited: Config) -> None:
    assert read_plan(limited) == plan() and plan_path(limited) == RUN / "plan.json"
    kept = planned(limited)
    assert kept.planned and kept == planned(load(Path("configs/tiny.toml"), [LIMIT])).model_copy(
        update={"overrides": ()}
    )
    for fold in (0, 1):
        train_stamp(limited, fold).unlink()
    assert planned(limited) is limited
