"""folds, cache, published weights -> output/<run>/probe/{oof,test}.parquet, by a classifier on the frozen network."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli import run_stage
from pipeline.config import Config
from pipeline.files import InputError, lock
from pipeline.freshness import Inputs, has_probe, must_be_ready, probe_stamp, probed_from, read_inputs, unprobed
from pipeline.log import log
from pipeline.paths import all_folds, head_path, probe_dir
from pipeline.plan import plan_is_due
from pipeline.stamps import stamped, write_stamp

if TYPE_CHECKING:
    from pipeline.competition.answers.probing import Fitted
    from pipeline.competition.answers.task import Task
    from pipeline.competition.folds.fold_table import Labelled
    from pipeline.engine.features import Frozen


def probe(cfg: Config) -> None:
    """Fit a linear classifier for each fold on what the network, as it starts, gives of the images; predict with them.

    Raises:
        InputError: a stage before is missing, or weights cannot be had.
    """
    if not has_probe(cfg):
        log.info(
            "probe: none, as %s", "the network starts at random" if cfg.probe.enabled else "probe.enabled is false"
        )
        return
    inputs = read_inputs(cfg)
    must_be_ready(cfg, inputs)
    if inputs.has_train and plan_is_due(cfg):  # the probe has the size of the images that are trained on
        from pipeline.engine.planning import make_plan

        cfg = make_plan(cfg)
    if unprobed(cfg, inputs) is None:
        log.info("probe: up to date")
        return
    if not inputs.has_train and not all(head_path(cfg, fold).is_file() for fold in all_folds(cfg)):
        log.info("probe: none, as there are no train images to fit it on")
        return
    with lock(probe_dir(cfg) / "lock", f"the probe of {cfg.name}"):
        if unprobed(cfg, inputs):  # by now: another process may just have made it
            _probe(cfg, inputs)


def _probe(cfg: Config, inputs: Inputs) -> None:
    """Make the probe; without train images predict with the classifiers that are there."""
    from pipeline.competition.answers.form import read_form
    from pipeline.competition.folds.fold_table import read_labelled
    from pipeline.competition.tables.table import read_test
    from pipeline.scores.measure import known_task

    made_from = probed_from(cfg, inputs)
    labelled = read_labelled(cfg) if inputs.has_train else None
    task, test = labelled.task if labelled else known_task(cfg), read_test(cfg)
    # A sample that these labels cannot fill is said before the hours of training, not after.
    read_form(cfg, task, test.ids)
    seen = f"{len(labelled.samples):,} train and " if labelled else ""
    log.info("probe: %s at %s px, %s%s test images", cfg.model.name, cfg.image.size, seen, f"{len(test):,}")
    if labelled:
        frozen, fitted = _fit(cfg, labelled, inputs.train or "")
        oof = [probe_dir(cfg) / "oof.parquet"] if cfg.folds.num_folds else []
    else:
        known = _fitted_before(cfg, task)
        if known is None:
            return
        frozen, fitted = known
        oof = _measured_before(cfg)
    _predict_test(cfg, frozen, fitted, inputs.test)
    heads = [head_path(cfg, fold) for fold in fitted]
    write_stamp(probe_stamp(cfg), made_from, [*heads, *oof, probe_dir(cfg) / "test.parquet"], task=asdict(task))


def _fit(cfg: Config, labelled: "Labelled", identity: str) -> "tuple[Frozen, dict[int | str, Fitted]]":
    """Fit the classifiers, write them, and what each says of the fold that it has not seen."""
    import numpy as np

    from pipeline.competition.answers.predictions import Predictions, write_predictions
    from pipeline.competition.answers.probing import fit_probe, out_of_fold
    from pipeline.engine.features import Frozen
    from pipeline.engine.heads import Head, write_head
    from pipeline.engine.start import find_normalisation
    from pipeline.images.cache import open_images
    from pipeline.model.build import build_model

    task = labelled.task
    images = open_images(cfg, "train", labelled.samples.keys)
    model = build_model(cfg.model, cfg.image.size, cfg.image.channels, task.num_outputs, 0)
    normalisation = find_normalisation(cfg, model, images, np.flatnonzero(images.readable))
    frozen = Frozen.of(cfg, model, task, normalisation)
    features = frozen.features(cfg, "train", labelled.samples.ids, images, identity)
    fitted = fit_probe(labelled, features, images.readable, all_folds(cfg))
    for fold, one in fitted.items():
        write_head(head_path(cfg, fold), Head(one, normalisation, frozen.network))
    if cfg.folds.num_folds:
        indices, probs = out_of_fold(labelled, features, images.readable, fitted, cfg.infer.keep_top)
        said = Predictions(labelled.ids(indices), task.classes, probs)
        write_predictions(probe_dir(cfg) / "oof.parquet", said)
    return frozen, fitted


def _fitted_before(cfg: Config, task: "Task") -> "tuple[Frozen, dict[int | str, Fitted]] | None":
    """Read the classifiers, and build the network that they are for; None where that is not here, which is said.

    Trained models need no published weights, and predict without the probe.
    """
    from pipeline.engine.features import Frozen
    from pipeline.engine.heads import read_head
    from pipeline.model.build import build_model

    heads = {fold: read_head(head_path(cfg, fold)) for fold in all_folds(cfg)}
    try:
        model = build_model(cfg.model, cfg.image.size, cfg.image.channels, task.num_outputs, 0)
    except InputError as error:
        log.info("probe: left out, as its network is not here: %s", error)
        return None
    frozen = Frozen.of(cfg, model, task, next(iter(heads.values())).normalisation)
    if any(head.network != frozen.network for head in heads.values()):
        log.info("probe: left out, as its classifiers are of other weights or settings than those that are here")
        return None
    return frozen, {fold: head.fitted for fold, head in heads.items()}


def _measured_before(cfg: Config) -> list[Path]:
    """Without train images: what was said of the folds where these are."""
    path = probe_dir(cfg) / "oof.parquet"
    return [path] if path.is_file() and stamped(probe_stamp(cfg), path.name) else []


def _predict_test(cfg: Config, frozen: "Frozen", fitted: "Mapping[int | str, Fitted]", identity: str) -> None:
    """Write the mean of what the folds' classifiers say of the test images; of the one of all images without folds."""
    from pipeline.competition.answers.predictions import Predictions, write_predictions
    from pipeline.competition.answers.probs import Probs
    from pipeline.competition.tables.table import read_test
    from pipeline.images.cache import open_images

    test, task, keep = read_test(cfg), frozen.predictor.task, cfg.infer.keep_top
    images = open_images(cfg, "test", test.keys)
    features = frozen.features(cfg, "test", test.ids, images, identity)
    chosen = [one for fold, one in fitted.items() if fold != "full" or len(fitted) == 1]
    probs = Probs.mean([one.predict(features, images.readable, task, keep) for one in chosen], keep)
    write_predictions(probe_dir(cfg) / "test.parquet", Predictions(test.ids, task.classes, probs))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage."""
    return run_stage("probe", __doc__ or "", lambda cfg, fold: probe(cfg), argv)


if __name__ == "__main__":
    sys.exit(main())
