"""folds, cache -> output/<run>/fold<K>/{model.safetensors, history.csv}."""

import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.cli import log, run_stage
from pipeline.config import Config, to_toml
from pipeline.files import InputError, atomic_write, chosen_parts, fold_dir, folds_path, lock, run_dir
from pipeline.freshness import folds_stamp, must_exist, prepare_stamp, stale, train_stamp, trained_from, write_stamp


def train(cfg: Config, part: int | str) -> None:
    """Train one model: on all folds but `part`, which validates it, or on every image (`full`).

    Raises:
        InputError: a stage before is missing, or there is a model that was made from something else.
    """
    must_exist(prepare_stamp(cfg), "the audit of the images", "prepare", cfg)
    must_exist(folds_stamp(cfg), str(folds_path(cfg)), "folds", cfg)
    stamp, made_from = train_stamp(cfg, part), trained_from(cfg, part)
    reason = stale(stamp, made_from)
    if reason is None:
        log.info("train %s: up to date", part)
        return
    if reason.startswith("changed"):
        raise InputError(
            f"{stamp.parent} holds a model that was trained with other settings or data; {reason}. Keep it and train "
            f"under another name (copy configs/{cfg.name}.toml), or delete {stamp.parent}"
        )
    from pipeline.competition.fold_table import read_labelled
    from pipeline.engine.fit import fit
    from pipeline.images.cache import open_images
    from pipeline.model.checkpoint import save

    folder = fold_dir(cfg, part)
    with lock(folder / "lock", f"fold {part} of {cfg.name}"):
        labelled = read_labelled(cfg)
        fitted = fit(cfg, part, labelled, open_images(cfg, "train", labelled.samples.paths))
        _write_resolved(cfg, labelled.task.kind, fitted.machine.precision)
        _write_history(folder / "history.csv", fitted.history)
        save(folder / "model.safetensors", fitted.checkpoint)
        write_stamp(stamp, made_from, [folder / "model.safetensors", folder / "history.csv"])


def _write_history(path: Path, history: list[dict[str, Any]]) -> None:
    with atomic_write(path, "w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)


def _write_resolved(cfg: Config, kind: str, precision: str) -> None:
    """The run's settings with what every `auto` was decided to be."""
    task = cfg.task.model_copy(update={"kind": kind})
    decided = cfg.model_copy(update={"task": task, "train": cfg.train.model_copy(update={"precision": precision})})
    with atomic_write(run_dir(cfg) / "config.toml", "w", encoding="utf-8") as stream:
        stream.write(to_toml(decided))


def train_all(cfg: Config, fold: str | None) -> None:
    """Train the models that `--fold` asks for, one after the other."""
    for part in chosen_parts(cfg, fold):
        train(cfg, part)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage."""
    return run_stage("train", __doc__ or "", train_all, argv, fold=True)


if __name__ == "__main__":
    sys.exit(main())
