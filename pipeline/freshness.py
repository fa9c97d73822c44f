"""What each stage's product is made from, and whether it must be made anew; see `stamps`."""

import csv
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pipeline.config import Config, ConfigError, settings_of
from pipeline.files import InputError, digest, digest_file, inside, size_time, walk
from pipeline.image_kinds import HEIC_SUFFIXES, reads_heic
from pipeline.paths import (
    alike_path,
    all_folds,
    data_dir,
    fold_dir,
    folds_path,
    folds_settings,
    heads_dir,
    known_duplicates,
    prepare_stamp,
    probe_dir,
    run_dir,
)
from pipeline.section import Stage
from pipeline.stamps import made_from, note, stale, stamped

# Of what `prepare` finds out of images; 2: the range of 16-bit values; 3: duplicates. Older stamps are made anew.
_PREPARED_FORMAT = 3


@dataclass(frozen=True)
class Inputs:
    """What is here of that which products are made from.

    train: the train images by the identity that `prepare` gave them, "" before it has run; None where there are models
        and none of the images that they were trained on.
    test: the test images, by theirs.
    weights: sha256 of the file that a search for the network's weights chooses; "" where nobody has searched, or it
        finds none: then products are as good as their stamps say, as a trained model needs no published weights.
    """

    train: str | None
    test: str
    weights: str = ""

    @property
    def has_train(self) -> bool:
        """Whether there are images to train on, and to measure models with."""
        return self.train is not None


def read_inputs(cfg: Config) -> Inputs:
    """What `prepare` found here; a stage asks once, when it starts."""
    stamp = prepare_stamp(cfg)
    return Inputs(note(stamp, "train"), note(stamp, "test")) if made_from(stamp) else Inputs("", "")


def folds_stamp(cfg: Config) -> Path:
    """The stamp of the folds; its notes hold the kind of the labels."""
    return folds_path(cfg).with_suffix(".json")


def probe_stamp(cfg: Config) -> Path:
    """The stamp of the probe: of its classifiers and predictions."""
    return probe_dir(cfg) / "probe.json"


def heads_stamp(cfg: Config) -> Path:
    """The stamp of the classifiers that trainings on a plan's smaller images start from."""
    return heads_dir(cfg) / "heads.json"


def train_stamp(cfg: Config, fold: int | str) -> Path:
    """The stamp of a trained model."""
    return fold_dir(cfg, fold) / "train.json"


def infer_stamp(cfg: Config, fold: int | str) -> Path:
    """The stamp of a model's predictions."""
    return fold_dir(cfg, fold) / "infer.json"


def ensemble_stamp(cfg: Config) -> Path:
    """The stamp of the submission."""
    return run_dir(cfg) / "ensemble.json"


def prepared_from(cfg: Config, paths: Iterable[str]) -> dict[str, Any]:
    """What the decoded images and the audit are made from; the files by path, size and time only."""
    # Hashed one after the other: there may be a million.
    states, root, distinct = hashlib.sha256(), data_dir(cfg), sorted(set(paths))
    for path in distinct:
        try:
            state = size_time(root / path)
        except (OSError, ValueError):
            state = []
        states.update(f"{json.dumps(path)} {state}\n".encode())
    asked = settings_of(cfg, "prepare")
    # One size is kept, whichever size and margin give it.
    image = {key: value for key, value in asked["image"].items() if key not in ("size", "margin")}
    return {
        **asked,
        "format": _PREPARED_FORMAT,
        "image": {**image, "stored": cfg.image.stored},
        "tables": {name: _table_state(cfg, name) for name in dict.fromkeys((*_train_tables(cfg), cfg.data.test))},
        "files": states.hexdigest(),
        # Once its reader is installed it is looked at again.
        **({"HEIC": reads_heic()} if any(path.lower().endswith(HEIC_SUFFIXES) for path in distinct) else {}),
    }


