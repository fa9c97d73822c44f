"""Every setting: exactly the products that depend on it are made anew or refused, and no others."""

import hashlib
import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from making import write_table
from pipeline.config import Config, sections
from pipeline.config_file import load
from pipeline.freshness import (
    audited,
    ensembled_from,
    folds_from,
    inferred_from,
    prepared_from,
    probed_from,
    read_inputs,
    trained_from,
)
from pipeline.images.cache import cache_dir
from pipeline.model import chosen, published
from pipeline.model.chosen import chosen_weights
from pipeline.paths import folds_path
from pipeline.section import Stage
from played_hub import PlayedHub
from running import run_all

STAGES: dict[str, Stage] = {
    "P": "prepare",
    "F": "folds",
    "S": "probe",
    "T": "train",
    "I": "infer",
    "E": "ensemble",
}
# Another value of each setting, and the stages whose product is another by it alone, while every product before it is
# what it was.
#
# A model holds the settings of [image], [augment], [model] and [train], so predictions are compared with these too.
# Folds have their settings in their name: of another name there are none yet.
CHANGES: dict[str, tuple[str, str]] = {
    "data.root": ("input/other", "P F S T I E"),
    "data.train": ("answers.csv", "P F S T I E"),
    "data.extra": ('["train.csv"]', "P F S T I E"),
    "data.id": ("label", "P F S T I E"),
    "data.labels": ('["id"]', "F S T I E"),
    "data.tag_separator": (",", "F S T I E"),
    "data.label_pattern": ("a", "F S T I E"),
    "data.negative": ("ant", "F S T I E"),
    "data.rows": ("{id}_{class}", "P F S T I E"),
    "data.image": ("train/{label}/{id}.png", "P"),
    "data.test": ("answers.csv", "P E"),
    "data.test_id": ("id", "P E"),
    "data.test_image": ("test/{id}.jpg", "P"),
    "data.sample_submission": ("answers.csv", "E"),
    "data.split": ("label", "P F S T I E"),
    "data.group": ("label", "F S T I E"),
    "data.box": ('["a", "b", "c", "d"]', "P"),
    "data.box_has_size": ("true", "P"),
    "data.any_case": ("true", "P"),
    "data.headerless": ('["x.csv"]', "P E"),
    "data.answers": ("", ""),
    "data.unpack_limit": ("1.0", ""),
    "data.encoding": ("gbk", "P F S T I E"),
    "data.unknown_flags": ("drop", "P F S T I E"),
    "data.bad_images": ("drop", "P F"),
    "data.conflicts": ("drop", "F S T I E"),
    "task.kind": ("single", "F S T I E"),
    "task.metric": ("macro_f1", "F S T I E"),
    "task.order": ('["bee", "ant", "cow"]', "S T E"),
    "folds.num_folds": ("3", "F S T I E"),
    "folds.seed": ("1", "F S T I E"),
    "folds.full_fit": ("true", "S"),
    "folds.column": ("id", "F S T I E"),
    "folds.duplicates": ("apart", "F S T I E"),
    "image.size": ("16", "P S T I"),
    "image.margin": ("2.0", "P S T I"),
    "image.channels": ("1", "P S T I"),
    "image.fit": ("pad", "P S T I"),
    "image.cache_limit": ("0.5", "P"),
    "infer.views": ('["hflip"]', "I"),
    "infer.batch_size": ("7", "I"),
    "infer.keep_top": ("7", "S I"),
    "ensemble.method": ("rank", "E"),
    "train.grad_checkpointing": ("true", ""),
    "train.shard": ("true", ""),
    "train.checkpoint_minutes": ("1.0", ""),
    "train.time_limit": ("1h", ""),
    "train.on_nan": ("rollback", ""),
    "train.tensorboard": ("true", ""),
    "train.precision": ("bfloat16", "S T I"),
    "train.deterministic": ("true", "S T I"),
    "augment.hflip": ("0.25", "S T I"),
    "probe.enabled": ("false", ""),
}
OTHERS = {
    "train.full_lr_steps": "7",
    "train.head": "probe",
    "train.freeze_epochs": "1",
    "train.freeze_norms": "true",
    "train.sync_norms": "false",
    "augment.policy": "randaugment",
    "augment.pad_crop": "1",
    "augment.albumentations": "a.json",
    "model.name": "lenet5",
    "model.pretrained": "true",
    "model.weights": "w.safetensors",
    "model.width": "8",
    "model.normalisation": "data",
    "train.num_epochs": "3",
    "train.batch_size": "4",
    "train.accumulate": "2",
    "train.loss": "focal",
    "train.class_weights": "balanced",
    "train.optimizer": "sgd",
    "train.schedule": "step",
    "train.step_epochs": "2",
    "train.seed": "1",
}
# What a change is made with, as it would be refused alone.
WITH = {
    "model.width": ("model.name=resnet9",),
    "train.focal_gamma": ("train.loss=focal",),
    "train.head": ("model.weights=w.safetensors",),
}
BY_SECTION = {"model": "S T I", "augment": "T I"}


# Of what a product is made from, that which files and the products of other stages say.
FILES = {
    "P": {"tables", "files"},
    "F": {"table"},
    "S": {"kind", "fold table", "train images", "test images", "files"},
    "T": {"kind", "folds", "train images", "files"},
    "I": {"settings", "model", "folds", "train images", "test images"},
    "E": {"parts", "folds", "test table", "sample"},
}


