"""The probe of a run: the network as it starts, a classifier for each model on its features, what they say."""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np

from pipeline.competition.answers.linear import Linear
from pipeline.competition.answers.predictions import Predictions, write_predictions
from pipeline.competition.answers.probing import Fitted, fit_probe, out_of_fold
from pipeline.competition.answers.probs import Probs
from pipeline.competition.answers.task import Task
from pipeline.competition.folds.fold_table import Labelled
from pipeline.competition.tables.table import read_test
from pipeline.config import Config
from pipeline.engine.features import Described, Frozen
from pipeline.engine.heads import Head, read_head, write_head
from pipeline.engine.start import find_normalisation
from pipeline.files import InputError, lock
from pipeline.freshness import Inputs, heads_from, heads_stamp, must_be_probed
from pipeline.images.cache import Images, open_images
from pipeline.log import log
from pipeline.model.build import build_model
from pipeline.paths import all_folds, head_path, heads_dir, probe_dir
from pipeline.processes import team
from pipeline.stamps import stale, write_stamp

Array = np.ndarray[Any, Any]


def fit(cfg: Config, labelled: Labelled, identity: str) -> tuple[Frozen, dict[int | str, Fitted], Described]:
    """Fit the classifiers, write them, and what each says of the fold that it has not seen.

    Several processes share the images; the first fits and writes.

    Args:
        cfg: the settings.
        labelled: the labelled images with their folds.
        identity: hash of the images' ids and bytes.

    Returns:
        The network, its classifiers, and the images that can be read; in other processes than the first the network
        alone.

    Raises:
        ConfigError: a network that there is not, or that cannot take these settings or images.
        InputError: weights that cannot be had, features that are not finite, a fold that leaves no image.
        TooLittleMemory: one image is too much.
    """
    frozen, images, features, fitted = _fit(cfg, labelled, identity)
    if cfg.folds.num_folds and team().is_first:
        indices, probs = out_of_fold(labelled, features, images.readable, fitted, cfg.infer.keep_top)
        said = Predictions(labelled.ids(indices), labelled.task.classes, probs)
        write_predictions(probe_dir(cfg) / "oof.parquet", said)
    return frozen, fitted, Described.of(labelled.samples.ids, features, images)


def first_classifier(cfg: Config, fold: int | str, labelled: Labelled, inputs: Inputs) -> Linear:
    """The classifier that a training starts from: the probe's, where both see images of one size.

    Features change with the size: where a plan trains on smaller images, a classifier is fitted on theirs.

    Raises:
        ConfigError: this run has no probe.
        InputError: it is not made, or from something else; the command to run.
        TooLittleMemory: one image is too much.
    """
    must_be_probed(cfg, inputs)
    if cfg.trains_smaller:
        _fit_smaller(cfg, labelled, inputs)
    return read_head(head_path(cfg, fold)).fitted.linear


def _fit_smaller(cfg: Config, labelled: Labelled, inputs: Inputs) -> None:
    """Fit the classifiers that all trainings on a plan's smaller images start from, unless they are there."""
    stamp, members = heads_stamp(cfg), team()
    with lock(stamp.with_suffix(".lock"), str(heads_dir(cfg)), wait=True) if members.is_first else nullcontext():
        made_from = heads_from(cfg, inputs)
        if members.first(lambda: stale(stamp, made_from) is None):
            return
        log.info("train: the classifiers to start from are fitted on images of %s px", cfg.image.size)
        fitted = _fit(cfg, labelled, inputs.train or "")[-1]
        if members.is_first:
            write_stamp(stamp, made_from, [head_path(cfg, fold) for fold in fitted])
        members.meet()


def _fit(cfg: Config, labelled: Labelled, identity: str) -> tuple[Frozen, Images, Array, dict[int | str, Fitted]]:
    """Fit the classifiers and write them; with the network, the images and their features."""
    task = labelled.task
    images = open_images(cfg, "train", labelled.samples.keys)
    model = build_model(cfg.model, cfg.image.size, cfg.image.channels, task.num_outputs, 0)
    normalisation = find_normalisation(cfg, model, images, np.flatnonzero(images.readable))
    frozen = Frozen.of(cfg, model, task, normalisation)
    features = frozen.features(cfg, "train", labelled.samples.ids, images, identity)
    if not team().is_first:
        return frozen, images, features, {}
    fitted = fit_probe(labelled, features, images.readable, all_folds(cfg))
    for fold, one in fitted.items():
        write_head(head_path(cfg, fold), Head(one, normalisation, frozen.network))
    return frozen, images, features, fitted


def fitted_before(cfg: Config, task: Task) -> tuple[Frozen, dict[int | str, Fitted]] | None:
    """Read the classifiers, and build the network that they are for; None where that is not here, which is said.

    Trained models need no published weights, and predict without the probe.

    Raises:
        InputError: a classifier is not there, or not whole.
    """
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


def predict_test(cfg: Config, frozen: Frozen, fitted: Mapping[int | str, Fitted], identity: str) -> Described:
    """Write the mean of what the folds' classifiers say of the test images; of the one of all images without folds.

    Returns:
        The images that can be read.
    """
    test, task, keep = read_test(cfg), frozen.predictor.task, cfg.infer.keep_top
    images = open_images(cfg, "test", test.keys)
    features = frozen.features(cfg, "test", test.ids, images, identity)
    if not team().is_first:
        return Described.of(test.ids, features, images)
    chosen = [one for fold, one in fitted.items() if fold != "full" or len(fitted) == 1]
    probs = Probs.mean([one.predict(features, images.readable, task, keep) for one in chosen], keep)
    write_predictions(probe_dir(cfg) / "test.parquet", Predictions(test.ids, task.classes, probs))
    return Described.of(test.ids, features, images)
