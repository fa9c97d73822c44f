"""The page's numbers, against scikit-learn and the definitions."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import confusion_matrix, f1_score, precision_recall_fscore_support, roc_auc_score

from pipeline.competition.answers.predictions import Predictions
from pipeline.competition.answers.probs import Probs
from pipeline.competition.answers.task import Task
from pipeline.competition.folds.fold_table import Labelled
from pipeline.competition.tables.table import Samples
from pipeline.config import Config
from pipeline.page.blocks import Section, Table
from pipeline.page.classes import balance_section, classes_section, confusion
from pipeline.page.facts import Facts
from pipeline.page.render import render
from pipeline.page.score import expected_calibration_error, score_section, sureness_section

NAMES = ("ant", "bee", "cow")


def facts_of(task: Task, targets: np.ndarray, probs: np.ndarray, scores: dict | None = None) -> Facts:
    """A run whose images were predicted in the reverse of the table's order; the first is not predicted."""
    ids = [f"{number:03d}" for number in range(len(targets))]
    frame = pd.DataFrame({"label": [""] * len(ids)}, index=ids)
    labelled = Labelled(Samples(ids, [f"{id_}.png" for id_ in ids], frame), task, targets, np.arange(len(ids)) % 2)
    oof = Predictions(ids[:0:-1], task.classes, Probs.dense(probs[:0:-1]))
    test = Predictions(ids[:10], task.classes, Probs.dense(probs[:10]))
    return Facts(Config(), labelled, task, scores or {}, oof, test, None, {}, [], [], [], [])


def table(section: Section, caption: str) -> Table:
    """The table of a section by its caption."""
    return next(block for block in section.blocks if isinstance(block, Table) and block.caption == caption)


