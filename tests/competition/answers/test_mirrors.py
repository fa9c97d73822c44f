"""Flips that change what an image says: by names, and by what models take for one another."""

import unicodedata

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss

from pipeline.competition.answers.mirrors import against_hflip, doubts_of_flips, told_apart_by_chance
from pipeline.competition.answers.probs import Probs
from pipeline.competition.answers.scoring import Folds, score
from pipeline.competition.answers.task import Task
from pipeline.config_file import check

DIGITS = [str(number) for number in range(10)]
KOREAN = ["\uc67c\ucabd", "\uc624\ub978\ucabd"]  # left, right


@pytest.mark.parametrize(
    "classes",
    [
        ["left", "right"],
        ["turnLeft", "turnRight", "straight"],
        ["hand_l", "hand_r"],
        ["Turn left ahead", "stop"],
        ["East", "West"],
        ["clockwise", "counterclockwise"],
        ["Clockwise", "Counter-Clockwise"],
        ["anti-clockwise", "clockwise"],
        ["\u2190", "\u2191"],
        KOREAN,
        DIGITS,
        ["Zero", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine"],
        list("ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
        [*"abcdefghijklm", "space", "nothing"],
        list("bdx"),
        [str(number) for number in range(1, 11)],
        [unicodedata.normalize("NFD", name) for name in KOREAN],
        ["\uc88c\uce21 a", "\uc6b0\uce21 b"],  # left side, right side
    ],
)
def test_names_that_speak_against_flips(classes: list[str]) -> None:
    assert against_hflip(classes) and against_hflip(classes[::-1]) == against_hflip(classes)


@pytest.mark.parametrize(
    "classes",
    [
        ["cat", "dog"],
        ["bright", "dark"],
        list("ABCDE"),  # kinds, or grades
        ["0", "1", "2", "3", "4"],
        ["healthy", "leftover", "rightful"],
        [str(number) for number in range(20)],
        ["l", "m", "s", "xl"],
        ["a", "A"],
        ["-2", "2", "0"],
        ["C", "C#"],
    ],
)
def test_names_that_do_not(classes: list[str]) -> None:
    assert against_hflip(classes) == ""


def test_ten_numbers_that_a_file_names_are_no_digits() -> None:
    assert against_hflip(DIGITS, named=True) == ""


def sure_of(labels: np.ndarray) -> Probs:
    return Probs.dense(0.96 * np.eye(4)[labels] + 0.01)


def predictions(num_images: int, confused: tuple[int, int]) -> tuple[np.ndarray, Probs]:
    """Four classes, all known but two, which are told apart by a coin."""
    rng = np.random.default_rng(0)
    targets = np.arange(num_images) % 4
    said = np.where(np.isin(targets, confused), rng.choice(confused, num_images), targets)
    return targets, sure_of(said)


def test_classes_that_flips_make_one() -> None:
    targets, probs = predictions(400, (1, 2))
    ((first, second, right),) = told_apart_by_chance(targets, probs)
    within = np.isin(targets, (1, 2))
    assert (first, second) == (1, 2) and right == (probs.array.argmax(1) == targets)[within].mean()
    assert told_apart_by_chance(*predictions(40, (1, 2))) == [], "too few to say"
    assert told_apart_by_chance(targets, Probs.dense(np.eye(4)[targets])) == []
    random = np.eye(4)[np.random.default_rng(1).integers(0, 4, 400)]
    assert told_apart_by_chance(targets, Probs.dense(random)) == [], "nothing is known of them"


def doubts(settings: dict, metric: str, oof: Folds, first_view: Folds) -> list[str]:
    targets = predictions(400, (1, 2))[0]
    task = Task("single", ("down", "left", "right", "up"), metric, ("y",))
    by_view = {
        fold: {
            "metric": metric,
            "all views": score(task, targets[oof[fold][0]], oof[fold][1]),
            "first view": score(task, targets[indices], probs),
        }
        for fold, (indices, probs) in first_view.items()
    }
    return doubts_of_flips(check(settings), task, targets, oof, by_view)


@pytest.mark.parametrize("metric", ["accuracy", "log_loss"])
def test_what_is_said_of_flips(metric: str) -> None:
    targets, probs = predictions(400, (1, 2))
    rows = np.arange(400)
    oof = {str(fold): (rows[fold::2], probs[fold::2]) for fold in (0, 1)}
    sure = {fold: (indices, sure_of(targets[indices])) for fold, (indices, _) in oof.items()}
    flipped = {"infer": {"views": ["identity", "hflip"]}}
    views, pair = doubts(flipped, metric, oof, sure)
    right = {"accuracy": accuracy_score(targets, probs.array.argmax(1)), "log_loss": log_loss(targets, probs.array)}
    best = {"accuracy": 1.0, "log_loss": -np.log(0.97)}
    assert (
        f"make the {metric} of every fold worse: on average {right[metric]:.5f}, and {best[metric]:.5f} without"
        in views
    )
    assert pair.startswith("'left' and 'right' are told from all others, but no better than by chance from each other")
    assert doubts({}, metric, oof, sure) == [], "no flips are asked for"
    (pair,) = doubts({"augment": {"hflip": 0.5}}, metric, oof, {})
    assert "set augment.hflip = 0" in pair
    assert doubts(flipped, metric, sure, oof) == [], "the views make it better"


def test_scores_by_another_metric_say_nothing_of_views() -> None:
    """They are of the training, and the metric has been changed since."""
    targets, probs = predictions(400, (1, 2))
    oof = {str(fold): (np.arange(400)[fold::2], probs[fold::2]) for fold in (0, 1)}
    task = Task("single", ("down", "left", "right", "up"), "error", ("y",))
    cfg = check({"infer": {"views": ["identity", "shift_up"]}})
    by_view = {fold: {"metric": "error", "all views": 0.5, "first view": 0.4} for fold in oof}
    assert "make the error of every fold worse" in doubts_of_flips(cfg, task, targets, oof, by_view)[0]
    other = {fold: {**scores, "metric": "accuracy"} for fold, scores in by_view.items()}
    assert doubts_of_flips(cfg, task, targets, oof, other) == []
