"""Where files live, relative to the folder in which the stages are started; which models a run has."""

import os
from pathlib import Path
from typing import Any

from pipeline.config import Config, ConfigError, settings_of
from pipeline.files import digest, safe_name
from pipeline.stamps import note

# The states of a training under way, in its fold's folder: since the last epoch's end, and at it.
STATES = ("resume.safetensors", "resume-epoch.safetensors")
# Beside them: the parts of those that several processes hold in parts.
PARTS = "resume-parts"

# Settings that came after the names of folds: at their defaults they change none.
_NEWER = {"data": ("encoding", "extra", "label_pattern", "unknown_flags", "conflicts"), "folds": ("duplicates",)}


def run_dir(cfg: Config) -> Path:
    """The folder of a run's products."""
    return Path("output") / cfg.name


def prepare_stamp(cfg: Config) -> Path:
    """The stamp of the run's audit and of what it found decoded; its notes hold the images' identities."""
    return run_dir(cfg) / "prepare.json"


def decoding_path(cfg: Config) -> Path:
    """The table of how long reading and decoding the run's images took."""
    return run_dir(cfg) / "decoding.csv"


def fold_dir(cfg: Config, fold: int | str) -> Path:
    """The folder of one fold's model and predictions; `full` is the model trained on every image."""
    return run_dir(cfg) / ("full" if fold == "full" else f"fold{fold}")


def probe_dir(cfg: Config) -> Path:
    """The folder of the probe's classifiers and predictions."""
    return run_dir(cfg) / "probe"


def alike_path(cfg: Config) -> Path:
    """The pairs of images that are alike to the probe's network."""
    return run_dir(cfg) / "alike.csv"


def heads_dir(cfg: Config) -> Path:
    """The folder of the classifiers of images of this size: the probe's, or those of a plan's smaller one."""
    return probe_dir(cfg) / f"{cfg.image.size}px" if cfg.trains_smaller else probe_dir(cfg)


def head_path(cfg: Config, fold: int | str) -> Path:
    """The file of a classifier that was fitted on the images which a model trains on, of their size."""
    return heads_dir(cfg) / f"{'full' if fold == 'full' else f'fold{fold}'}.safetensors"


def features_dir(cfg: Config, key: str) -> Path:
    """The folder of the features of a competition's images; the key says by which network, of which images."""
    return Path("output") / "cache" / f"{safe_name(cfg.competition)}-features-{key}"


def opened_dir(root: Path) -> Path:
    """The folder in which a competition's archives are unpacked, see `competition/archives/opened.py`."""
    name = safe_name(os.path.basename(os.path.abspath(root)))
    return Path("output") / "cache" / f"{name}-files-{digest(str(root.resolve()))[:8]}"


def data_dir_of(root: Path) -> Path:
    """Where a competition's files are read: its folder, or the one in which its archives lie open."""
    opened = opened_dir(root) / "files"
    return opened if opened.is_dir() else root


def data_dir(cfg: Config) -> Path:
    """Where the competition's files are read; `prepare` and `detect` see to it that its archives are unpacked."""
    return data_dir_of(cfg.root)


def folds_path(cfg: Config) -> Path:
    """The table of folds, shared by the competition's runs that split alike."""
    return Path("folds") / f"{safe_name(cfg.competition)}-{digest(folds_settings(cfg))[:8]}.csv"


def folds_settings(cfg: Config) -> dict[str, Any]:
    """The settings that name a split."""
    asked = settings_of(cfg, "folds")
    # A test image that cannot be read asks for no other models, so for no folds of another name.
    del asked["data"]["bad_images"]
    # Folds of before there were these settings keep their name.
    defaults = Config().model_dump(mode="json")
    for section, keys in _NEWER.items():
        for key in keys:
            if asked[section][key] == defaults[section][key]:
                del asked[section][key]
    # So do those of images of which none is a version of another; runs that find others, at another size, split anew.
    groups = duplicates_that_count(cfg)
    found = {"versions of one image": groups} if groups else {}
    # A kind that is to be seen from the labels is seen with the metric's help.
    return {**asked, "task": cfg.task.kind if cfg.task.kind != "auto" else f"auto, {cfg.task.metric}", **found}


def known_duplicates(cfg: Config) -> str:
    """The identity of the groups of train images that are versions of one, as `prepare` found them; "" for none."""
    return note(prepare_stamp(cfg), "duplicates") or ""


def duplicates_that_count(cfg: Config) -> str:
    """Those of `known_duplicates` where folds depend on them, else ""."""
    are_split = cfg.folds.num_folds > 0 and not cfg.folds.column
    share_folds = are_split and cfg.folds.duplicates == "together"
    return known_duplicates(cfg) if share_folds or cfg.data.conflicts == "drop" else ""


def all_folds(cfg: Config) -> list[int | str]:
    """Every model of the run: the folds' numbers, then `full` where one is asked for."""
    return [*range(cfg.folds.num_folds), *(["full"] if cfg.folds.full_fit else [])]


def chosen_folds(cfg: Config, asked: str | None) -> list[int | str]:
    """The models that `--fold` asks for; without it all.

    Raises:
        ConfigError: the run has no such fold.
    """
    if asked is None:
        return all_folds(cfg)
    for fold in all_folds(cfg):
        if str(fold) == asked:
            return [fold]
    raise ConfigError(f"--fold must be one of {', '.join(map(str, all_folds(cfg)))}. Got {asked!r}")
