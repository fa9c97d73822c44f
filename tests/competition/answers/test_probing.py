"""A classifier for each fold: chosen by the other folds, blind for its own; the prior where an image cannot be read."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.competition.answers.linear import fit_paths
from pipeline.competition.answers.probing import fit_probe, out_of_fold
from pipeline.competition.answers.task import Task
from pipeline.competition.folds.fold_table import Labelled
from pipeline.competition.tables.table import Samples
from pipeline.files import InputError

Array = np.ndarray[Any, Any]
ALL = np.ones(90, np.bool_)
FOLDS = [0, 1, 2, "full"]


def labelled(num_folds: int = 3) -> tuple[Labelled, Array]:
    """90 images of three classes in folds, and features that tell the classes apart to some degree."""
    generator = np.random.default_rng(0)
    targets = generator.integers(0, 3, 90)
    features = (generator.normal(size=(90, 20)) + 0.7 * generator.normal(size=(3, 20))[targets]).astype(np.float16)
    ids = [f"{number:02d}" for number in range(90)]
    task = Task("single", ("a", "b", "c"), "accuracy", ("label",))
    samples = Samples(ids, ids, pd.DataFrame({"label": [task.classes[target] for target in targets]}), None, None)
    return Labelled(samples, task, targets, np.arange(90) % max(num_folds, 1)), features


def test_each_fold_s_classifier_is_the_best_on_the_others() -> None:
    known, features = labelled()
    fitted = fit_probe(known, features, ALL, FOLDS)
    assert list(fitted) == [0, 1, 2, "full"]
    chosen = [np.flatnonzero(known.folds != fold) for fold in range(3)]
    paths = fit_paths(features, known.targets, known.task, chosen)
    losses = np.zeros((3, len(paths[0])))
    for fold, path in enumerate(paths):
        own = np.flatnonzero(known.folds == fold)
        for place, linear in enumerate(path):
            probs = linear.predict(features[own], known.task, 1).array
            losses[fold, place] = -np.log(probs[np.arange(len(own)), known.targets[own]]).sum()
    for fold in range(3):
        place = (losses.sum(0) - losses[fold]).argmin()
        np.testing.assert_array_equal(fitted[fold].linear.weight, paths[fold][place].weight)


def test_no_classifier_sees_its_own_fold() -> None:
    """Other labels in a fold change all classifiers but its own, in weights; which strength is its own too."""
    known, features = labelled()
    before = fit_probe(known, features, ALL, FOLDS)
    own = known.folds == 1
    known.targets[own] = (known.targets[own] + 1) % 3
    after = fit_probe(known, features, ALL, FOLDS)
    np.testing.assert_array_equal(after[1].prior, before[1].prior)
    assert not np.array_equal(after[0].linear.weight, before[0].linear.weight)
    path = fit_paths(features, known.targets, known.task, [np.flatnonzero(~own)])[0]
    assert any(np.array_equal(after[1].linear.weight, linear.weight) for linear in path)


def test_an_image_that_cannot_be_read_gets_the_prior_and_is_not_fitted_on() -> None:
    known, features = labelled()
    readable = ALL.copy()
    readable[[3, 4]] = False
    features[[3, 4]] = 1000
    fitted = fit_probe(known, features, readable, FOLDS)
    indices, probs = out_of_fold(known, features, readable, fitted, 1)
    assert sorted(indices) == list(range(90))
    place = int(np.flatnonzero(indices == 3)[0])
    others = np.flatnonzero((known.folds != 0) & readable)
    shares = np.bincount(known.targets[others], minlength=3) / len(others)
    np.testing.assert_allclose(probs.array[place], shares, rtol=1e-6)
    cleaned = fit_probe(known, np.where(readable[:, None], features, 0).astype(np.float16), readable, FOLDS)
    np.testing.assert_array_equal(cleaned[0].linear.weight, fitted[0].linear.weight)


def test_without_folds_there_is_one_of_all_images() -> None:
    known, features = labelled(0)
    fitted = fit_probe(known, features, ALL, ["full"])
    assert list(fitted) == ["full"]
    said = fitted["full"].predict(features, ALL, known.task, 1).array
    assert (said.argmax(1) == known.targets).mean() > 0.6


def test_a_fold_that_leaves_no_image_is_refused() -> None:
    known, features = labelled()
    with pytest.raises(InputError, match=r"fold 0 leaves no image to train on\. Lower folds\.num_folds"):
        fit_probe(known, features, known.folds == 0, FOLDS)
