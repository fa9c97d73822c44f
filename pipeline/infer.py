"""models, images -> output/<run>/fold<K>/{oof.parquet, test.parquet}, both through the same `predict`."""

import sys
from collections.abc import Sequence

from pipeline.cli import log, run_stage
from pipeline.config import Config
from pipeline.files import chosen_parts, fold_dir, lock
from pipeline.freshness import (
    infer_stamp,
    inferred_from,
    must_be_prepared,
    must_be_split,
    must_be_trained,
    stale,
    train_stamp,
    write_stamp,
)


def infer(cfg: Config, part: int | str) -> None:
    """Predict the test images and the fold that the model has not seen.

    Raises:
        InputError: a stage before is missing.
    """
    if train_stamp(cfg, part).is_file():
        must_be_prepared(cfg)
        must_be_split(cfg)
    must_be_trained(cfg, part)
    stamp, made_from = infer_stamp(cfg, part), inferred_from(cfg, part)
    if stale(stamp, made_from) is None:
        log.info("infer %s: up to date", part)
        return
    import numpy as np

    from pipeline.competition.fold_table import read_labelled
    from pipeline.competition.predictions import Predictions, write_predictions
    from pipeline.competition.table import read_test
    from pipeline.engine.trained import Trained
    from pipeline.images.cache import open_images

    folder = fold_dir(cfg, part)
    with lock(folder / "lock", f"fold {part} of {cfg.name}"):
        if stale(stamp, made_from) is None:  # by now: another process may just have made it
            return
        model = Trained(folder / "model.safetensors")
        test = read_test(cfg)
        probs = model.predict(
            open_images(cfg, "test", test.paths), np.arange(len(test)), cfg.infer, f"infer {part} test"
        )
        write_predictions(folder / "test.parquet", Predictions(test.ids, model.classes, probs))
        files = [folder / "test.parquet"]
        if part != "full":
            labelled = read_labelled(cfg)
            _, numbers = labelled.split(part)
            images = open_images(cfg, "train", labelled.samples.paths)
            probs = model.predict(images, numbers, cfg.infer, f"infer {part} oof")
            ids = [labelled.samples.ids[number] for number in numbers]
            write_predictions(folder / "oof.parquet", Predictions(ids, model.classes, probs))
            files.append(folder / "oof.parquet")
        write_stamp(stamp, made_from, files)
    log.info("infer %s: %s test images%s", part, f"{len(test):,}", f", {len(numbers):,} oof" if part != "full" else "")


def infer_all(cfg: Config, fold: str | None) -> None:
    """Predict with the models that `--fold` asks for; without it, with all that are trained."""
    chosen = chosen_parts(cfg, fold)
    ready = [part for part in chosen if train_stamp(cfg, part).is_file()]
    for part in ready or chosen[:1]:
        infer(cfg, part)
    if fold is None and len(ready) < len(chosen):
        log.info("infer: %s of %s models are trained", len(ready), len(chosen))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage."""
    return run_stage("infer", __doc__ or "", infer_all, argv, fold=True)


if __name__ == "__main__":
    sys.exit(main())
