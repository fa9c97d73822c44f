"""Which columns are the labels, what the sample submission asks for, and which columns may be groups."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.competition.answers.task import FLAGS
from pipeline.detection.found import Choice, quoted
from pipeline.detection.tables import CLASS_OF_COCO, Sample, Sheet, has_fractions, numbers_of
from pipeline.files import InputError

# Habits in naming, which break ties and decide nothing else.
_LABEL_WORDS = ("label", "target", "class", "categor", "tag", "answer")
# A group is several images of one thing: more than 20 on average is rather a property that many things share.
MAX_GROUP = 20.0


@dataclass(frozen=True)
class Labels:
    """The label columns, how surely they are that (0: surely, 3: only likeliest), and why."""

    columns: tuple[str, ...]
    doubt: int
    reason: str
    separator: str = ""

    def with_separator(self, separator: str) -> "Labels":
        """Give the same columns, with several tags in a cell."""
        return Labels(self.columns, self.doubt, self.reason, separator)

    def classes(self, sheet: Sheet) -> set[str]:
        """List the columns' names where there are several; else what stands in the cells, or the tags in them."""
        if len(self.columns) > 1:
            return set(self.columns)
        cells = sheet.cells[self.columns[0]]
        return {tag for cell in cells for tag in _tags(cell, self.separator)} if self.separator else set(cells) - {""}


def choose_labels(sheet: Sheet, naming: Sequence[str], sample: Sample | None) -> Labels | None:
    """Choose the label columns of a train table; None where it has none.

    Args:
        sheet: the table.
        naming: its columns that name the image, which are no labels.
        sample: the sample submission, where there is one.
    """
    rest = {name: cells for name, cells in sheet.cells.items() if name not in naming}
    targets = list(sample.targets) if sample else []
    present = [name for name in targets if name in rest]
    if (
        sample
        and present
        and all(numbers_of(sample.sheet.cells[name]) is None for name in targets if name not in present)
    ):
        targets = present
    same = [name if len(targets) > 1 else sheet.column(name) or "" for name in targets]
    if sheet.name.endswith(".json") and CLASS_OF_COCO in rest:
        found: Labels | None = Labels((CLASS_OF_COCO,), 0, "the name that the COCO format has for an image's class")
    elif same and all(name in rest for name in same):
        found = Labels(tuple(same), 0, "the sample submission asks for the same")
    else:
        found = _by_values(rest, targets) or _by_elimination(rest, sample)
    if found is None or len(found.columns) > 1 or found.separator or len(targets) > 1:
        return found
    separator = tag_separator(rest[found.columns[0]])
    return found.with_separator(separator)


def _by_values(rest: dict[str, list[str]], targets: list[str]) -> Labels | None:
    """Choose the column whose values, or the tags in them, are the names of the sample's columns."""
    if len(targets) < 2:
        return None
    for separator in ("", " ", ",", "|", ";"):
        for name, cells in rest.items():
            values = (
                {tag for cell in cells for tag in _tags(cell, separator)} if separator else set(filter(None, cells))
            )
            if len(values) < 2 or len(values & set(targets)) < 0.9 * len(values):
                continue
            # Where some differ, `must_be_answerable` says which.
            return Labels((name,), 1, f"its values are the sample submission's {len(targets):,} columns", separator)
    return None


def _by_elimination(rest: dict[str, list[str]], sample: Sample | None) -> Labels | None:
    """Choose the only column that can hold labels; else one-hot columns; else the likeliest, by values, then name."""
    likely = {name: cells for name, cells in rest.items() if len(set(cells)) > 1 and _can_repeat(cells)}
    if not likely:
        return None
    if len(likely) == 1:
        return Labels((next(iter(likely)),), 2, "the only column that can hold labels")
    flags = [name for name, cells in likely.items() if set(cells) <= set(FLAGS)]
    if len(flags) > 1 and all(sum(FLAGS[likely[name][row]] for name in flags) == 1 for row in range(_rows(likely))):
        return Labels(tuple(_and_unseen(flags, rest)), 2, "columns of 0 and 1 with exactly one 1 in each row")
    whole = set(sample.answers) if sample else set()
    # An answer may be the k best labels.
    answers = {word for cell in whole for word in (cell.split() if " " in cell else [cell])}

    def key(name: str) -> tuple[bool, bool, int]:
        values = set(likely[name])
        says_label = any(word in name.lower() for word in _LABEL_WORDS)
        return not (answers and (answers <= values or whole <= values)), not says_label, len(values)

    best = min(likely, key=key)
    others = [name for name in likely if name != best]
    return Labels((best,), 3, f"the likeliest label column; others that could be it: {quoted(others)}")