def unprepared(cfg: Config) -> str | None:
    """Why the images must be decoded: one clause; None where they all are, each shard there with its size."""
    if reason := stale(prepare_stamp(cfg), prepared_from(cfg, [path for (path,) in audited(cfg, "path")])):
        return reason
    shards = note(prepare_stamp(cfg), "shards") or {}
    whole = all(Path(name).is_file() and Path(name).stat().st_size == size for name, size in shards.items())
    return None if whole else "missing from output/cache"


def audited(cfg: Config, *columns: str) -> list[tuple[str, ...]]:
    """Some columns of the last audit of this run, row by row; nothing where there is no audit that is whole."""
    audit = run_dir(cfg) / "audit.csv"
    if not audit.is_file():
        return []
    try:
        with audit.open(encoding="utf-8", newline="") as stream:
            return [tuple(row.get(name) or "" for name in columns) for row in csv.DictReader(stream)]
    except (UnicodeDecodeError, csv.Error):
        return []  # it is not what was written, which its stamp will say


def folds_from(cfg: Config) -> dict[str, Any]:
    """What the split is made from."""
    names = _train_tables(cfg)
    table = "".join(_table_state(cfg, name) for name in names)
    if any("{" in name for name in names):
        table += _table_state(cfg, cfg.data.test)  # test images are left out of the train images
    # It has no part in the folds' name.
    without = {"without label": "left out"} if cfg.data.bad_images == "drop" else {}
    return {**folds_settings(cfg), "table": table, **without}


def certificate_path(cfg: Config) -> Path:
    """The certificate of the folds, a stamp beside them."""
    return folds_path(cfg).with_suffix(".certificate.json")


def certified_from(cfg: Config) -> dict[str, Any]:
    """What the certificate of the folds is made from."""
    table = stamped(folds_stamp(cfg), folds_path(cfg).name)
    return {**folds_from(cfg), "fold table": table, "versions of one image": known_duplicates(cfg)}


def training_settings(cfg: Config) -> dict[str, Any]:
    """The settings that a model depends on; they travel with its weights."""
    # Not what concerns the tables: labels reach a model through its task.
    return {name: values for name, values in settings_of(cfg, "train").items() if name not in ("data", "task")}


def has_probe(cfg: Config) -> bool:
    """Whether a run has a probe: a network that starts at random has no features."""
    return cfg.probe.enabled and (cfg.model.pretrained or bool(cfg.model.weights))


def probed_from(cfg: Config, inputs: Inputs) -> dict[str, Any]:
    """What the probe is made from; where no train images are here, what its stamp says of them."""
    asked = {**settings_of(cfg.of_probe, "probe"), "test images": inputs.test}
    if not inputs.has_train:
        return {**made_from(probe_stamp(cfg)), **asked}
    return {
        **asked,
        "kind": note(folds_stamp(cfg), "kind"),
        "fold table": stamped(folds_stamp(cfg), folds_path(cfg).name),
        "train images": inputs.train,
        "files": {name: digest_file(Path(name)) for name in _named(cfg.model.weights)},
        **_weights(probe_stamp(cfg), inputs),
    }


def unprobed(cfg: Config, inputs: Inputs) -> str | None:
    """Why the probe must be made: one clause; None where it is current, or there is none."""
    if not has_probe(cfg):
        return None
    stamp = probe_stamp(cfg)
    if reason := stale(stamp, probed_from(cfg, inputs)):
        return reason
    whole = not inputs.has_train or not cfg.folds.num_folds or stamped(stamp, "oof.parquet")
    return None if whole else "made without the train images, which are here"


def heads_from(cfg: Config, inputs: Inputs) -> dict[str, Any]:
    """What the classifiers that trainings on a plan's smaller images start from are made from."""
    made = {**probed_from(cfg, inputs), **settings_of(cfg, "probe")}
    del made["test images"]
    return made


