"""The plan of a run that has a time limit: output/<run>/plan.json, by which every stage reads its settings.

`engine/planning.py` makes it once, before the first model, from how fast this machine is. It is the one place where a
clock decides anything; from then on the run's settings are the planned ones, whoever asks, at whatever pace.
"""

import time
from logging import INFO
from pathlib import Path
from typing import Any

from pipeline.config import Config, ConfigError, settings_of
from pipeline.config_file import check
from pipeline.files import InputError, read_json
from pipeline.freshness import read_inputs, train_stamp
from pipeline.log import log, say_once
from pipeline.paths import all_folds, run_dir
from pipeline.stamps import changes, note

Plan = dict[str, dict[str, Any]]
_STARTED = time.monotonic()


def elapsed() -> float:
    """Seconds since this process began, which is since the run did where all stages share it."""
    return time.monotonic() - _STARTED


def plan_path(cfg: Config) -> Path:
    """The plan; every model that was trained by it holds a copy in its stamp."""
    return run_dir(cfg) / "plan.json"


def planned(cfg: Config) -> Config:
    """The settings of a run: with a time limit those that its plan decided, once there is one. Models that were trained
    by a plan keep it, where nothing is said of a limit.

    Raises:
        InputError: models are trained by a plan that was made for other settings.
        ConfigError: the plan decided what no setting can be.
    """
    if cfg.planned:
        return cfg
    models_are_there = is_trained(cfg)
    if not cfg.train.time_limit and not models_are_there:
        return cfg
    plan = read_plan(cfg)
    if plan is None:
        return cfg
    if not cfg.train.time_limit:
        return _as_trained(cfg, plan)
    asked = planned_from(cfg)
    if models_are_there:
        # How a model is asked, and how many there are, may change: what was trained is as long as it is.
        asked = {name: asked[name] for name in settings_of(cfg, "train")}
    made_from = {name: values for name, values in plan["made_from"].items() if name in asked}
    changed = changes(made_from, asked)
    if not changed:
        values = cfg.model_dump(mode="json")
        for section, decided in plan["decided"].items():
            values[section] = {**values[section], **decided}
        named = {"name": cfg.name, "path": cfg.path, "overrides": cfg.overrides, "planned": True}
        named["asked_image"] = cfg.image
        return check({**values, **named}, str(plan_path(cfg)))
    if models_are_there:
        raise InputError(
            f"{run_dir(cfg)} holds models trained by the plan of a time limit; changed: {', '.join(changed)}. "
            f"Keep them and train under another name (copy {cfg.path}), or delete {run_dir(cfg)}"
        )
    return cfg


def _as_trained(cfg: Config, plan: Plan) -> Config:
    """The settings without a limit, of a run whose models hold a plan: with the plan's, if nothing else differs."""
    limit = plan["made_from"].get("train", {}).get("time_limit")
    is_of_models = any(note(train_stamp(cfg, fold), "plan") for fold in all_folds(cfg))
    if not isinstance(limit, str) or not limit or not is_of_models:
        return cfg
    limited = cfg.model_copy(update={"train": cfg.train.model_copy(update={"time_limit": limit})})
    try:
        kept = planned(limited)
    except (ConfigError, InputError):
        return cfg  # what else differs is said where it counts
    if kept.planned:
        message = "plan: that of train.time_limit = '%s' is kept, by which the models were trained"
        say_once("plan is kept", INFO, message, limit)
    return kept if kept.planned else cfg


def plan_is_due(cfg: Config) -> bool:
    """Whether a plan is to be made: there is a limit, no plan yet, and no model either, which others must equal."""
    if not cfg.train.time_limit or cfg.planned:
        return False
    trained = is_trained(cfg)
    if trained and not all(train_stamp(cfg, fold).is_file() for fold in all_folds(cfg)):
        log.info(
            "plan: none. Models are there that were trained without a time limit, and the others are trained alike"
        )
    return not trained


def is_trained(cfg: Config) -> bool:
    """Whether the run has any model."""
    return any(train_stamp(cfg, fold).is_file() for fold in all_folds(cfg))


def read_plan(cfg: Config) -> Plan | None:
    """The run's plan, or a model's copy of it; None where there is none that is whole."""
    known = (note(train_stamp(cfg, fold), "plan") for fold in all_folds(cfg))
    for plan in (read_json(plan_path(cfg)), *known):
        if isinstance(plan, dict) and all(_is_table(plan.get(name)) for name in ("made_from", "decided")):
            return plan
    return None


def _is_table(value: Any) -> bool:
    """Whether it is settings by section."""
    sections = Config.model_fields
    return isinstance(value, dict) and all(isinstance(value[name], dict) for name in value if name in sections)


def planned_from(cfg: Config) -> dict[str, Any]:
    """What a plan is made from: the limit, all that training depends on, how many models there are and how each is
    asked, and the images.
    """
    asked, inputs = settings_of(cfg, "train"), read_inputs(cfg)
    return {
        **asked,
        "train": {**asked["train"], "time_limit": cfg.train.time_limit},
        "folds": cfg.folds.model_dump(mode="json"),
        "infer": cfg.infer.model_dump(mode="json"),
        "train images": inputs.train,
        "test images": inputs.test,
    }
