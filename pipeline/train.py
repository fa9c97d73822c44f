"""folds, cache -> output/<run>/fold<K>/{model.safetensors, history.csv, valid.parquet}."""

import csv
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.cli import run_stage
from pipeline.config import Config
from pipeline.config_file import to_toml
from pipeline.files import InputError, atomic_write, digest_file, lock
from pipeline.freshness import has_train, must_be_prepared, must_be_split, other_model, train_stamp, trained_from
from pipeline.log import log
from pipeline.paths import chosen_folds, fold_dir, run_dir
from pipeline.stamps import other_versions, stale, write_stamp


def train(cfg: Config, fold: int | str, num_models: int = 1) -> bool:
    """Train one model: on all folds but `fold`, which validates it, or on every image (`full`).

    Args:
        cfg: the settings.
        fold: which model.
        num_models: how many may be trained from here on, for a forecast of the time; 0 for none.

    Returns:
        Whether it was trained: not where it is there already.

    Raises:
        InputError: a stage before is missing, or there is a model that was made from something else.
    """
    must_be_prepared(cfg)
    must_be_split(cfg)
    if _is_current(cfg, fold):
        return False
    if not has_train(cfg):
        raise InputError(f"the train images must be under {cfg.root} to train fold {fold}. None of them is there")
    from pipeline.competition.answers.form import read_form
    from pipeline.competition.answers.predictions import Predictions, write_predictions
    from pipeline.competition.folds.fold_table import read_labelled
    from pipeline.competition.tables.table import read_test
    from pipeline.engine.fit import fit
    from pipeline.engine.resume import Resume
    from pipeline.images.cache import open_images
    from pipeline.model.checkpoint import save_checkpoint

    folder = fold_dir(cfg, fold)
    with lock(folder / "lock", f"fold {fold} of {cfg.name}"):
        if _is_current(cfg, fold):  # by now: another process may just have made it
            return False
        made_from = trained_from(cfg, fold)
        labelled = read_labelled(cfg)
        if num_models:
            # A sample that these labels cannot fill is said before the hours of training, not after.
            read_form(cfg, labelled.task, read_test(cfg).ids)
        images = open_images(cfg, "train", labelled.samples.keys)
        resume = Resume(folder, made_from, cfg.train.checkpoint_minutes)
        try:
            fitted = fit(cfg, fold, labelled, images, num_models, resume)
        finally:
            resume.close()
        _write_resolved(cfg, labelled.task.kind, fitted.machine.precision)
        _write_history(folder / "history.csv", fitted.history)
        save_checkpoint(folder / "model.safetensors", fitted.checkpoint)
        notes: dict[str, Any] = {"machine": fitted.machine.describe(), "precision": fitted.machine.precision}
        notes["task"] = asdict(labelled.task)
        if fitted.oof is not None:
            ids = labelled.ids(labelled.split(fold)[1])
            write_predictions(folder / "valid.parquet", Predictions(ids, labelled.task.classes, fitted.oof))
            notes["valid.parquet"] = digest_file(folder / "valid.parquet")
            notes["valid batch"] = fitted.batch_size  # fewer than asked for where memory was too little
        write_stamp(train_stamp(cfg, fold), made_from, [folder / "model.safetensors"], **notes)
        resume.delete()
    return True


def _is_current(cfg: Config, fold: int | str) -> bool:
    """Whether the model is there.

    Raises:
        InputError: it is, but made from something else.
    """
    reason = stale(train_stamp(cfg, fold), trained_from(cfg, fold))
    if reason is None:
        for leftover in fold_dir(cfg, fold).glob("resume*.safetensors"):
            leftover.unlink(missing_ok=True)  # its training was killed between its last two steps
        log.info("train %s: up to date%s", fold, other_versions(train_stamp(cfg, fold)))
    elif (fold_dir(cfg, fold) / "model.safetensors").is_file() and not _is_under_way(cfg, fold, reason):
        lost = f"{train_stamp(cfg, fold).name}, which says what it was made from, is missing or broken"
        raise other_model(cfg, fold, lost if reason == "not made yet" else reason)
    return reason is None


def _is_under_way(cfg: Config, fold: int | str, reason: str) -> bool:
    """Whether a model without a stamp is what a training had just written when it was killed."""
    return reason == "not made yet" and any(fold_dir(cfg, fold).glob("resume*.safetensors"))


def _write_history(path: Path, history: list[dict[str, Any]]) -> None:
    with atomic_write(path, "w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)


def _write_resolved(cfg: Config, kind: str, precision: str) -> None:
    """The run's settings, with what kind, precision and loss were decided to be."""
    from pipeline.engine.losses import LOSSES_OF_KIND

    loss = LOSSES_OF_KIND[kind][0] if cfg.train.loss == "auto" else cfg.train.loss
    train = cfg.train.model_copy(update={"precision": precision, "loss": loss})
    decided = cfg.model_copy(update={"task": cfg.task.model_copy(update={"kind": kind}), "train": train})
    path, text = run_dir(cfg) / "config.toml", to_toml(decided)
    if path.is_file() and path.read_bytes() == text.encode():
        return  # another fold has written them
    with atomic_write(path, "w", encoding="utf-8") as stream:
        stream.write(text)


def train_all(cfg: Config, asked: str | None) -> None:
    """Train the models that `--fold` asks for, one after the other."""
    chosen = chosen_folds(cfg, asked)
    forecast = True
    for number, fold in enumerate(chosen):
        if asked is None and not has_train(cfg) and not train_stamp(cfg, fold).is_file():
            log.info("train %s: there is no such model, and there are no images to train it on", fold)
            continue
        if train(cfg, fold, (len(chosen) - number) * forecast):
            forecast = False  # once for all of them


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage."""
    return run_stage("train", __doc__ or "", train_all, argv, fold=True)


if __name__ == "__main__":
    sys.exit(main())
