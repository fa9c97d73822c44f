"""Linear classifiers of features: scikit-learn's on the features themselves, for few images and many, for all kinds."""

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, Ridge

from pipeline.competition.answers import linear
from pipeline.competition.answers.linear import Discriminants, Linear, fit_paths
from pipeline.competition.answers.task import Task


def task_of(kind: str, num_classes: int) -> Task:
    classes = tuple(map(str, range(num_classes)))
    return Task(kind, classes, "accuracy", ("label",), mean=10.0, std=4.0)  # type: ignore[arg-type]


def drawn(num_images: int, num_features: int, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Features around a mean far from 0 for each class, and the classes."""
    generator = np.random.default_rng(0)
    targets = np.arange(num_images) % num_classes
    middles = generator.normal(size=(num_classes, num_features))
    return (5 + 3 * (middles[targets] + generator.normal(size=(num_images, num_features)))).astype(np.float32), targets


def scaled(features: np.ndarray) -> np.ndarray:
    centred = features.astype(np.float64) - features.mean(0, dtype=np.float64)
    return centred / np.sqrt((centred**2).mean())


@pytest.mark.parametrize("num_features", [5, 60], ids=["fewer features than images", "more"])
@pytest.mark.parametrize("num_classes", [2, 4])
def test_logistic_regression(num_features: int, num_classes: int) -> None:
    features, targets = drawn(40, num_features, num_classes)
    (path,) = fit_paths(features, targets, task_of("single", num_classes), [np.arange(40)])
    for each, strength in zip(path, (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0), strict=True):
        wanted = LogisticRegression(C=strength, max_iter=1000, tol=1e-8).fit(scaled(features), targets)
        said = each.predict(features, task_of("single", num_classes), 1).array
        assert said.dtype == np.float32
        np.testing.assert_allclose(said, wanted.predict_proba(scaled(features)), atol=0.01)


def test_each_is_fitted_on_its_own_images_alone() -> None:
    features, targets = drawn(40, 5, 2)
    task, some = task_of("single", 2), np.arange(10, 40)
    alone = fit_paths(features[some], targets[some], task, [np.arange(30)])[0][4]
    both = fit_paths(features, targets, task, [np.arange(40), some])
    np.testing.assert_array_equal(both[1][4].weight, alone.weight)
    assert not np.array_equal(both[0][4].weight, alone.weight)


@pytest.mark.parametrize("kind", ["single", "multi"])
def test_of_very_many_images_some_are_enough(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    features, targets = drawn(60, 5, 2)
    task = task_of(kind, 2)
    given = np.eye(2, dtype=np.float32)[targets] if kind == "multi" else targets
    monkeypatch.setattr(linear, "MOST_VALUES", 5 * 25.0)
    found = fit_paths(features, given, task, [np.arange(60)])[0][4]
    monkeypatch.undo()
    np.testing.assert_array_equal(found.weight, fit_paths(features, given, task, [np.arange(0, 60, 3)])[0][4].weight)


def test_a_class_without_an_image_is_rare_and_not_impossible() -> None:
    features, targets = drawn(40, 5, 3)
    (path,) = fit_paths(features, targets, task_of("single", 4), [np.arange(40)])
    for each in path:
        said = each.predict(features, task_of("single", 4), 1).array
        assert said[:, 3].mean() == pytest.approx(1 / 44, rel=0.5)
        np.testing.assert_allclose(said.sum(1), 1, atol=1e-5)
    (path,) = fit_paths(features, np.ones(40, np.int64), task_of("single", 4), [np.arange(40)])
    one = path[4].predict(features, task_of("single", 4), 1).array
    np.testing.assert_allclose(one[:, 1], 44 / 47, rtol=1e-5)


def test_tags_are_a_regression_each() -> None:
    features, targets = drawn(40, 5, 4)
    tags = np.stack([targets == 1, targets > 1, np.ones(40), np.zeros(40)], 1).astype(np.float32)
    (path,) = fit_paths(features, tags, task_of("multi", 4), [np.arange(40)])
    said = path[5].predict(features, task_of("multi", 4), 1).array
    for tag in (0, 1):
        wanted = LogisticRegression(C=0.1, max_iter=1000, tol=1e-8).fit(scaled(features), tags[:, tag])
        np.testing.assert_allclose(said[:, tag], wanted.predict_proba(scaled(features))[:, 1], atol=0.01)
    np.testing.assert_allclose(said[:, 2], 40.5 / 41, rtol=1e-5)
    np.testing.assert_allclose(said[:, 3], 0.5 / 41, rtol=1e-4)


def test_numbers_are_in_their_own_unit() -> None:
    features, targets = drawn(40, 5, 4)
    numbers = (10 + 3 * targets).astype(np.float32)[:, None]
    (path,) = fit_paths(features, numbers, task_of("number", 0), [np.arange(40)])
    wanted = Ridge(alpha=30).fit(scaled(features), numbers[:, 0]).predict(scaled(features))
    said = path[len(path) - 1].predict(features, task_of("number", 0), 1).array
    assert said.shape == (40, 1)
    np.testing.assert_allclose(said[:, 0], wanted, rtol=1e-4)


def test_discriminant_analysis() -> None:
    """Scikit-learn's, but for the factor of all that depends on the features."""
    features, targets = drawn(60, 8, 3)
    features -= features.mean(0)
    wanted = LinearDiscriminantAnalysis("lsqr", shrinkage=0.2).fit(features, targets)
    ours: Linear = Discriminants(features, targets, 3)[7]
    np.testing.assert_allclose(ours.weight, 0.2 * wanted.coef_, rtol=1e-3, atol=1e-4)
    differences = ours.bias - 0.2 * wanted.intercept_
    shares = (1 - 0.2) * np.log(1 / 3)  # of the classes' shares, which have no factor
    np.testing.assert_allclose(differences, shares, atol=0.02)


def test_where_images_and_classes_are_many_the_likeliest_are_kept() -> None:
    """More classes than 1,000, more images x features x classes than logistic regression takes."""
    num_classes, num_features = 1001, 400
    features, targets = drawn(3003, num_features, num_classes)
    task = task_of("single", num_classes)
    (path,) = fit_paths(features, targets, task, [np.arange(3003)])
    chosen = path[5]
    logits = features[:50] @ chosen.weight.T + chosen.bias
    said = chosen.predict(features[:50], task, 5, true=targets[:50])
    assert not said.is_dense and said.num_outputs == num_classes
    wanted = np.exp(logits - logits.max(1, keepdims=True))
    wanted /= wanted.sum(1, keepdims=True)
    np.testing.assert_array_equal(said.best(5), np.argsort(-wanted, axis=1, kind="stable")[:, :5])
    np.testing.assert_allclose(said.at(targets[:50]), wanted[np.arange(50), targets[:50]], rtol=1e-4)
    assert (said.best(1)[:, 0] == targets[:50]).mean() > 0.9
