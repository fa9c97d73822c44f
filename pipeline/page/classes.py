"""Sections on the classes: how often each is right, what it is taken for, how often it comes."""

from typing import Any

import numpy as np
from scipy.sparse import csr_array

from pipeline.competition.answers.decide import decide
from pipeline.page import charts
from pipeline.page.blocks import Block, Cell, Chart, Gallery, Section, Table, Text
from pipeline.page.facts import Facts
from pipeline.page.galleries import picture

Array = np.ndarray[Any, Any]

# Above so many classes the worst are shown.
_MOST = 30
# Pairs of classes that are named, those of which images are shown, and how many of each.
_MOST_PAIRS = 12
_MOST_SHOWN = 4
_MOST_OF_PAIR = 3


def classes_section(facts: Facts) -> Section:
    """How it is decided, the confusion matrix, a table of the classes, and the pairs that are confused most."""
    title = "Tags" if facts.task.kind == "multi" else "Classes"
    if not facts.is_scored or facts.task.kind == "number":
        return Section("classes", title)
    rule = [Text(line) for line in _rule(facts)]
    if facts.task.kind == "multi":
        return Section("classes", title, [*rule, _tags(facts)])
    counts, names = confusion(facts), facts.task.classes
    errors = counts.sum(0) + counts.sum(1) - 2 * counts.diagonal()
    rows, shown = _by_class(counts, names), np.arange(len(names))
    caption = "True class by row, said class by column"
    if len(names) > _MOST:
        f1 = np.array([2.0 if row[4] is None else float(row[4]) for row in rows])
        rows = [rows[index] for index in np.lexsort((-errors, f1))]
        shown = np.sort(np.argsort(-errors, kind="stable")[:_MOST])
        caption += f": the {len(shown)} classes of {len(names):,} with the most errors"
    chart = charts.matrix(counts[shown][:, shown].toarray(), [names[index] for index in shown], "said", "true")
    columns = ("class", "images", "recall", "precision", "F1", "most taken for", "so often")
    blocks: list[Block] = [*rule, Chart(caption, chart, "confusion matrix"), Table("By class", columns, rows)]
    return Section("classes", title, [*blocks, *_confused(facts, counts)])


def _rule(facts: Facts) -> list[str]:
    """How probabilities become what is said, where that is not the likeliest class."""
    task, decision = facts.task, facts.decision
    crossed = "here each fold is decided by what was found on the others, as for the CV score"
    if facts.is_cut:
        cuts = ", ".join(f"{cut:.2f}" for cut in decision.cuts)
        given = f", test images at {cuts}" if cuts else ""
        return [f"Grades are cut from the expected grade{given}; {crossed}."]
    if task.kind != "multi":
        return []
    bounds = sorted(set(decision.thresholds)) or [0.5]
    bound = f"{bounds[0]:.2f}" if len(bounds) == 1 else f"a threshold of its own, {bounds[0]:.2f} to {bounds[-1]:.2f}"
    found = f" So are test images decided; {crossed}." if decision.thresholds else ""
    forced = (
        "where none is, the image has none"
        if task.may_be_empty
        else "where none is, the tag that is nearest to it is said, as every train image has one"
    )
    return [f"A tag is said where its probability is above {bound}; {forced}.{found}"]


def _confused(facts: Facts, counts: csr_array) -> list[Block]:
    """The pairs of classes that are confused most, and images of the first of them."""
    names, pairs = facts.task.classes, most_confused(counts)
    if not pairs or len(names) < 3:
        return []
    there = counts.sum(1)
    rows = [
        (names[true], names[said], count, float(count / there[true]), int(counts[said, true]))
        for true, said, count in pairs
    ]
    columns = ("true class", "said class", "images", "share of the true class", "the other way")
    blocks: list[Block] = [Table("Confused most", columns, rows)]
    if facts.images is None:
        return blocks
    _, said = facts.likeliest
    pictures = []
    for true, other, _ in pairs[:_MOST_SHOWN]:
        own = np.flatnonzero((facts.targets == true) & (facts.decided == other))
        surest = own[np.argsort(-said[own, 0], kind="stable")][:_MOST_OF_PAIR]
        pictures += [picture(facts, int(row)) for row in surest]
    return [*blocks, Gallery("Images of the pairs that are confused most", pictures)]


def most_confused(counts: csr_array) -> list[tuple[int, int, int]]:
    """The true class, the said class and the count of the pairs that are confused most, the most frequent first."""
    entries = counts.tocoo()
    is_wrong = (entries.row != entries.col) & (entries.data > 0)
    true, said, count = (column[is_wrong] for column in (entries.row, entries.col, entries.data))
    order = np.lexsort((said, true, -count))[:_MOST_PAIRS]
    return [(int(true[place]), int(said[place]), int(count[place])) for place in order]


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
