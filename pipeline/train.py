"""folds, cache -> output/<run>/fold<K>/{model.safetensors, history.csv, valid.parquet}."""

import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from pipeline.cli import run_stage
from pipeline.config import Config
from pipeline.config_file import to_toml
from pipeline.dealing import dealt
from pipeline.files import InputError, atomic_write, lock
from pipeline.freshness import (
    Inputs,
    must_be_ready,
    other_model,
    read_inputs,
    train_stamp,
    trained_from,
)
from pipeline.log import log
from pipeline.model.chosen import chosen_weights
from pipeline.paths import PARTS, STATES, all_folds, chosen_folds, fold_dir, run_dir
from pipeline.plan import plan_is_due, planned, read_plan
from pipeline.processes import alone, team
from pipeline.stamps import other_versions, stale, write_stamp

if TYPE_CHECKING:
    from pipeline.engine.fit import Trainer
    from pipeline.model.checkpoint import Checkpoint


def train(cfg: Config, fold: int | str, inputs: Inputs, num_models: int = 0) -> bool:
    """Train one model: on all folds but `fold`, which validates it, or on every image (`full`).

    Several processes train it together.

    Args:
        cfg: the settings.
        fold: which model.
        inputs: what is here, all of it prepared and split.
        num_models: how many are left to train, for a forecast of the time; 0 for none.

    Returns:
        Whether it was trained: not where it is there already.

    Raises:
        InputError: there are no images to train on, or there is a model that was made from something else.
    """
    members = team()
    made_from = trained_from(cfg, fold, inputs)
    if members.first(lambda: _is_done(cfg, fold, made_from)):
        return False
    if not inputs.has_train:
        raise InputError(f"the train images must be under {cfg.root} to train fold {fold}. None of them is there")
    folder = fold_dir(cfg, fold)
    with lock(folder / "lock", f"fold {fold} of {cfg.name}") if members.is_first else nullcontext():
        # By now another process may just have made it.
        if members.first(lambda: _is_current(cfg, fold, made_from)):
            return False
        _train(cfg, fold, inputs, num_models)
        members.meet()
    return True


def _is_done(cfg: Config, fold: int | str, made_from: Mapping[str, Any]) -> bool:
    """Whether the model is there; what a training that was killed between its last two acts has left is deleted."""
    is_current = _is_current(cfg, fold, made_from)
    if is_current:
        for name in STATES:
            (fold_dir(cfg, fold) / name).unlink(missing_ok=True)
        shutil.rmtree(fold_dir(cfg, fold) / PARTS, ignore_errors=True)
    return is_current


def _train(cfg: Config, fold: int | str, inputs: Inputs, num_models: int) -> None:
    """Train one model; of several processes the first writes it."""
    from pipeline.competition.answers.form import read_form
    from pipeline.competition.folds.fold_table import read_labelled
    from pipeline.competition.tables.table import read_test
    from pipeline.engine.board import open_board
    from pipeline.engine.fit import Trainer, fit
    from pipeline.engine.forecast import Rest
    from pipeline.engine.history import line
    from pipeline.engine.probing import first_classifier
    from pipeline.engine.resume import Store
    from pipeline.engine.shards import is_sharded
    from pipeline.images.cache import open_images
    from pipeline.scores.spent import add_epoch, fold_seconds

    members, labelled, test = team(), read_labelled(cfg), read_test(cfg)
    # A sample that these labels cannot fill is said before the hours of training, not after.
    read_form(cfg, labelled.task, test.ids)
    images = open_images(cfg, "train", labelled.samples.keys)
    # They are fetched where they are not here.
    inputs = replace(inputs, weights=members.first(lambda: chosen_weights(cfg.model, needed=True)))
    made_from = trained_from(cfg, fold, inputs)
    is_in_parts = is_sharded(cfg.train, members)
    store = Store(fold_dir(cfg, fold), made_from, cfg.train.checkpoint_minutes, members, is_in_parts=is_in_parts)
    try:
        head = first_classifier(cfg, fold, labelled, inputs) if cfg.train.head == "probe" else None
        with open_board(cfg, fold, writes=members.is_first) as board:
            rest = Rest(num_models, len(test)) if num_models else None
            trainer = Trainer(cfg, fold, labelled, images, store, rest, head)
            if trainer.begins and members.is_first:
                fold_seconds(cfg, fold).unlink(missing_ok=True)
            for epoch in fit(trainer):
                said = line(epoch.name, epoch.row, cfg.task.metric)
                log.info("train %s, %.0f images/s", said, epoch.images_per_second)
                board.add(epoch.row, epoch.images_per_second)
                if members.is_first:
                    not_kept = len(images) - images.num_stored
                    counts = {"images": epoch.num_images, "not_kept": not_kept, "memory": trainer.machine.peak_memory()}
                    add_epoch(fold_seconds(cfg, fold), {"epoch": epoch.row["epoch"], **counts}, epoch.seconds)
    finally:
        store.close()
    checkpoint = trainer.checkpoint()
    if members.is_first:
        _write(cfg, fold, made_from, trainer, checkpoint)
    store.delete()


