"""What a page tells of, read from the products of a run, whole or not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.competition.answers.decide import PLAIN, Decision, decide
from pipeline.competition.answers.predictions import Predictions, read_predictions
from pipeline.competition.answers.probs import Probs
from pipeline.competition.answers.scoring import Folds, fitted
from pipeline.competition.answers.task import Task, make_task
from pipeline.competition.folds.fold_table import Labelled, read_labelled
from pipeline.competition.tables.table import Samples, read_all_train, read_test
from pipeline.config import Config
from pipeline.files import InputError, read_json, read_rows
from pipeline.freshness import Inputs
from pipeline.images.cache import Images, open_images
from pipeline.paths import alike_path, all_folds, fold_dir, folds_path, prepare_stamp, probe_dir, run_dir
from pipeline.scores.measure import decision_of, known_task
from pipeline.stamps import made_from

Array = np.ndarray[Any, Any]
Row = Mapping[str, str]


@dataclass(frozen=True)
class Facts:
    """A run, as far as it is.

    labelled: the train images with labels and folds; None where they are not here, or not split yet.
    oof: what was said of train images by models that have not seen them, by id; test: of the test images.
    probe: what the probe said out of fold.
    histories: the rows of each model's epochs.
    shifts: how well train and test images are told apart, by what.
    audit: a row for each image; doubts: for each label in doubt; alike: for each pair of images that are.
    train: the train images, split or not, those too that are left out of training; None where they are not here.
    """

    cfg: Config
    labelled: Labelled | None
    task: Task
    scores: Mapping[str, Any]
    oof: Predictions | None
    test: Predictions | None
    probe: Predictions | None
    histories: Mapping[str, Sequence[Row]]
    shifts: Sequence[Mapping[str, Any]]
    audit: Sequence[Row]
    doubts: Sequence[Row]
    alike: Sequence[Row]
    train: Samples | None = None

    @cached_property
    def indices(self) -> Array:
        """Of the images that `oof` is of: int64."""
        assert self.labelled is not None and self.oof is not None
        place = {id_: index for index, id_ in enumerate(self.labelled.samples.ids)}
        return np.array([place[id_] for id_ in self.oof.ids], np.int64)

    @property
    def probs(self) -> Probs:
        """What was said of them."""
        assert self.oof is not None
        return self.oof.probs

    @cached_property
    def targets(self) -> Array:
        """Their targets, as `Task.encode` gives them."""
        assert self.labelled is not None
        return self.labelled.targets[self.indices]

    @cached_property
    def decision(self) -> Decision:
        """Thresholds and cuts with which test images are decided."""
        return decision_of(self.scores) if "decision" in self.scores else PLAIN

    @cached_property
    def decisions(self) -> dict[str, Decision]:
        """Thresholds and cuts with which each fold is decided: those found on the others, as for the CV score."""
        assert self.labelled is not None
        return {fold: fitted(self.task, self.labelled.targets, self.by_fold, fold) for fold in self.by_fold}

    @cached_property
    def decided(self) -> Array:
        """What they are said to be: class indices, flags of tags, or numbers."""
        if self.task.kind == "number":
            return self.probs.array[:, :1]
        parts = [decide(self.task, probs, self.decisions[fold]) for fold, (_, probs) in self.by_fold.items()]
        return self.in_order(parts)

    @cached_property
    def row_of_id(self) -> dict[str, int]:
        """The row of `oof` that each image has."""
        return {id_: row for row, id_ in enumerate(self.oof.ids)} if self.oof else {}

    @cached_property
    def is_cut(self) -> bool:
        """Whether grades are cut from the expected one, which need not give the likeliest."""
        return self.is_scored and all(decision.cuts for decision in self.decisions.values())

    @cached_property
    def likeliest(self) -> tuple[Array, Array]:
        """The two likeliest classes of each image, int64 (num_images, 2), and their probabilities, float64."""
        best = self.probs.best(2)
        return best, self.probs.at(best).astype(np.float64)

    def in_order(self, parts: Sequence[Array]) -> Array:
        """Join what there is of each fold, a row for each image, in the order of `oof`."""
        return np.concatenate(parts)[np.argsort(np.concatenate(list(self.rows_by_fold.values())))]

    @property
    def is_scored(self) -> bool:
        """Whether there are images whose label is known and of which a model has said something without seeing them."""
        return self.labelled is not None and self.oof is not None and len(self.oof.ids) > 0

    @cached_property
    def by_fold(self) -> Folds:
        """What was said, fold by fold."""
        return {fold: (self.indices[rows], self.probs[rows]) for fold, rows in self.rows_by_fold.items()}

    @cached_property
    def rows_by_fold(self) -> dict[str, Array]:
        """The rows of `oof` that each fold has."""
        assert self.labelled is not None
        folds = self.labelled.folds[self.indices]
        return {str(fold): np.flatnonzero(folds == fold) for fold in np.unique(folds)}

    @cached_property
    def images(self) -> Images | None:
        """The pixels of the train images; None where they are not decoded."""
        return _open(self.cfg, "train", self.labelled.samples) if self.labelled else None

    def labels_of(self, ids: Sequence[str]) -> dict[str, str]:
        """The labels of some train images in words: as the table has them where they are not learnt."""
        if self.train is None:
            return {}
        known = set(ids).intersection(self.train.labels.index)
        labels = {id_: ", ".join(self.train.labels.loc[id_]) for id_ in known}
        if self.labelled is not None:
            pairs = zip(self.labelled.samples.ids, self.labelled.targets, strict=True)
            labels |= {id_: in_words(self.task, target) for id_, target in pairs if id_ in known}
        return labels

    def pixels_of(self, split: str, ids: Sequence[str]) -> dict[str, Array]:
        """The pixels of some images of a part, by their ids: uint8 (height, width, channels), where they are here."""
        samples = self.train if split == "train" else read_test(self.cfg)
        if samples is None:
            return {}
        images = _open(self.cfg, split, samples)
        if images is None:
            return {}
        place = {id_: index for index, id_ in enumerate(samples.ids)}
        known = [id_ for id_ in ids if id_ in place]
        return dict(zip(known, images.gather(np.array([place[id_] for id_ in known], np.int64)), strict=True))


def read_facts(cfg: Config, inputs: Inputs) -> Facts:
    """Read what there is of a run.

    Raises:
        InputError: there is nothing of it yet, nothing says what it predicts, or a table is broken.
    """
    folder = run_dir(cfg)
    is_split = folds_path(cfg).is_file()
    if inputs.has_train and not is_split and not made_from(prepare_stamp(cfg)):
        raise InputError(
            f"there must be something of {cfg.name} to tell of, its audit at least. Got nothing in {folder}. It is "
            f"made by: python -m pipeline.prepare {cfg.options}"
        )
    labelled = read_labelled(cfg) if inputs.has_train and is_split else None
    train = labelled.samples if labelled else None
    if inputs.has_train and (train is None or cfg.data.conflicts == "drop"):
        train = read_all_train(cfg)
    scores = read_json(folder / ("scores.json" if inputs.has_train else "scores_elsewhere.json"))
    return Facts(
        cfg,
        labelled,
        _task(cfg, labelled, train),
        scores if isinstance(scores, dict) else {},
        _predictions(folder / "oof.parquet"),
        _predictions(folder / "test.parquet"),
        _predictions(probe_dir(cfg) / "oof.parquet"),
        {str(fold): rows for fold in all_folds(cfg) if (rows := read_rows(fold_dir(cfg, fold) / "history.csv"))},
        [found for path in (folder, probe_dir(cfg)) if isinstance(found := read_json(path / "shift.json"), dict)],
        read_rows(folder / "audit.csv"),
        read_rows(folder / "doubts.csv"),
        read_rows(alike_path(cfg)),
        train,
    )


def _task(cfg: Config, labelled: Labelled | None, train: Samples | None) -> Task:
    """What is predicted: by the train table where that is here, else by what made a model."""
    if labelled is not None:
        return labelled.task
    return make_task(cfg, train) if train is not None else known_task(cfg)


def in_words(task: Task, target: Any) -> str:
    """A target in words: a class, the tags that are there, or a number."""
    if task.kind == "number":
        return f"{float(np.ravel(target)[0]):.5g}"
    if task.kind == "multi":
        return ", ".join(task.classes[index] for index in np.flatnonzero(np.asarray(target) > 0)) or "none"
    return task.classes[int(target)]


def _open(cfg: Config, split: str, samples: Samples) -> Images | None:
    try:
        return open_images(cfg, split, samples.keys, described=True)
    except InputError:
        return None


def _predictions(path: Path) -> Predictions | None:
    return read_predictions(path, "") if path.is_file() else None
