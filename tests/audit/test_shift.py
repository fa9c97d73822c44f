"""Train against test images: nothing where there is nothing, and what it is where there is something."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from pipeline.audit.shift import auc_and_error, find_shift


def noise(num: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num, width))


def test_the_error_is_delongs() -> None:
    """By its definition: the variance of each image's own share of pairs in the right order."""
    generator = np.random.default_rng(0)
    positive, negative = generator.integers(2, 9, 40) / 2, generator.integers(0, 8, 60) / 2
    auc, error = auc_and_error(positive, negative)
    right = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    assert auc == pytest.approx(roc_auc_score([1] * 40 + [0] * 60, np.concatenate([positive, negative])))
    assert error == pytest.approx(np.sqrt(right.mean(1).var(ddof=1) / 40 + right.mean(0).var(ddof=1) / 60))


def test_the_interval_holds_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    true, inside = stats.norm.cdf(1 / np.sqrt(2)), 0
    for _ in range(300):
        auc, error = auc_and_error(generator.normal(1, 1, 50), generator.normal(0, 1, 70))
        inside += abs(auc - true) < stats.norm.ppf(0.975) * error
    assert 0.91 <= inside / 300 <= 0.98


@pytest.mark.parametrize("names", [(), ("width", "height", "red")])
def test_images_of_one_kind_are_not_told_apart(names: tuple[str, ...]) -> None:
    width = len(names) or 200
    shift = find_shift(noise(150, width, 0), noise(100, width, 1), 0, names)
    assert shift is not None and 0.35 < shift.auc < 0.65 and not shift.is_grave
    assert shift.low < shift.auc < shift.high


def test_what_tells_them_apart_is_named() -> None:
    train, test = noise(150, 3, 0), noise(100, 3, 1)
    test[:, 1] += 2
    shift = find_shift(train, test, 0, ("width", "height", "red"))
    assert shift is not None and shift.is_grave and shift.auc > 0.85
    assert next(iter(shift.by_feature)) == "height" and shift.by_feature["red"] < 0.65


def test_so_does_a_direction_of_many_features() -> None:
    train, test = noise(400, 300, 0), noise(300, 300, 1)
    test += 0.3
    shift = find_shift(train, test, 0)
    assert shift is not None and shift.is_grave and shift.by_feature == {}


def test_the_same_images_are_chosen_every_time() -> None:
    train, test = noise(60, 5, 0), noise(60, 5, 1)
    assert find_shift(train, test, 3) == find_shift(train, test, 3)


def test_few_images_say_nothing() -> None:
    assert find_shift(noise(9, 3, 0), noise(500, 3, 1), 0) is None