def _write(
    cfg: Config, fold: int | str, made_from: Mapping[str, Any], trainer: "Trainer", checkpoint: "Checkpoint"
) -> None:
    """Write the model, and all that is said of it."""
    from pipeline.engine.held_out import write_valid
    from pipeline.engine.history import write_history
    from pipeline.model.checkpoint import save_checkpoint

    folder, machine, labelled = fold_dir(cfg, fold), trainer.machine, trainer.labelled
    _write_resolved(cfg, labelled.task.kind, machine.precision)
    write_history(folder / "history.csv", trainer.history)
    save_checkpoint(folder / "model.safetensors", checkpoint)
    notes: dict[str, Any] = {"machine": machine.describe(), "precision": machine.precision}
    notes["task"] = asdict(labelled.task)
    notes |= trainer.images.grey.notes
    if trainer.training.state.pieces > 1:
        notes["pieces of a batch"] = trainer.training.state.pieces
    if cfg.planned:
        notes["plan"] = read_plan(cfg)
    if trainer.predicted is not None:
        notes["valid"] = write_valid(cfg, labelled, fold, trainer.predicted)
    write_stamp(train_stamp(cfg, fold), made_from, [folder / "model.safetensors"], **notes)


def _is_current(cfg: Config, fold: int | str, made_from: Mapping[str, Any]) -> bool:
    """Whether the model is there.

    Raises:
        InputError: it is, but made from something else.
    """
    folder, stamp = fold_dir(cfg, fold), train_stamp(cfg, fold)
    reason = stale(stamp, made_from)
    if reason is None:
        log.info("train %s: up to date%s", fold, other_versions(stamp))
        return True
    if not (folder / "model.safetensors").is_file():
        return False
    if reason != "not made yet":
        raise other_model(cfg, fold, reason)
    from pipeline.engine.resume import is_of

    # Without a stamp it may be what this training had just written when it was killed.
    if not is_of(folder, made_from):
        raise other_model(cfg, fold, f"{stamp.name}, which says what it was made from, is missing or broken")
    return False


def _write_resolved(cfg: Config, kind: str, precision: str) -> None:
    """The run's settings, with what kind, precision and loss were decided to be; a plan, by what it decided."""
    from pipeline.engine.losses import LOSSES_OF_KIND

    loss = LOSSES_OF_KIND[kind][0] if cfg.train.loss == "auto" else cfg.train.loss
    train = cfg.train.model_copy(update={"precision": precision, "loss": loss, "time_limit": ""})
    decided = cfg.model_copy(update={"task": cfg.task.model_copy(update={"kind": kind}), "train": train})
    path, text = run_dir(cfg) / "config.toml", to_toml(decided)
    if path.is_file() and path.read_bytes() == text.encode():
        return  # another fold has written them
    with atomic_write(path, "w", encoding="utf-8") as stream:
        stream.write(text)


def train_all(cfg: Config, asked: str | None) -> None:
    """Train the models that `--fold` asks for, one after the other.

    Several processes train what they are asked for together; all models as `dealt`.
    """
    chosen, members = chosen_folds(cfg, asked), team()
    inputs = replace(read_inputs(cfg), weights=members.first(lambda: chosen_weights(cfg.model)))
    must_be_ready(cfg, inputs)
    if members.first(lambda: inputs.has_train and plan_is_due(planned(cfg))):  # not where another has just made it
        from pipeline.engine.planning import make_plan

        make_plan(cfg)
    cfg = planned(cfg)
    if asked is None and members.size > 1 and inputs.has_train:
        from pipeline.engine.resume import begun_by

        due = [fold for fold in chosen if stale(train_stamp(cfg, fold), trained_from(cfg, fold, inputs))]
        own, shared = dealt(chosen, due, lambda fold: begun_by(fold_dir(cfg, fold)), none_alone=cfg.train.shard)
        with alone():
            for fold in own:
                train(cfg, fold, inputs)
        members.meet()
        due = members.first(lambda: due)
        chosen = [fold for fold in chosen if fold in shared or fold not in due]
    for fold in chosen:
        if asked is None and not inputs.has_train and not train_stamp(cfg, fold).is_file():
            log.info("train %s: there is no such model, and there are no images to train it on", fold)
            continue
        others = all_folds(cfg) if cfg.in_turn else chosen
        train(cfg, fold, inputs, sum(not train_stamp(cfg, other).is_file() for other in others))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage."""
    return run_stage("train", __doc__ or "", train_all, argv, fold=True, together=True)


if __name__ == "__main__":
    sys.exit(main())