def _and_unseen(flags: list[str], rest: dict[str, list[str]]) -> list[str]:
    """Add to one-hot columns those of classes that no train image has: right before, among or behind them."""
    names = list(rest)
    first, last = names.index(flags[0]), names.index(flags[-1])

    def is_unseen(name: str) -> bool:
        return {FLAGS.get(cell) for cell in rest[name]} == {0} and not name.lower().startswith(("is_", "has_"))

    while first > 0 and is_unseen(names[first - 1]):
        first -= 1
    while last + 1 < len(names) and is_unseen(names[last + 1]):
        last += 1
    return [name for name in names[first : last + 1] if name in flags or is_unseen(name)]


def _can_repeat(cells: list[str]) -> bool:
    """Whether values repeat, or are numbers that need not."""
    return len(set(cells)) < len(cells) or numbers_of(cells) is not None


def tag_separator(cells: Sequence[str]) -> str:
    """Find what separates several tags in one cell; "" where each cell is one label.

    Pieces of cells are tags where at least half of them are whole cells elsewhere (the words of a name are not), or
    where few pieces make many cells: half as many or fewer, in cells of unlike lengths, or not separated by spaces.
    """
    distinct = set(cells)
    best = (0.5, "")
    for separator in (" ", ",", "|", ";"):
        tag_lists = [_tags(cell, separator) for cell in distinct]
        tags = {tag for row in tag_lists for tag in row}
        shared = {tag for row in tag_lists if len(row) > 1 for tag in row}
        if not shared or len(tags) >= len(distinct) or any(len(set(row)) < len(row) for row in tag_lists):
            continue
        score = len(shared & distinct) / len(shared)
        several = sum(len(row) > 1 for row in tag_lists) > len(tag_lists) / 2
        varies = separator != " " or len({len(row) for row in tag_lists}) > 1
        if several and varies and 2 * len(tags) <= len(distinct):
            score = max(score, 0.75)
        best = max(best, (score, separator), key=lambda item: item[0])
    return best[1]


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
                f"{root}: labels must be classes, tags or numbers. Column {name!r} in {sheet.name} holds lists of "
                f"numbers such as {quoted(masks[:1])}, masks it seems, which are not predicted here"
            )
    for name in labels.columns if len(labels.columns) > 1 else ():
        if odd := sorted(set(sheet.cells[name]) - set(FLAGS)):
            raise InputError(
                f"{root}: several label columns must hold 0 or 1. {name!r} in {sheet.name} holds {quoted(odd)}; make a "
                f"config for each of {quoted(labels.columns)} with a sample submission of its own"
            )
    targets = set(sample.targets) if sample else set()
    if sample and len(targets) == 1 and _with_confidence(sample.answers, set(sheet.cells[labels.columns[0]])):
        raise InputError(
            f"{root}: answers must be labels, probabilities, tags or numbers. Column {sample.targets[0]!r} in "
            f"{sample.sheet.name} holds a label and its confidence, such as {quoted(sample.answers[:1])}, a form "
            "that is not written here; leave a label alone in each cell, and add the confidence by hand"
        )
    if sample is None or len(targets) < 2 or targets == set(labels.columns):
        return
    classes = labels.classes(sheet)
    if targets != classes:
        raise InputError(
            f"{root}: {sample.sheet.name} has {len(targets):,} columns to fill, which must be the classes or the label "
            f"columns of {sheet.name}. Got {quoted(sorted(targets - classes))}, and in column {labels.columns[0]!r} "
            f"{quoted(sorted(classes - targets))}; make the names alike"
        )


def propose_groups(sheet: Sheet, used: Sequence[str]) -> list[Choice]:
    """Propose columns whose values repeat, few images each: they may name what must not be split over folds."""
    proposals = []
    for name, cells in sheet.cells.items():
        distinct = len(set(cells))
        if name in used or distinct < 10 or "" in cells or has_fractions(cells):
            continue
        mean = len(cells) / distinct
        if 1.2 <= mean <= MAX_GROUP:
            most = max(Counter(cells).values())
            proposals.append(
                Choice(
                    "data.group",
                    name,
                    f"{name!r} has {distinct:,} values, {mean:.1f} images each on average, {most:,} at most. Not "
                    "used: set it if it names a person, place or thing, of which the test set shows others:",
                    proposed=True,
                )
            )
    return proposals


def _with_confidence(answers: Sequence[str], classes: set[str]) -> bool:
    """Whether each answer is a label, a space, and a fraction that is no label."""
    pairs = [cell.split() for cell in answers]
    return len(pairs) > 0 and all(
        len(pair) == 2 and pair[0] in classes and pair[1] not in classes and has_fractions(pair[1:]) for pair in pairs
    )


def _tags(cell: str, separator: str) -> list[str]:
    return [tag.strip() for tag in cell.split(separator) if tag.strip()]


def _whole(cell: str) -> bool:
    return all(word.isdecimal() for word in cell.split())


def _rows(columns: dict[str, list[str]]) -> int:
    return len(next(iter(columns.values())))
