"""Sections of images: those whose labels may be wrong, that models are most wrong about, and least sure of."""

from typing import Any

import numpy as np

from pipeline.audit.doubt_lines import qualified
from pipeline.competition.answers.probs import Probs
from pipeline.competition.answers.task import Task
from pipeline.page.blocks import Block, Gallery, Picture, Section, Text
from pipeline.page.facts import Facts, in_words
from pipeline.page.pictures import shown
from pipeline.paths import run_dir

Array = np.ndarray[Any, Any]

_MOST = 12
# Of the tags of an image, the likeliest that are named with their probability.
_MOST_TAGS = 3


def images_section(facts: Facts) -> Section:
    """Images with their id, label and prediction; each once, where it stands first."""
    blocks: list[Block] = []
    if not facts.is_scored or facts.images is None:
        return Section("images", "Images to look at", blocks)
    above: list[int] = []
    if facts.doubts:
        above = _doubted(facts)[:_MOST]
        where = run_dir(facts.cfg) / "doubts.csv"
        caption = f"Labels that may be wrong, the most doubtful first; all {len(facts.doubts):,} are in {where}"
        blocks.append(Gallery(caption, [_doubt(facts, row) for row in above]))
    elif facts.scores.get("doubts") == 0 and facts.scores.get("judged") != 0:
        blocks.append(Text("No label that is judged is in doubt."))
    blocks += [Text(f"{line[0].upper()}{line[1:]}.") for line in qualified(facts.scores)]
    for caption, rows in _ranked(facts):
        own = rows[~np.isin(rows, above)][:_MOST].tolist()
        if own:
            others = " (but those above)" if np.isin(above, rows).any() else ""
            blocks.append(Gallery(f"{caption}{others}", [picture(facts, row) for row in own]))
        above += own
    return Section("images", "Images to look at", blocks)


def _doubted(facts: Facts) -> list[int]:
    """The rows of the images whose label is in doubt, the most doubtful first, each once."""
    place = facts.row_of_id
    return list(dict.fromkeys(place[doubt["id"]] for doubt in facts.doubts if doubt["id"] in place))


def _doubt(facts: Facts, row: int) -> Picture:
    """An image whose label is in doubt, with what speaks against it, as doubts.csv has it."""
    assert facts.oof is not None
    id_ = facts.oof.ids[row]
    own = next(doubt for doubt in facts.doubts if doubt["id"] == id_)
    lines = (f"label: {own['label']}", f"likelier: {own['likelier']}", f"probability of the label: {own['said']}")
    if facts.task.kind == "number":
        lines = (f"label: {own['label']}", f"said: {own['likelier']}", f"z-score: {own['said']}")
    elif facts.task.kind == "multi":
        lines = (f"tag: {own['label']}", lines[1], lines[2])
    return shown(_pixels(facts, row), f"image {id_}, in doubt: {own['label']}", (id_, *lines))


def _ranked(facts: Facts) -> list[tuple[str, Array]]:
    """Captions, and the rows of the images below them, the first first."""
    if facts.task.kind == "number":
        away = np.abs(facts.targets[:, 0] - facts.probs.array[:, 0])
        return [("Furthest from the truth", np.argsort(-away, kind="stable"))]
    if facts.task.kind == "multi":
        is_wrong = (facts.targets > 0) != (facts.decided > 0)
        away = np.where(is_wrong, np.abs((facts.targets > 0) - facts.probs.array.astype(np.float64)), -1).max(1)
        order = np.argsort(-away, kind="stable")
        return [("The most confident errors", order[away[order] >= 0])]
    wrong = np.flatnonzero(facts.decided != facts.targets)
    if facts.is_cut:
        expected = facts.probs.expected(facts.task.grades)
        away = np.abs(expected - facts.task.grades[facts.targets])
        near = facts.in_order(
            [
                np.abs(expected[rows, None] - np.array(facts.decisions[fold].cuts)).min(1)
                for fold, rows in facts.rows_by_fold.items()
            ]
        )
        return [
            ("The gravest errors, furthest from their grade", wrong[np.argsort(-away[wrong], kind="stable")]),
            ("The least sure, nearest to a cut between grades", np.argsort(near, kind="stable")),
        ]
    _, said = facts.likeliest
    return [
        ("The most confident errors", wrong[np.argsort(-said[wrong, 0], kind="stable")]),
        ("The least sure", np.argsort(said[:, 0] - said[:, -1], kind="stable")),
    ]


def picture(facts: Facts, row: int) -> Picture:
    """A train image with its id, its label, and what is said of it."""
    assert facts.oof is not None
    id_, target = facts.oof.ids[row], facts.targets[row]
    lines = lines_of(facts.task, id_, target, facts.decided[row], facts.probs[row : row + 1], is_cut=facts.is_cut)
    return shown(_pixels(facts, row), f"image {id_}, label {in_words(facts.task, target)}", lines)


def lines_of(task: Task, id_: str, target: Array, decided: Array, probs: Probs, *, is_cut: bool) -> tuple[str, ...]:
    """What stands below an image: its id, its label, what is said of it, and by what.

    Args:
        task: kind, classes and metric.
        id_: the image's.
        target: as `Task.encode` gives it.
        decided: what the image is said to be, as a target is given.
        probs: of this image alone.
        is_cut: whether that was cut from the expected grade.
    """
    lines = (id_, f"label: {in_words(task, target)}", f"said: {in_words(task, decided)}")
    if task.kind == "number":
        return lines
    if task.kind == "multi":
        order = np.argsort(-probs.array[0])[:_MOST_TAGS].tolist()
        return (*lines, ", ".join(f"{task.classes[tag]} {probs.array[0, tag]:.2f}" for tag in order))
    if is_cut:
        return (*lines, f"expected grade: {float(probs.expected(task.grades)[0]):.2f}")
    return (*lines, f"probability: {float(probs.at(np.array([decided], np.int64))[0]):.2f}")


def _pixels(facts: Facts, row: int) -> Array:
    assert facts.images is not None
    return np.asarray(facts.images.gather(facts.indices[[row]])[0])
