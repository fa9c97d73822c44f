"""What is said of test images, against what was said out of fold."""

import numpy as np
import pytest

from pipeline.audit.drift import find_drift
from pipeline.competition.answers.probs import Probs
from pipeline.competition.answers.task import Task

THREE = Task("single", ("ant", "bee", "cow"), "accuracy", ("label",))


def said(num: int, shares: tuple[float, ...], seed: int, sure: float = 0.8) -> Probs:
    """Probabilities whose likeliest classes come in some shares, about so sure."""
    generator = np.random.default_rng(seed)
    best = generator.choice(len(shares), num, p=shares)
    values = np.full((num, len(shares)), (1 - sure) / (len(shares) - 1)) + generator.uniform(
        0, 0.02, (num, len(shares))
    )
    values[np.arange(num), best] = sure
    return Probs.dense(values / values.sum(1, keepdims=True))


@pytest.mark.parametrize("seed", range(5))
def test_images_of_one_kind_raise_no_alarm(seed: int) -> None:
    shares = (0.6, 0.3, 0.1)
    assert find_drift(THREE, said(300, shares, seed), said(120, shares, seed + 100)) == []


def test_other_shares_are_said_with_the_class_that_differs_most() -> None:
    (line,) = find_drift(THREE, said(300, (0.6, 0.3, 0.1), 0), said(200, (0.2, 0.7, 0.1), 1))
    assert "'bee' is 6" in line or "'bee' is 7" in line


def test_a_class_that_never_comes_is_named() -> None:
    found = find_drift(THREE, said(300, (0.7, 0.2, 0.1), 0), said(200, (0.75, 0.25, 0.0), 1))
    assert found == ["none of the test images is said to be 'cow', and out of fold many are"]


def test_less_sure_models_are_said() -> None:
    shares = (0.4, 0.3, 0.3)
    (line,) = find_drift(THREE, said(300, shares, 0, 0.9), said(200, shares, 1, 0.6))
    assert line.startswith("the likeliest class has a probability of 0.59 on average, and of 0.88")


def test_tags_and_numbers() -> None:
    task = Task("multi", ("sea", "sand"), "micro_f1", ("tags",), " ")
    generator = np.random.default_rng(0)
    oof, like, other = (generator.beta(2, 2, (200, 2)) for _ in range(3))
    other[:, 1] = generator.beta(6, 1, 200)
    assert find_drift(task, Probs.dense(oof), Probs.dense(like)) == []
    (line,) = find_drift(task, Probs.dense(oof), Probs.dense(other))
    assert "'sand' is 8" in line
    task = Task("number", (), "rmse", ("y",))
    oof, like = generator.normal(5, 1, (300, 1)), generator.normal(5, 1, (100, 1))
    assert find_drift(task, Probs.dense(oof), Probs.dense(like)) == []
    (line,) = find_drift(task, Probs.dense(oof), Probs.dense(like + 3))
    assert "below 8" in line or "below 7.9" in line


def test_a_few_images_say_nothing() -> None:
    assert find_drift(THREE, said(300, (1.0, 0.0, 0.0), 0), said(5, (0.0, 0.0, 1.0), 1)) == []
