"""The page's numbers, against scikit-learn and the definitions."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import (
    cohen_kappa_score,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
    roc_auc_score,
)

from pipeline.competition.answers.decide import decide
from pipeline.competition.answers.predictions import Predictions
from pipeline.competition.answers.probs import Probs
from pipeline.competition.answers.scoring import cross_validation, fitted
from pipeline.competition.answers.task import Task
from pipeline.competition.folds.fold_table import Labelled
from pipeline.competition.tables.table import Samples
from pipeline.config import Config
from pipeline.page.blocks import Chart, Gallery, Section, Table, Text
from pipeline.page.charts import histogram, usual_range
from pipeline.page.classes import balance_section, classes_section, confusion
from pipeline.page.facts import Facts
from pipeline.page.galleries import images_section
from pipeline.page.render import render
from pipeline.page.score import expected_calibration_error, reliability, score_section, sureness_section

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
    assert any(
        "the 30 classes of 60,000 with the most errors" in getattr(block, "caption", "") for block in section.blocks
    )
    page = render("a", [], [section])
    assert (
        page.count("<tr>") == Table.MOST + 1 + 13
        and "The first 1,000 of 60,000 rows." in page
        and len(page) < 1_000_000
    )


def test_the_classes_with_most_errors_and_the_pairs_confused_most_are_shown() -> None:
    generator = np.random.default_rng(0)
    names, targets = tuple(f"kind {number}" for number in range(40)), generator.integers(0, 40, 2000)
    said = np.where(generator.random(2000) < 0.02, generator.integers(0, 40, 2000), targets)
    said[(targets == 17) & (generator.random(2000) < 0.7)] = 31
    said[(targets == 3) & (generator.random(2000) < 0.5)] = 38
    facts = facts_of(Task("single", names, "accuracy", ("label",)), targets, 0.9 * np.eye(40)[said] + 0.1 / 40)
    vars(facts)["images"] = Blank(np.ones(2000, np.bool_))
    section = classes_section(facts)
    matrix = confusion_matrix(targets[1:], said[1:])
    wrong = matrix * (1 - np.eye(40, dtype=np.int64))
    rows = table(section, "Confused most").rows
    assert [row[2] for row in rows] == np.sort(wrong.ravel())[::-1][:12].tolist()
    for true, other, count, share, back in rows:
        row, column = names.index(str(true)), names.index(str(other))
        assert (count, back) == (wrong[row, column], wrong[column, row])
        assert share == pytest.approx(wrong[row, column] / matrix[row].sum())
    assert {row[:2] for row in rows[:2]} == {("kind 17", "kind 31"), ("kind 3", "kind 38")}
    (gallery,) = (block for block in section.blocks if isinstance(block, Gallery))
    shown = [picture.lines[1:3] for picture in gallery.pictures[:6]]
    assert shown == [(f"label: {row[0]}", f"said: {row[1]}") for row in rows[:2] for _ in range(3)]
    (chart,) = (block for block in section.blocks if isinstance(block, Chart))
    most = np.argsort(-(wrong.sum(0) + wrong.sum(1)), kind="stable")[:30]
    drawn = set(re.findall(r">(kind \d+)<", chart.svg))
    assert drawn == {names[index] for index in most} and len(drawn) == 30


@pytest.mark.parametrize(
    ("task", "decision", "said"),
    [
        (
            Task("multi", NAMES, "micro_f1", ("label",), " "),
            {"thresholds": [0.4] * 3, "cuts": []},
            "A tag is said where its probability is above 0.40; where none is, the tag that is nearest to it is said, "
            "as every train image has one. So are test images decided; here each fold is decided by what was found on "
            "the others, as for the CV score.",
        ),
        (
            Task("multi", NAMES, "micro_f1", ("label",), " ", may_be_empty=True),
            {"thresholds": [], "cuts": []},
            "A tag is said where its probability is above 0.50; where none is, the image has none.",
        ),
        (
            Task("ordinal", ("0", "1", "2"), "quadratic_kappa", ("label",)),
            {"thresholds": [], "cuts": [0.45, 1.5]},
            "Grades are cut from the expected grade, test images at 0.45, 1.50; here each fold is decided by what was "
            "found on the others, as for the CV score.",
        ),
    ],
)
def test_how_it_is_decided_is_said(task: Task, decision: dict[str, list[float]], said: str) -> None:
    generator = np.random.default_rng(0)
    targets = generator.integers(0, 3, 60)
    probs = generator.dirichlet([1, 1, 1], 60)
    encoded = np.eye(3, dtype=np.float32)[targets] if task.kind == "multi" else targets
    section = classes_section(facts_of(task, encoded, probs, {"decision": decision}))
    assert section.blocks[0] == Text(said)


def test_bars_of_reliability_stand_over_their_bins(single: tuple[Facts, np.ndarray, np.ndarray]) -> None:
    facts, _, probs = single
    edges, confidence, _, shares = reliability(facts)
    counts, bins = np.histogram(probs.max(1), np.arange(16) / 15)
    np.testing.assert_allclose(edges, np.stack([bins[:-1], bins[1:]], 1)[counts > 0])
    np.testing.assert_allclose(shares, counts[counts > 0] / counts.sum())
    assert ((edges[:, 0] <= confidence) & (confidence <= edges[:, 1])).all()


def test_an_outlier_does_not_squash_what_is_usual() -> None:
    usual = np.random.default_rng(0).normal(300, 20, 500)
    assert usual_range(np.append(usual, 6000.0)) == usual_range(usual) == (usual.min(), usual.max())
    assert usual_range(np.array([8.0] * 50 + [600.0])) == pytest.approx((7.2, 8.8))
    assert usual_range(np.zeros(5)) == (-0.5, 0.5)
    assert "1 further out, in the outermost bars" in histogram({"train": np.append(usual, 6000.0)}, "pixels")


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
    folds, grid = np.arange(90) % 2, sorted(np.arange(5, 96) / 100, key=lambda value: abs(value - 0.5))
    said = np.zeros_like(targets)
    for fold in (0, 1):
        others = (folds != fold) & (np.arange(90) > 0)
        found = [f1_score(targets[others], probs[others] > value, average="micro") for value in grid]
        said[folds == fold] = probs[folds == fold] > grid[int(np.argmax(found))]
    np.testing.assert_allclose([row[4] for row in rows], f1_score(targets[1:], said[1:], average=None))
    ranked = table(sureness_section(facts), "Ranking").rows
    np.testing.assert_allclose([row[2] for row in ranked], roc_auc_score(targets[1:], probs[1:], average=None))


@pytest.fixture
def grades() -> Facts:
    """Grades whose models say too much: what is cut from the expected grade is often not the likeliest."""
    generator = np.random.default_rng(3)
    targets = generator.integers(0, 4, 400)
    shifted = np.clip(targets + generator.integers(0, 2, 400), 0, 3)
    probs = 0.5 * generator.dirichlet([0.4] * 4, 400) + 0.5 * np.eye(4)[shifted]
    facts = facts_of(Task("ordinal", ("0", "1", "2", "3"), "quadratic_kappa", ("label",)), targets, probs)
    vars(facts)["images"] = Blank(np.ones(400, np.bool_))
    return facts


@dataclass(frozen=True)
class Blank:
    """Images without anything in them."""

    readable: np.ndarray

    def gather(self, indices: np.ndarray) -> np.ndarray:
        """The images of some indices."""
        return np.zeros((len(indices), 8, 8, 3), np.uint8)


def test_grades_are_cut_as_the_cv_score_cuts_them(grades: Facts) -> None:
    """The kappa of the page's matrix, by scikit-learn, is the CV score; no other way to decide gives the same."""
    assert grades.labelled is not None
    cv = cross_validation(grades.task, grades.labelled.targets, grades.by_fold)["cv"]
    assert cohen_kappa_score(grades.targets, grades.decided, weights="quadratic") == pytest.approx(cv)
    seen = decide(grades.task, grades.probs, fitted(grades.task, grades.labelled.targets, grades.by_fold))
    for other in (grades.probs.array.argmax(1), seen):
        assert abs(cohen_kappa_score(grades.targets, other, weights="quadratic") - cv) > 0.001
    np.testing.assert_array_equal(confusion(grades).toarray(), confusion_matrix(grades.targets, grades.decided))


