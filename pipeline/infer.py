"""models, images -> output/<run>/fold<K>/{oof.parquet, test.parquet}, both through the same `predict`."""

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from pipeline.cli import run_stage
from pipeline.config import Config
from pipeline.files import InputError, digest_file, lock
from pipeline.freshness import (
    Inputs,
    infer_stamp,
    inferred_from,
    must_be_ready,
    must_be_trained,
    read_inputs,
    train_stamp,
    unpredicted,
)
from pipeline.log import log
from pipeline.paths import chosen_folds, fold_dir
from pipeline.processes import team
from pipeline.stamps import made_from, note, stamped, write_stamp


def infer(cfg: Config, chosen: Sequence[int | str]) -> None:
    """Predict the test images, and for each model the fold that it has not seen, where its images are here.

    Raises:
        InputError: a stage before is missing.
    """
    inputs, members = read_inputs(cfg), team()
    if any(train_stamp(cfg, fold).is_file() for fold in chosen):
        must_be_ready(cfg, inputs)
    for fold in chosen:
        must_be_trained(cfg, fold, inputs)
    with ExitStack() as locks:

        def locked() -> list[int | str]:
            due = []
            for fold in chosen:
                if unpredicted(cfg, fold, inputs) is None:
                    log.info("infer %s: up to date", fold)
                    continue
                locks.enter_context(lock(fold_dir(cfg, fold) / "lock", f"fold {fold} of {cfg.name}"))
                if unpredicted(cfg, fold, inputs):  # by now: another process may just have made it
                    due.append(fold)
            return due

        if due := members.first(locked):
            _infer(cfg, due, inputs)
        members.meet()


def _infer(cfg: Config, due: Sequence[int | str], inputs: Inputs) -> None:
    """Predict with some models; the test images go once past all of them.

    Of several processes, which share the images, the first writes what they say.
    """
    import numpy as np

    from pipeline.competition.answers.predictions import Predictions, write_predictions
    from pipeline.competition.folds.fold_table import read_labelled
    from pipeline.competition.tables.table import read_test
    from pipeline.engine.held_out import HeldOut
    from pipeline.engine.predict import predict
    from pipeline.engine.predictor import read_predictor
    from pipeline.images.cache import open_images

    made_of = {fold: inferred_from(cfg, fold, inputs) for fold in due}
    predictors = [read_predictor(fold_dir(cfg, fold) / "model.safetensors") for fold in due]
    for fold, predictor in zip(due, predictors, strict=True):
        if predictor.task != predictors[0].task:
            raise InputError(
                f"the models of one run must tell the same classes apart. {fold_dir(cfg, due[0])} and "
                f"{fold_dir(cfg, fold)} do not: delete the one that is of another training"
            )
    test = read_test(cfg)
    images = open_images(cfg, "test", test.keys)
    name = f"infer {', '.join(map(str, due))} test"
    batches = predictors[0].batches(images, np.arange(len(test)), cfg.infer, name)
    said, is_first = predict(predictors, batches, cfg.infer), team().is_first
    for fold, predicted in zip(due, said, strict=True) if is_first else ():
        classes = predictors[0].task.classes
        write_predictions(fold_dir(cfg, fold) / "test.parquet", Predictions(test.ids, classes, predicted.probs))
    labelled = read_labelled(cfg) if inputs.has_train else None
    held_out = HeldOut(cfg, labelled) if labelled is not None else None
    for fold, predictor in zip(due, predictors, strict=True):
        files, scores = [fold_dir(cfg, fold) / "test.parquet"], None
        if held_out is None:
            files += _measured_before(cfg, fold)
            scores = note(infer_stamp(cfg, fold), "scores")
        elif fold != "full":
            files.append(fold_dir(cfg, fold) / "oof.parquet")
            scores = held_out.predict(fold, predictor)
        if not is_first:
            continue
        write_stamp(infer_stamp(cfg, fold), made_of[fold], files, scores=scores)
        seen = f", {len(labelled.split(fold)[1]):,} oof" if labelled is not None and fold != "full" else ""
        log.info("infer %s: %s test images%s", fold, f"{len(test):,}", seen)


def _measured_before(cfg: Config, fold: int | str) -> list[Path]:
    """Without train images: what the model said of its fold where these are, if it was asked in the same way."""
    path = fold_dir(cfg, fold) / "oof.parquet"
    same = made_from(infer_stamp(cfg, fold)).get("infer") == cfg.infer.model_dump(mode="json")
    return [path] if same and path.is_file() and digest_file(path) == stamped(infer_stamp(cfg, fold), path.name) else []


def infer_all(cfg: Config, asked: str | None) -> None:
    """Predict with the models that `--fold` asks for; without it, with all that are trained."""
    chosen = chosen_folds(cfg, asked)
    ready = [fold for fold in chosen if train_stamp(cfg, fold).is_file()]
    infer(cfg, ready or chosen[:1])
    if asked is None and len(ready) < len(chosen):
        log.info("infer: %s of %s models are trained", len(ready), len(chosen))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage."""
    return run_stage("infer", __doc__ or "", infer_all, argv, fold=True, together=True)


if __name__ == "__main__":
    sys.exit(main())