@pytest.fixture
def single() -> tuple[Facts, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    targets = generator.integers(0, 3, 120)
    probs = 0.6 * generator.dirichlet([1, 1, 1], 120) + 0.4 * np.eye(3)[targets]
    facts = facts_of(Task("single", NAMES, "accuracy", ("label",)), targets, probs)
    return facts, targets[1:], probs[1:]


def test_the_classes_are_those_of_scikit_learn(single: tuple[Facts, np.ndarray, np.ndarray]) -> None:
    facts, targets, probs = single
    said = probs.argmax(1)
    np.testing.assert_array_equal(confusion(facts).toarray(), confusion_matrix(targets, said))
    precision, recall, f1, counts = precision_recall_fscore_support(targets, said)
    rows = table(classes_section(facts), "By class").rows
    assert [row[0] for row in rows] == list(NAMES) and [row[1] for row in rows] == counts.tolist()
    np.testing.assert_allclose([row[2:5] for row in rows], np.stack([recall, precision, f1], 1))
    wrong = confusion_matrix(targets, said) * (1 - np.eye(3, dtype=np.int64))
    assert [row[5:] for row in rows] == [(NAMES[own.argmax()], own.max()) for own in wrong]


def test_the_calibration_error_is_that_of_its_definition(single: tuple[Facts, np.ndarray, np.ndarray]) -> None:
    facts, targets, probs = single
    sure, right = probs.max(1), probs.argmax(1) == targets
    expected = 0.0
    for low in np.arange(15) / 15:
        own = (sure > low) & (sure <= low + 1 / 15)
        if own.any():
            expected += own.mean() * abs(right[own].mean() - sure[own].mean())
    assert expected_calibration_error(facts) == pytest.approx(expected)


def test_of_very_many_classes_the_worst_stand_first() -> None:
    """No array of classes by classes is made: of 60,000 that would be 29 GB."""
    names = tuple(f"{number:05d}" for number in range(60_000))
    targets = np.arange(300) % 100
    kept = np.stack([np.where(np.arange(300) % 3 == 0, 7, targets), np.full(300, 59_999)], 1)
    probs = Probs.top(np.tile([0.9, 0.1], (300, 1)).astype(np.float32), kept, len(names))
    facts = facts_of(Task("single", NAMES, "accuracy", ("label",)), targets, np.zeros((300, 3)))
    facts = replace(facts, task=replace(facts.task, classes=names), oof=Predictions(facts.oof.ids, names, probs[:0:-1]))  # type: ignore[union-attr]
    section = classes_section(facts)
    rows = table(section, "By class").rows
    f1 = f1_score(targets[1:], kept[1:, 0], average=None, labels=np.arange(100))
    assert [row[4] for row in rows[:100]] == pytest.approx(sorted(f1)) and rows[100][4] is None
    assert any("the 30 classes of 60,000 with the least F1" in block.caption for block in section.blocks)  # type: ignore[union-attr]
    page = render("a", [], [section])
    assert page.count("<tr>") == Table.MOST + 1 and "The first 1,000 of 60,000 rows." in page and len(page) < 1_000_000


def test_shares_are_of_train_table_out_of_fold_and_test(single: tuple[Facts, np.ndarray, np.ndarray]) -> None:
    facts, _, probs = single
    assert facts.labelled is not None
    rows = table(balance_section(facts), "By class").rows
    expected = [
        np.bincount(values, minlength=3) / len(values)
        for values in (facts.labelled.targets, probs.argmax(1), facts.test.probs.array.argmax(1))  # type: ignore[union-attr]
    ]
    np.testing.assert_allclose([row[1:] for row in rows], np.stack(expected, 1))


def test_the_score_stands_with_its_interval_and_what_saying_the_same_gives(
    single: tuple[Facts, np.ndarray, np.ndarray],
) -> None:
    facts, targets, _ = single
    scores = {"cv": 0.75, "interval": [0.7, 0.8], "folds": {"0": 0.74, "1": None}, "warnings": ["beware"]}
    section = score_section(facts_of(facts.task, facts.labelled.targets, np.eye(3)[[0] * 120], scores))  # type: ignore[union-attr]
    assert section.blocks[0].text == "beware" and section.blocks[0].is_warning  # type: ignore[union-attr]
    rows = {row[0]: row[1:] for row in table(section, "In numbers").rows}
    assert rows["this run"] == (0.75, 0.7, 0.8) and rows["fold 0"] == (0.74, None, None) and "fold 1" not in rows
    assert rows["always the same answer"][0] == pytest.approx(np.bincount(targets).max() / len(targets))


def test_tags_are_ranked_and_decided_one_by_one() -> None:
    generator = np.random.default_rng(1)
    targets = (generator.random((90, 3)) < 0.4).astype(np.float32)
    probs = 0.5 * generator.random((90, 3)) + 0.4 * targets
    facts = facts_of(Task("multi", NAMES, "micro_f1", ("label",), " ", may_be_empty=True), targets, probs)
    rows = table(classes_section(facts), "By tag").rows
    np.testing.assert_allclose([row[4] for row in rows], f1_score(targets[1:], probs[1:] > 0.5, average=None))
    ranked = table(sureness_section(facts), "Ranking").rows
    np.testing.assert_allclose([row[2] for row in ranked], roc_auc_score(targets[1:], probs[1:], average=None))


@pytest.mark.parametrize("make", [score_section, classes_section, sureness_section, balance_section])
def test_a_class_without_images_and_one_class_alone_break_nothing(make: Callable[[Facts], Section]) -> None:
    task = Task("single", (*NAMES, "dog"), "roc_auc", ("label",))
    scores = {"cv": None, "folds": {"0": None}}
    facts = facts_of(task, np.zeros(20, np.int64), np.full((20, 4), 0.25), scores)
    assert make(facts).title


@pytest.mark.parametrize("make", [score_section, classes_section, sureness_section, balance_section])
def test_numbers_have_a_page_too(make: Callable[[Facts], Section]) -> None:
    targets = np.random.default_rng(0).normal(size=(30, 1)).astype(np.float32)
    scores = {"cv": 1.5, "folds": {"0": 1.5}}
    assert make(facts_of(Task("number", (), "rmse", ("label",)), targets, targets + 1, scores)).title
