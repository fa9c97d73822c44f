"""Sections on the classes: how often each is right, what it is taken for, how often it comes."""

from typing import Any

import numpy as np
from scipy.sparse import csr_array

from pipeline.page import charts
from pipeline.page.blocks import Block, Cell, Chart, Section, Table
from pipeline.page.facts import Facts

Array = np.ndarray[Any, Any]

# Above so many classes the worst are shown.
_MOST = 30


def classes_section(facts: Facts) -> Section:
    """The confusion matrix, and a table of the classes."""
    title = "Tags" if facts.task.kind == "multi" else "Classes"
    if not facts.is_scored or facts.task.kind == "number":
        return Section("classes", title)
    if facts.task.kind == "multi":
        return Section("classes", title, [_tags(facts)])
    counts, names = confusion(facts), facts.task.classes
    rows, worst = _by_class(counts, names), np.arange(len(names))
    blocks: list[Block] = []
    if len(names) > _MOST:
        f1 = np.array([2.0 if row[4] is None else float(row[4]) for row in rows])
        order = np.argsort(f1, kind="stable")
        rows = [rows[index] for index in order]
        worst = np.sort(order[counts.sum(1)[order] > 0][:_MOST])
    caption = "True class by row, said class by column"
    caption += f": the {len(worst)} classes of {len(names):,} with the least F1" if len(names) > _MOST else ""
    shown = counts[worst][:, worst].toarray()
    chart = charts.matrix(shown, [names[index] for index in worst], "said", "true")
    blocks.append(Chart(caption, chart, "confusion matrix"))
    columns = ("class", "images", "recall", "precision", "F1", "most taken for", "so often")
    blocks.append(Table("By class", columns, rows))
    return Section("classes", title, blocks)


def confusion(facts: Facts) -> csr_array:
    """How many images of each class are said to be of each: int64 (num_classes, num_classes), of which most are 0."""
    size = len(facts.task.classes)
    ones = np.ones(len(facts.targets), np.int64)
    return csr_array((ones, (facts.targets, facts.decided)), (size, size))


def _by_class(counts: csr_array, names: tuple[str, ...]) -> list[tuple[Cell, ...]]:
    rows: list[tuple[Cell, ...]] = []
    right, there, said = counts.diagonal(), counts.sum(1), counts.sum(0)
    for index, name in enumerate(names):
        own = slice(counts.indptr[index], counts.indptr[index + 1])
        errors = {int(other): int(count) for other, count in zip(counts.indices[own], counts.data[own], strict=True)}
        errors.pop(index, None)
        most = max(sorted(errors), key=lambda other: errors[other], default=None)
        confused = (None, None) if most is None else (names[most], errors[most])
        rows.append(
            (name, int(there[index]), *_rates(int(right[index]), int(there[index]), int(said[index])), *confused)
        )
    return rows


def _tags(facts: Facts) -> Table:
    true, said = facts.targets > 0, facts.decided > 0
    rows: list[tuple[Cell, ...]] = []
    for index, name in enumerate(facts.task.classes):
        own, there, flagged = (
            int(flags.sum()) for flags in (true[:, index] & said[:, index], true[:, index], said[:, index])
        )
        rows.append((name, there, *_rates(own, there, flagged)))
    return Table("By tag", ("tag", "images", "recall", "precision", "F1"), rows)


def _rates(own: int, there: int, said: int) -> tuple[float | None, float | None, float | None]:
    """Recall, precision, F1; None where nothing is there, or nothing said."""
    return (
        own / there if there else None,
        own / said if said else None,
        2 * own / (there + said) if there + said else None,
    )


def balance_section(facts: Facts) -> Section:
    """How often each class comes: in the train table, as said out of fold, as said of the test images."""
    blocks: list[Block] = []
    if facts.task.kind != "number":
        shares = {}
        if facts.labelled is not None:
            shares["train"] = _shares(facts, facts.labelled.targets)
        if facts.is_scored:
            shares["out of fold"] = _shares(facts, facts.decided)
        if facts.test is not None:
            from pipeline.competition.answers.decide import decide

            shares["test"] = _shares(facts, decide(facts.task, facts.test.probs, facts.decision))
        blocks = _balance(facts.task.classes, shares) if shares else []
    elif facts.labelled is not None:
        parts = {"train": facts.labelled.targets[:, 0]}
        parts |= {"out of fold": facts.probs.array[:, 0]} if facts.is_scored else {}
        parts |= {"test": facts.test.probs.array[:, 0]} if facts.test is not None else {}
        chart = charts.histogram(parts, facts.task.labels[0])
        blocks = [Chart("Of each part, as a share of itself", chart, "how numbers are distributed")]
    return Section("balance", "Numbers" if facts.task.kind == "number" else "Class balance", blocks)


def _balance(names: tuple[str, ...], shares: dict[str, Array]) -> list[Block]:
    first = next(iter(shares.values()))
    most = np.argsort(-np.max(np.stack(list(shares.values())), axis=0), kind="stable")[:_MOST]
    chosen = np.sort(most)
    caption = "Share of the images" + (f", the {_MOST} commonest of {len(names):,}" if len(names) > _MOST else "")
    chart = charts.bars({name: own[chosen] for name, own in shares.items()}, [names[i] for i in chosen], "share")
    rows: list[tuple[Cell, ...]] = [
        (names[index], *(float(own[index]) for own in shares.values())) for index in range(len(first))
    ]
    return [Chart(caption, chart, "share of each class"), Table("By class", ("class", *shares), rows)]


def _shares(facts: Facts, answers: Array) -> Array:
    """The share of the images that each class has: float64 (num_classes,)."""
    if facts.task.kind == "multi":
        return np.asarray((answers > 0).mean(0))
    return np.bincount(answers.astype(np.int64), minlength=len(facts.task.classes)) / max(len(answers), 1)
