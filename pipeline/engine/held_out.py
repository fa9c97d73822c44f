"""What a model says of the fold that it has not seen: after training, and in inference where it is asked otherwise."""

import functools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.competition.answers import scoring
from pipeline.competition.answers.predictions import Predictions, write_predictions
from pipeline.competition.folds.fold_table import Labelled
from pipeline.config import Config
from pipeline.engine.predict import Predicted, predict
from pipeline.engine.predictor import Predictor, evaluation_batch
from pipeline.files import atomic_write, digest_file
from pipeline.freshness import train_stamp
from pipeline.images.cache import Images, open_images
from pipeline.paths import fold_dir
from pipeline.processes import team
from pipeline.stamps import note


def write_held_out(path: Path, labelled: Labelled, fold: int | str, predicted: Predicted) -> dict[str, Any]:
    """Write the predictions of a fold's images.

    Returns:
        Their scores by the metric, decided plainly, by all views and by the first alone: whether the views are of use.
    """
    _, indices = labelled.split(fold)
    task, targets = labelled.task, labelled.targets[indices]
    write_predictions(path, Predictions(labelled.ids(indices), task.classes, predicted.probs))
    score = scoring.score(task, targets, predicted.probs)
    first = score if predicted.first_view is None else scoring.score(task, targets, predicted.first_view)
    return {"metric": task.metric, "all views": score, "first view": first}


def write_valid(cfg: Config, labelled: Labelled, fold: int | str, predicted: Predicted) -> dict[str, Any]:
    """Write what a model said of its fold after its last epoch, which inference need not ask again.

    Returns:
        What inference wants to know of it: how it was asked, the file's hash, its scores.
    """
    path = fold_dir(cfg, fold) / "valid.parquet"
    scores = write_held_out(path, labelled, fold, predicted)
    return {"asked": _asked(cfg, predicted.batch_size), "scores": scores, "sha256": digest_file(path)}


def said_in_training(cfg: Config, fold: int | str) -> tuple[Path, dict[str, Any]] | None:
    """What a model said of its fold after its last epoch, with its scores; None where that is not there, or inference
    would ask in another way (views, or batches, whose sizes differ by rounding).
    """
    path, known = fold_dir(cfg, fold) / "valid.parquet", note(train_stamp(cfg, fold), "valid")
    known = known if isinstance(known, dict) else {}
    asked = _asked(cfg, evaluation_batch(cfg.infer, cfg.train.batch_size))
    if known.get("asked") != asked or not path.is_file() or digest_file(path) != known.get("sha256"):
        return None
    return path, known.get("scores", {})


def _asked(cfg: Config, batch_size: int) -> dict[str, Any]:
    """How a fold's images are predicted; fewer at once than asked for where memory was too little."""
    return {"views": list(cfg.infer.views), "keep_top": cfg.infer.keep_top, "batch_size": batch_size}


class HeldOut:
    """The images of the folds, each to be predicted by the model that has not seen them; opened once, if at all.

    Args:
        cfg: the settings.
        labelled: the labelled images with their folds.
    """

    def __init__(self, cfg: Config, labelled: Labelled) -> None:
        self.cfg = cfg
        self.labelled = labelled

    @functools.cached_property
    def images(self) -> Images:
        """The mapped images."""
        return open_images(self.cfg, "train", self.labelled.samples.keys)

    @functools.cached_property
    def targets(self) -> Tensor:
        """Their targets, as `Task.encode` gives them."""
        return torch.tensor(self.labelled.targets)

    def predict(self, fold: int | str, predictor: Predictor) -> dict[str, Any]:
        """Write what a model says of its fold, as training wrote it where it asked in the same way.

        Several processes share the images, and the first writes.

        Returns:
            Its scores; nothing in other processes than the first.
        """
        path, members = fold_dir(self.cfg, fold) / "oof.parquet", team()
        known = said_in_training(self.cfg, fold)
        if members.first(lambda: known is not None):
            if not members.is_first or known is None:
                return {}
            source, scores = known
            with atomic_write(path) as stream:
                stream.write(source.read_bytes())
            return scores
        _, indices = self.labelled.split(fold)
        batches = predictor.batches(self.images, indices, self.cfg.infer, f"infer {fold} oof", self.targets)
        (predicted,) = predict([predictor], batches, self.cfg.infer)
        return write_held_out(path, self.labelled, fold, predicted) if members.is_first else {}
