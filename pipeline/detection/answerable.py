"""The check that labels can fill the sample submission, before anything is made of them."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.competition.answers.spelling import classes_of
from pipeline.competition.answers.task import FLAGS
from pipeline.detection.found import SAY, quoted
from pipeline.detection.label_columns import Labels
from pipeline.detection.sample_table import Sample
from pipeline.detection.sheets import Sheet, has_fractions
from pipeline.files import InputError
from pipeline.quoting import shown


def must_be_answerable(root: Path, sheet: Sheet, labels: Labels, sample: Sample | None) -> None:
    """Refuse labels that cannot fill the sample submission before anything is made of them.

    Raises:
        InputError: several columns to fill that are not the classes, several label columns that are no tags, or labels
            that are masks.
    """
    for name in labels.columns:
        cells = sheet.cells[name]
        masks = [cell for cell in cells if len(cell.split()) >= 4 and len(cell.split()) % 2 == 0 and _whole(cell)]
        if len(masks) * 2 > len([cell for cell in cells if cell]):
            raise InputError(
                f"{root}: labels must be classes, tags or numbers. Column {shown(name)} in {sheet.name} holds lists of "
                f"numbers such as {quoted(masks[:1])}, masks it seems, which are not predicted here; name another "
                f"column, {SAY} data.labels=COLUMN"
            )
    for name in labels.columns if len(labels.columns) > 1 else ():
        if odd := sorted(set(sheet.cells[name]) - set(FLAGS)):
            raise InputError(
                f"{root}: several label columns must hold 0 or 1. {shown(name)} in {sheet.name} holds {quoted(odd)}; "
                f"make a config for each of {quoted(labels.columns)}, which data.labels names, and a sample of its "
                "own, which data.sample_submission names"
            )
    targets = set(sample.targets) if sample else set()
    if sample and len(targets) == 1 and _with_confidence(sample.answers, set(sheet.cells[labels.columns[0]])):
        raise InputError(
            f"{root}: answers must be labels, probabilities, tags or numbers. Column {shown(sample.targets[0])} in "
            f"{sample.sheet.name} holds a label and its confidence, such as {quoted(sample.answers[:1])}, a form "
            "that is not written here; leave a label alone in each cell, and add the confidence by hand"
        )
    if sample is None or len(targets) < 2 or targets == set(labels.columns):
        return
    classes = labels.classes(sheet)
    if sample and classes_of(sample.targets, classes) is None:
        raise InputError(
            f"{root}: {sample.sheet.name} has {len(targets):,} columns to fill, which must be the classes or the label "
            f"columns of {sheet.name}. Got {quoted(sorted(targets - classes))}, and in column "
            f"{shown(labels.columns[0])} {quoted(sorted(classes - targets))}; make the names alike, {SAY} "
            "data.labels=COLUMN where another column has them"
        )


def _with_confidence(answers: Sequence[str], classes: set[str]) -> bool:
    """Whether each answer is a label, a space, and a fraction that is no label."""
    pairs = [cell.split() for cell in answers]
    return len(pairs) > 0 and all(
        len(pair) == 2 and pair[0] in classes and pair[1] not in classes and has_fractions(pair[1:]) for pair in pairs
    )


def _whole(cell: str) -> bool:
    return all(word.isdecimal() for word in cell.split())