def trained_from(cfg: Config, fold: int | str, inputs: Inputs) -> dict[str, Any]:
    """What a model is made from: the settings that training depends on, the folds, and every train image's bytes; where
    these are not here, what its stamp says of them.
    """
    asked = settings_of(cfg, "train")
    order = asked.pop("task")["order"]
    settings = {**asked, **({"order": order} if order else {})}  # models of before there was an order have none
    if not inputs.has_train:
        known = {name: value for name, value in made_from(train_stamp(cfg, fold)).items() if name != "order"}
        return {**known, **settings, "part": str(fold)}
    files = {name: digest_file(Path(name)) for name in _named(cfg.model.weights, cfg.augment.albumentations)}
    return {
        **settings,
        "part": str(fold),
        "kind": note(folds_stamp(cfg), "kind"),
        "folds": stamped(folds_stamp(cfg), folds_path(cfg).name),
        "train images": inputs.train,
        "files": files,
        **_weights(train_stamp(cfg, fold), inputs),
    }


def inferred_from(cfg: Config, fold: int | str, inputs: Inputs) -> dict[str, Any]:
    """What a model's predictions are made from.

    The batch size too, though it changes no more than rounding: predictions are those of the settings, to the byte.
    """
    model = trained_from(cfg, fold, inputs)
    return {
        "settings": training_settings(cfg),
        "model": stamped(train_stamp(cfg, fold), "model.safetensors"),
        "folds": model.get("folds"),
        "train images": model.get("train images"),
        "test images": inputs.test,
        **settings_of(cfg, "infer"),
    }


def unpredicted(cfg: Config, fold: int | str, inputs: Inputs) -> str | None:
    """Why a model must predict: one clause; None where its predictions are current, those of its own fold too where
    its images are here.
    """
    stamp = infer_stamp(cfg, fold)
    if reason := stale(stamp, inferred_from(cfg, fold, inputs)):
        return reason
    whole = fold == "full" or not inputs.has_train or stamped(stamp, "oof.parquet")
    return None if whole else "made without the train images, which are here"


def ensembled_from(cfg: Config, ready: Iterable[int | str], *, probed: bool) -> dict[str, Any]:
    """What the submission is made from: the predictions of the models that are ready, of the probe where that is, and
    what is asked for.
    """
    names = ("oof.parquet", "test.parquet")
    asked = settings_of(cfg, "ensemble")
    num_folds = asked.pop("folds")["num_folds"]  # below, "folds" is their table
    sample = cfg.data.sample_submission
    return {
        **asked,
        "num_folds": num_folds,
        "parts": {str(fold): {name: stamped(infer_stamp(cfg, fold), name) for name in names} for fold in ready},
        **({"probe": _said_by_probe(cfg)} if probed else {}),
        "folds": stamped(folds_stamp(cfg), folds_path(cfg).name),
        # Where folds do not depend on them, the score of the images without versions in other folds does.
        **({"versions of one image": groups} if (groups := known_duplicates(cfg)) else {}),
        "test table": _table_state(cfg, cfg.data.test),
        "sample": _table_state(cfg, sample) if sample else "",
    }


def _said_by_probe(cfg: Config) -> dict[str, str]:
    """The probe's predictions; images that are alike, which older probes did not look for."""
    names = {name: stamped(probe_stamp(cfg), name) for name in ("oof.parquet", "test.parquet")}
    alike = stamped(probe_stamp(cfg), f"../{alike_path(cfg).name}")
    return {**names, **({"alike.csv": alike} if alike else {})}


def is_whole(cfg: Config, inputs: Inputs) -> bool:
    """Whether every model of a run is current, and in a submission that is."""
    models = all_folds(cfg)
    if not models or any(unpredicted(cfg, fold, inputs) for fold in models):
        return False
    probed = has_probe(cfg) and unprobed(cfg, inputs) is None
    return stale(ensemble_stamp(cfg), ensembled_from(cfg, models, probed=probed)) is None


def report_stamp(cfg: Config) -> Path:
    """The stamp of the page of a run."""
    return run_dir(cfg) / "report.json"


