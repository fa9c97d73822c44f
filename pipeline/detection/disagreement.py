"""Where the sample's answers are no labels, what would be written is not what is asked for: what tells the one from the
other is named.
"""

import re
from collections.abc import Collection, Iterator, Sequence

from pipeline.competition.answers.spelling import as_number, same_among
from pipeline.detection.candidates import Candidate
from pipeline.detection.choose import are_among
from pipeline.detection.found import SAY, Choice, quoted
from pipeline.detection.inventory import Inventory
from pipeline.detection.sample_table import Sample
from pipeline.detection.sheets import numbers_of
from pipeline.files import InputError, read_json
from pipeline.quoting import shown

# Texts that may list classes, in bytes.
_LARGEST = 10**6
_LISTS_OF_CLASSES = (".txt", ".names")


def must_count_alike(inventory: Inventory, sample: Sample | None, train: Candidate) -> None:
    """Refuse labels that count from another number than the sample does, where the user has not named them.

    Raises:
        InputError: every answer is a label and one more, or less, and one of them is no label.
    """
    if sample is None or len(sample.targets) != 1 or train.labels.separator or "data.labels" in inventory.said:
        return
    labels, answers = _whole(train.labels.classes(train.sheet)), _whole(sample.answers)
    if len(answers) < 2 or not labels or answers <= labels:
        return
    for step, done in ((1, "subtracted from"), (-1, "added to")):
        if {answer + step for answer in answers} <= labels:
            column = train.labels.columns[0]
            raise InputError(
                f"{inventory.root}: the labels must be counted as the sample counts. Its answers go from "
                f"{min(answers):,} to {max(answers):,}, the labels of {train.name} from {min(labels):,} to "
                f"{max(labels):,}; write them there as the sample does (it seems 1 is to be {done} each), {SAY} "
                f"data.labels={column} where its answers mean nothing"
            )


def say_disagreement(
    inventory: Inventory, sample: Sample | None, train: Candidate, negative: Choice | None, *, numbers: bool
) -> list[str]:
    """Say, in sentences, where the sample's answers are no labels, and what to do.

    Args:
        inventory: the files.
        sample: the sample submission.
        train: what is trained on.
        negative: the choice of the label that counts as 0.
        numbers: whether numbers are predicted, not classes.
    """
    if sample is None or not sample.answers or numbers:
        return []
    classes = sorted(train.labels.classes(train.sheet))
    answer = sample.answers[0]
    if not are_among(sample, train.sheet, train.labels):
        what = (
            f"{shown(answer)} in the sample's column {shown(sample.targets[0])} is none of the {len(classes):,} labels"
        )
        return [f"{what} ({quoted(classes)}); {_way_on(inventory, sample, train, classes)}"]
    one_number = len(set(sample.answers)) == 1 and numbers_of([answer]) is not None
    if not one_number or len(sample.targets) > 1 or negative:
        return []
    form = same_among(classes)
    if not any(numbers_of([name]) or form(name) == form(answer) for name in classes):
        what = f"the sample has {shown(answer)} in every row, the labels are names ({quoted(classes)}): these are "
        if told := _told(inventory, sample, train, classes):
            return [f"{what}written; {told}"]
        hint = "data.negative names the label that counts as 0, where a number is wanted"
        if len(classes) != 2:
            hint = "where numbers are wanted, write them into the train table, in a column that data.labels names"
        return [f"{what}written; {hint}"]
    if as_number(answer) == 0 and _whole(classes) == set(range(1, len(classes) + 1)):
        return [
            f"the sample has {shown(answer)} in every row, the labels are {quoted(classes)}: these are written; where "
            f"the competition counts from 0, subtract 1 from each in {train.name}"
        ]
    return []


def _way_on(inventory: Inventory, sample: Sample, train: Candidate, classes: Sequence[str]) -> str:
    """Say what to do about answers that are no labels."""
    if told := _told(inventory, sample, train, classes):
        return told
    form = same_among(classes)
    answers = {form(cell) for cell in sample.answers}
    for sheet in inventory.sheets:
        for name, cells in sheet.cells.items() if sheet is not sample.sheet and not sheet.is_test else ():
            if answers <= {form(cell) for cell in cells}:
                return f"data.train and data.labels say where these are, such as column {shown(name)} of {sheet.name}"
    return f"the labels are written as {train.name} has them: where others are wanted, write those in their place"


def _told(inventory: Inventory, sample: Sample, train: Candidate, classes: Sequence[str]) -> str:
    """Name the file that says which answer is which label, and what to do; "" where there is none."""
    form = same_among(classes)
    answers, labels = {form(cell) for cell in sample.answers}, {form(name) for name in classes}
    for name, columns in _lists(inventory, [train.name, sample.sheet.name]):
        forms = [{form(cell) for cell in column} for column in columns if len(column) == len(classes)]
        numbered = len(forms) == 1 and len(_whole(classes)) > 0
        if any(answers <= cells for cells in forms) and (numbered or labels in forms):
            where = f"name the folders of {train.name}" if train.match is None else f"write the labels of {train.name}"
            return f"{name} tells which is which: {where} as it says"
    return ""


def _lists(inventory: Inventory, without: Collection[str]) -> Iterator[tuple[str, list[Sequence[str]]]]:
    """Give the columns of each small file that may list classes."""
    for sheet in inventory.sheets:
        if sheet.name not in without:
            yield sheet.name, list(sheet.cells.values())
    for name in inventory.files:
        path = inventory.opened / name
        ending = path.suffix.lower()
        is_small = name.count("/") <= 1 and name not in without and ending in (".json", *_LISTS_OF_CLASSES)
        if not is_small or path.stat().st_size > _LARGEST:
            continue
        if ending == ".json":
            value = read_json(path)
            items = value.items() if isinstance(value, dict) else ()
            rows = [(key, str(item)) for key, item in items if isinstance(item, (str, int))]
            yield name, list(zip(*rows, strict=True))
        else:
            yield name, _columns(path.read_text(encoding="utf-8", errors="replace").splitlines())


def _columns(lines: Sequence[str]) -> list[Sequence[str]]:
    """Cut lines such as `0: owl` in two; lines of which one is otherwise stay whole."""
    lines = [line.strip() for line in lines if line.strip()]
    pairs = [re.fullmatch(r"(\d+)\s*[:=,;\s]\s*(.+)|(.+?)\s*[:=,;\s]\s*(\d+)", line) for line in lines]
    found = [tuple(filter(None, pair.groups())) for pair in pairs if pair]
    return list(zip(*found, strict=True)) if found and len(found) == len(lines) else [lines]


def _whole(cells: Collection[str]) -> set[int]:
    """Read cells as whole numbers; empty where one is none."""
    values = numbers_of(list(cells)) or []
    return {int(value) for value in values} if all(value == int(value) for value in values) else set()