def every_change() -> dict[str, tuple[str, str]]:
    """All settings; those of the last three sections that are numbers are changed to 0.25."""
    changes = {}
    for section, kind in sections():
        for key in kind.model_fields:
            name = f"{section}.{key}"
            changes[name] = CHANGES.get(name) or (OTHERS.get(name, "0.25"), BY_SECTION.get(section, "T I"))
    return changes


def fingerprints(cfg: Config) -> dict[str, dict[str, Any]]:
    inputs, prepared = read_inputs(cfg), prepared_from(cfg, [path for (path,) in audited(cfg, "path")])
    return {
        "P": {**prepared, "files": (prepared["files"], cache_dir(cfg, "train"))},
        "F": {**folds_from(cfg), "table": (folds_from(cfg)["table"], folds_path(cfg))},
        "S": probed_from(cfg, inputs),
        "T": trained_from(cfg, 0, inputs),
        "I": inferred_from(cfg, 0, inputs),
        "E": ensembled_from(cfg, [0, 1], probed=False),
    }


def by_settings(made_from: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What products are made from, without what files and other products say."""
    return {
        letter: {name: value for name, value in values.items() if name not in FILES[letter]}
        for letter, values in made_from.items()
    }


def test_each_setting_asks_for_exactly_what_depends_on_it(
    trained: Config, record_property: Callable[[str, object], None]
) -> None:
    unchanged, wrong = fingerprints(trained), {}
    for name, (value, expected) in every_change().items():
        section, key = name.split(".")
        base = load(Path(trained.path), WITH.get(name, ()))
        changed = load(Path(trained.path), (*WITH.get(name, ()), f"{name}={value}"))
        assert getattr(getattr(changed, section), key) != getattr(getattr(trained, section), key), name
        before, now = fingerprints(base) if name in WITH else unchanged, fingerprints(changed)
        found = " ".join(letter for letter in STAGES if now[letter] != before[letter])
        if found != expected:
            wrong[name] = (found, expected)
        old, new = by_settings(before), by_settings(now)
        found_itself = tuple(stage for letter, stage in STAGES.items() if new[letter] != old[letter])
        declared = dict(sections())[section].stages_of(key)
        if found_itself != declared:
            wrong[f"{name} declares"] = (found_itself, declared)
    record_property("tried", len(every_change()))
    assert not wrong


def test_the_folds_keep_their_name() -> None:
    """By it models find their folds: under another one every model of every user would have to be trained again."""
    assert folds_path(Config()) == Path("folds/digits-8a34a5bd.csv")


@pytest.mark.parametrize(("setting", "made"), [("ensemble.method=rank", 1), ("infer.views=['hflip']", 3)])
def test_only_what_depends_on_a_setting_is_made(
    competition: Callable[..., Config], setting: str, made: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`[ensemble]` asks for no inference, `[infer]` for no training: by the stamps that are written."""
    cfg = competition()
    metric = "task.metric=mean_column_auc"  # one that ranks are allowed for
    ids = [f"{number:03d}" for number in range(8)]
    write_table(cfg.root / "sample_submission.csv", ["id", "ant", "bee", "cow"], [[id_, 0, 0, 1] for id_ in ids])
    stamps: list[str] = []
    assert run_all(metric) == 0
    for stage in ("infer", "ensemble", "train", "prepare", "folds"):
        module = importlib.import_module(f"pipeline.{stage}")
        original = module.write_stamp
        monkeypatch.setattr(
            module,
            "write_stamp",
            lambda path, *a, original=original, **n: (stamps.append(path), original(path, *a, **n)),
        )
    assert run_all(metric, setting) == 0
    assert len(stamps) == made


@pytest.mark.parametrize("settings", [("model.weights=mine",), ("model.pretrained=true",)])
def test_weights_that_are_searched_for_count_by_the_file_that_is_chosen(
    trained: Config, nowhere: PlayedHub, monkeypatch: pytest.MonkeyPatch, settings: tuple[str, ...]
) -> None:
    """Not by what else lies beside it, and wherever it lies; once a network is known, timm is not asked again."""
    monkeypatch.setattr(published, "BROUGHT", Path("mine"))
    cfg = load(Path(trained.path), (*settings, "model.name=resnet18"))
    Path("mine").mkdir()
    assert chosen_weights(cfg.model) == ""
    for name in ("searched", "timm_network"):
        monkeypatch.setattr(chosen, name, lambda _: pytest.fail("timm is asked"))
    first = Path("mine/deeper/resnet18.pth")
    first.parent.mkdir(parents=True)
    first.write_bytes(b"first")
    (first.parent / "resnet34.pth").write_bytes(b"another network's")
    (first.parent / "notes.txt").write_text("of mine")
    sha256 = hashlib.sha256(b"first").hexdigest()
    assert chosen_weights(cfg.model) == sha256
    made = trained_from(cfg, 0, replace(read_inputs(trained), weights=sha256))
    assert made["weights"] == sha256 and made["files"] == {}
    better = Path("mine/resnet18.a1_in1k.safetensors")
    better.write_bytes(b"better")
    assert chosen_weights(cfg.model) == hashlib.sha256(b"better").hexdigest()