def reported_from(cfg: Config) -> dict[str, Any]:
    """What the page of a run depends on: how its settings were given, all that the stages have made, by their stamps,
    and the answers of the test images.
    """
    stamps = [prepare_stamp(cfg), folds_stamp(cfg), certificate_path(cfg), probe_stamp(cfg), ensemble_stamp(cfg)]
    stamps += [stamp(cfg, fold) for fold in all_folds(cfg) for stamp in (train_stamp, infer_stamp)]
    return {
        "config": cfg.path,
        "set": list(cfg.overrides),
        "config hash": config_hash(cfg),
        "stamps": {str(path): digest_file(path) for path in stamps if path.is_file()},
        **({"answers": _table_state(cfg, cfg.data.answers)} if cfg.data.answers else {}),
    }


def config_hash(cfg: Config) -> str:
    """A short hash of the settings that what a run makes depends on; with a time limit, of those that were planned."""
    return digest({stage: settings_of(cfg, stage) for stage in get_args(Stage)})[:8]


def must_be_ready(cfg: Config, inputs: Inputs) -> None:
    """Refuse to start a stage before the images are decoded, and split where there are train images.

    Raises:
        InputError: they are not, or tables or files have changed since; the command to run.
    """
    _must(unprepared(cfg), "the images", "prepare", cfg)
    if inputs.has_train:
        _must(stale(folds_stamp(cfg), folds_from(cfg)), str(folds_path(cfg)), "folds", cfg)


def must_be_probed(cfg: Config, inputs: Inputs) -> None:
    """Refuse to start a training from the probe's classifier before there is one.

    Raises:
        ConfigError: this run has no probe.
        InputError: it is not made, or from something else; the command to run.
    """
    if not has_probe(cfg):
        raise ConfigError(
            "train.head = 'probe' needs a probe: a network that starts from published weights (model.pretrained or "
            "model.weights), and probe.enabled = true. Set train.head to 'random', or these"
        )
    _must(unprobed(cfg, inputs), "the probe", "probe", cfg)


def must_be_trained(cfg: Config, fold: int | str, inputs: Inputs) -> None:
    """Refuse to start a stage before a model is trained.

    Raises:
        InputError: it is not, or with other settings, folds or images; the command to run, or the ways out.
    """
    reason = stale(train_stamp(cfg, fold), trained_from(cfg, fold, inputs))
    if reason and reason.startswith("changed"):
        raise other_model(cfg, fold, reason)
    _must(reason, f"the model of fold {fold}", "train", cfg)


def other_model(cfg: Config, fold: int | str, reason: str) -> InputError:
    """What is said of a model that was made from something else: what differs, and the two ways out."""
    folder = fold_dir(cfg, fold)
    return InputError(
        f"{folder} holds a model that was trained with other settings or data; {reason}. Keep it and train under "
        f"another name (copy {cfg.path}), or delete {folder}"
    )


def _must(reason: str | None, what: str, stage: str, cfg: Config) -> None:
    if reason:
        raise InputError(f"{what} must be current. Got: {reason}. Run: python -m pipeline.{stage} {cfg.options}")


def _train_tables(cfg: Config) -> list[str]:
    """What says which rows are train rows: the labelled tables, or templates, and the list that splits them."""
    split = cfg.data.split
    lists = [split] if split and inside(data_dir(cfg), split, "data.split").is_file() else []
    return [*(table for table, _ in cfg.data.labelled), *lists]


def _table_state(cfg: Config, name: str) -> str:
    """Hash of a table; of the list of files where a path template makes it."""
    if "{" in name:
        return digest(list(walk(data_dir(cfg)))) if cfg.root.is_dir() else "missing"
    path = inside(data_dir(cfg), name, "a table")
    return digest_file(path) if path.is_file() else "missing"


def _named(*names: str) -> list[str]:
    """Of the files outside the competition that settings name, those that are there."""
    return [name for name in names if name and Path(name).is_file()]


def _weights(stamp: Path, inputs: Inputs) -> dict[str, str]:
    """The weights that a search chooses, or that a product was made from where there is no other to compare."""
    known = inputs.weights or str(made_from(stamp).get("weights", ""))
    return {"weights": known} if known else {}