def test_no_picture_of_an_error_says_what_its_label_says(grades: Facts) -> None:
    galleries = [block for block in images_section(grades).blocks if isinstance(block, Gallery)]
    assert [len(gallery.pictures) for gallery in galleries] == [12, 12]
    for number, gallery in enumerate(galleries):
        for shown in gallery.pictures:
            id_, label, said, expected = shown.lines
            row = grades.row_of_id[id_]
            assert said == f"said: {grades.decided[row]}" and label == f"label: {grades.targets[row]}"
            assert expected == f"expected grade: {grades.probs.array[row] @ np.arange(4):.2f}"
            assert number or said.removeprefix("said: ") != label.removeprefix("label: ")


def test_an_image_stands_once_among_doubts_and_errors() -> None:
    """With two classes the most confident errors are the most doubtful labels."""
    generator = np.random.default_rng(0)
    targets = generator.integers(0, 2, 200)
    first = np.clip(np.where(targets == 0, 0.8, 0.2) + generator.normal(0, 0.3, 200), 0.01, 0.99)
    probs = np.stack([first, 1 - first], 1)
    facts = facts_of(Task("single", ("a", "b"), "accuracy", ("label",)), targets, probs)
    order = np.argsort(probs[np.arange(200), targets])
    rows = [{"id": f"{n:03d}", "label": "a", "likelier": "b", "said": "0.01"} for n in order if n][:30]
    facts = replace(facts, doubts=rows)
    vars(facts)["images"] = Blank(np.ones(200, np.bool_))
    galleries = [block for block in images_section(facts).blocks if isinstance(block, Gallery)]
    ids = [shown.lines[0] for gallery in galleries for shown in gallery.pictures]
    assert ids[:12] == [row["id"] for row in rows[:12]] and ids[12:24] == [row["id"] for row in rows[12:24]]
    assert len(ids) == len(set(ids)) == 36
    assert galleries[1].caption == "The most confident errors (but those above)"


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
