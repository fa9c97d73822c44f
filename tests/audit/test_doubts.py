"""Labels in doubt: against the published rule written out, and planted wrong labels on real images."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import cohen_kappa_score
from sklearn.model_selection import cross_val_predict

from pipeline.audit.doubt_lines import qualified
from pipeline.audit.doubts import labels_in_doubt, learnt
from pipeline.competition.answers.probs import Probs
from pipeline.competition.answers.task import Task

THREE = Task("single", ("a", "b", "c"), "accuracy", ("label",))


def num_wrong(targets: np.ndarray, probs: np.ndarray) -> float:
    """Northcutt et al. 2021, equations 1 to 3, an image at a time: what is off the diagonal of the estimated joint."""
    classes = range(probs.shape[1])
    thresholds = [probs[targets == k, k].mean() for k in classes]
    joint = np.zeros((len(classes), len(classes)))
    for label, row in zip(targets, probs, strict=True):
        counts = [k for k in classes if row[k] >= thresholds[k]]
        if counts:
            joint[label, max(counts, key=lambda k: row[k])] += 1
    joint = joint / joint.sum(1, keepdims=True) * np.bincount(targets)[:, None]
    return joint.sum() - np.trace(joint)


@pytest.mark.parametrize("seed", range(5))
def test_how_many_says_the_published_rule_and_which_the_probability(seed: int) -> None:
    generator = np.random.default_rng(seed)
    true = generator.integers(0, 3, 200)
    probs = 0.6 * generator.dirichlet([1, 2, 0.5], 200) + 0.4 * np.eye(3)[true]
    targets = np.where(generator.random(200) < 0.15, generator.integers(0, 3, 200), true)
    found = labels_in_doubt(THREE, targets, Probs.dense(probs))
    own = probs[np.arange(200), targets]
    least = np.argsort(own)[: round(num_wrong(targets, probs))]
    expected = [index for index in least if probs[index].argmax() != targets[index]]
    assert found.image.tolist() == expected and len(expected) > 10
    np.testing.assert_allclose(found.said, own[expected])
    assert (found.label == targets[expected]).all() and (found.likelier == probs[expected].argmax(1)).all()


def test_of_many_classes_the_kept_ones_say_the_same() -> None:
    generator = np.random.default_rng(0)
    targets = generator.integers(0, 12, 300)
    probs = 0.7 * generator.dirichlet([0.3] * 12, 300).astype(np.float32)
    probs[np.arange(300), np.where(generator.random(300) < 0.1, (targets + 1) % 12, targets)] += 0.3
    task = Task("single", tuple("abcdefghijkl"), "accuracy", ("label",))
    best = np.argsort(-probs, axis=1)
    kept = Probs.top(np.take_along_axis(probs, best, 1), best, 12)
    dense, sparse = (labels_in_doubt(task, targets, each) for each in (Probs.dense(probs), kept))
    assert len(dense) and dense.image.tolist() == sparse.image.tolist()
    assert dense.likelier.tolist() == sparse.likelier.tolist()


def test_a_class_without_images_is_nobodys_doubt() -> None:
    probs = np.array([[0.1, 0.2, 0.7], [0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.2, 0.7, 0.1]])
    assert len(labels_in_doubt(THREE, np.array([0, 0, 1, 1]), Probs.dense(probs))) == 0


@pytest.mark.parametrize("num_classes", [2, 3, 10, 200])
def test_models_that_know_nothing_doubt_no_label(num_classes: int) -> None:
    """Of 200 classes and 1,000 images the estimate of a guess is that nearly all labels are wrong; of two, half."""
    generator = np.random.default_rng(0)
    targets = generator.permutation(np.arange(1000) % num_classes)
    probs = generator.dirichlet([0.3] * num_classes, 1000)
    task = Task("single", tuple(map(str, range(num_classes))), "accuracy", ("y",))
    found = labels_in_doubt(task, targets, Probs.dense(probs))
    assert num_wrong(targets, probs) > 900 * (1 - 1 / num_classes) and len(found) == found.num_judged == 0


def test_wrong_labels_of_a_small_class_are_found() -> None:
    """Most of its labels are wrong: the models say other classes of these, each by chance another."""
    generator = np.random.default_rng(0)
    true = np.repeat(np.arange(10), 50)
    targets = np.append(true, [10] * 10)
    shown = np.append(true, [10] * 4 + [0, 2, 4, 6, 7, 8])
    probs = 0.2 * generator.dirichlet([1] * 11, 510) + 0.8 * np.eye(11)[shown]
    probs[500:] = 0.05 / 11 + 0.95 * np.eye(11)[shown[500:]]
    task = Task("single", tuple(map(str, range(11))), "accuracy", ("y",))
    found = labels_in_doubt(task, targets, Probs.dense(probs))
    assert found.num_judged == 510 and sorted(found.image) == list(range(504, 510))


def test_a_class_that_models_do_not_know_is_not_judged() -> None:
    """Most of the second is taken for the first, which speaks of the models; in the first a wrong label is found."""
    generator = np.random.default_rng(0)
    targets = np.repeat([0, 1, 2], 60)
    shown = np.where(targets == 1, np.where(np.arange(180) % 10 < 8, 0, 1), targets)
    probs = 0.1 * generator.dirichlet([1, 1, 1], 180) + 0.9 * np.eye(3)[shown]
    probs[5] = [0, 0, 1]
    found = labels_in_doubt(THREE, targets, Probs.dense(probs))
    assert num_wrong(targets, probs) > 40 and found.image.tolist() == [5] and found.num_judged == 120


def test_models_that_always_say_the_commonest_class_doubt_no_label() -> None:
    """They say it more surely of its own images, so that by the joint alone they would know something."""
    generator = np.random.default_rng(0)
    targets = np.repeat([0, 1, 2], [140, 10, 8])
    probs = np.stack([np.where(targets == 0, 0.9, 0.7), np.full(158, 0.05), np.full(158, 0.05)], 1)
    probs += 0.05 * generator.random((158, 3))
    assert num_wrong(targets, probs) > 5
    found = labels_in_doubt(THREE, targets, Probs.dense(probs / probs.sum(1, keepdims=True)))
    assert len(found) == found.num_judged == 0


@pytest.mark.parametrize("kappa", [0.3, 0.5])
def test_labels_are_judged_where_kappa_is_moderate(kappa: float) -> None:
    generator = np.random.default_rng(0)
    targets = generator.integers(0, 3, 3000)
    said = np.where(generator.random(3000) < kappa, targets, generator.integers(0, 3, 3000))
    assert cohen_kappa_score(targets, said) == pytest.approx(kappa, abs=0.05)
    found = labels_in_doubt(THREE, targets, Probs.dense(0.1 / 3 + 0.9 * np.eye(3)[said]))
    assert found.num_judged == (3000 if kappa > 0.4 else 0)


def test_a_label_that_no_other_fold_has_is_not_judged() -> None:
    """No model that judged it has ever seen its class."""
    generator = np.random.default_rng(0)
    targets = np.append(generator.integers(0, 2, 100), 2)
    probs = 0.1 * generator.dirichlet([1, 1, 1], 101) + 0.9 * np.eye(3)[np.where(targets == 2, 0, targets)]
    probs[7] = probs[7][[1, 0, 2]]
    folds = np.arange(101) % 5
    is_learnt = learnt(THREE, targets, folds)
    assert np.flatnonzero(~is_learnt).tolist() == [100]
    found = labels_in_doubt(THREE, targets, Probs.dense(probs), is_learnt)
    assert found.image.tolist() == [7] and found.num_judged == 100


def test_what_is_learnt_is_a_label_of_another_fold() -> None:
    generator = np.random.default_rng(0)
    targets, folds = generator.integers(0, 12, 40), generator.integers(0, 3, 40)
    expected = [bool(((targets == own) & (folds != fold)).any()) for own, fold in zip(targets, folds, strict=True)]
    assert learnt(THREE, targets, folds).tolist() == expected and not all(expected)
    tags = (generator.random((9, 2)) < [0.1, 0.9]).astype(np.float32)
    task, folds = Task("multi", ("sea", "sand"), "micro_f1", ("tags",), " "), np.arange(9) % 3
    there = [[bool(((tags[:, t] == tags[n, t]) & (folds != folds[n])).any()) for t in (0, 1)] for n in range(9)]
    assert learnt(task, tags, folds).tolist() == there and not np.all(there)


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ((3, 100, 100), []),
        ((0, 0, 40), ["40 of 40 labels are not judged: no other fold has their class, or models take "]),
        ((20, 100, 100), ["20% of the labels that are judged are in doubt: so many are hardly wrong"]),
    ],
)
def test_how_far_doubts_can_be_trusted_is_said(counts: tuple[int, int, int], said: list[str]) -> None:
    lines = qualified(dict(zip(("doubts", "judged", "labels"), counts, strict=True)))
    assert len(lines) == len(said) and all(line.startswith(begin) for line, begin in zip(lines, said, strict=True))
    assert qualified({"doubts": 9}) == [], "an older run has not counted them"


def test_each_tag_is_in_doubt_by_itself() -> None:
    task = Task("multi", ("sea", "sand"), "micro_f1", ("tags",), " ")
    targets = np.array([[1, 0], [1, 0], [1, 1], [0, 1], [0, 0]], np.float32)
    probs = np.array([[0.9, 0.1], [0.05, 0.2], [0.9, 0.9], [0.2, 0.8], [0.1, 0.95]])
    found = labels_in_doubt(task, targets, Probs.dense(probs))
    assert list(zip(found.image.tolist(), found.label.tolist(), strict=True)) == [(1, 0), (4, 1)]
    np.testing.assert_allclose(found.said, [0.05, 0.05])


def test_numbers_far_from_what_is_said_are_in_doubt() -> None:
    generator = np.random.default_rng(0)
    said = generator.normal(50, 10, (100, 1))
    targets = said + generator.normal(0, 1, (100, 1))
    targets[7] += 30
    targets[3] -= 15
    found = labels_in_doubt(Task("number", (), "rmse", ("y",)), targets, Probs.dense(said))
    assert found.image.tolist()[:2] == [7, 3] and len(found) < 6


def test_numbers_that_models_do_not_know_are_not_in_doubt() -> None:
    """What they say is no nearer to most of them than a constant is."""
    generator = np.random.default_rng(0)
    targets = generator.normal(30, 1, (60, 1)).astype(np.float32)
    task = Task("number", (), "rmse", ("y",))
    found = labels_in_doubt(task, targets, Probs.dense(30 + 300 * generator.standard_t(2, (60, 1)).astype(np.float32)))
    assert len(found) == found.num_judged == 0


def test_planted_wrong_digits_are_found() -> None:
    """5 % planted: of as many labels as were planted, the most doubtful, at least 0.8 are."""
    images, targets = load_digits(return_X_y=True)
    generator = np.random.default_rng(0)
    wrong = generator.permutation(len(targets))[: len(targets) // 20]
    labels = targets.copy()
    labels[wrong] = (targets[wrong] + generator.integers(1, 10, len(wrong))) % 10
    probs = cross_val_predict(LogisticRegression(C=0.1, max_iter=500), images / 16, labels, method="predict_proba")
    task = Task("single", tuple("0123456789"), "accuracy", ("label",))
    found = labels_in_doubt(task, labels, Probs.dense(probs)).image[: len(wrong)]
    assert len(set(found) & set(wrong)) / len(wrong) >= 0.8
