"""Which columns of a train table are the labels, and how surely."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.competition.answers.spelling import classes_of, same
from pipeline.competition.answers.task import FLAGS
from pipeline.detection.found import quoted
from pipeline.detection.habits import CLASS_OF_COCO, LABEL_WORDS
from pipeline.detection.sample_table import Sample
from pipeline.detection.sheets import Sheet, has_fractions, numbers_of

# What may stand between two tags; of those that fit alike the first is taken.
TAG_SEPARATORS = (" ", ",", "|", ";", " + ", "+", " / ", "/")
# Of these, those that are no part of a name, so that cells may all have as many.
_NO_PART_OF_NAMES = (",", "|", ";")


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
        return {tag for cell in cells for tag in tags_of(cell, self.separator)} if self.separator else set(cells) - {""}


def choose_labels(sheet: Sheet, naming: Sequence[str], sample: Sample | None) -> Labels | None:
    """Choose the label columns of a train table; None where it has none.

    Args:
        sheet: the table.
        naming: its columns that name the image, which are no labels.
        sample: the sample submission, where there is one.
    """
    rest = {name: cells for name, cells in sheet.cells.items() if name not in naming}
    # Of a table without a header the names are ours.
    targets = list(sample.targets) if sample and not sample.sheet.headerless else []
    present = [name for name in targets if name in rest]
    if (
        sample
        and present
        and all(numbers_of(sample.sheet.cells[name]) is None for name in targets if name not in present)
    ):
        targets = present
    asked = [name if len(targets) > 1 else sheet.column(name) or "" for name in targets]
    if sheet.name.endswith(".json") and CLASS_OF_COCO in rest:
        found: Labels | None = Labels((CLASS_OF_COCO,), 0, "the name that the COCO format has for an image's class")
    elif asked and all(name in rest for name in asked):
        found = Labels(tuple(asked), 0, "the sample submission asks for the same")
    else:
        found = _by_values(rest, targets) or _by_elimination(rest, sample)
    if found is None or len(found.columns) > 1 or found.separator or len(targets) > 1:
        return found
    found = (sample and _as_answered(rest, found, sample)) or found
    separator = tag_separator(rest[found.columns[0]])
    return found.with_separator(separator)


def _as_answered(rest: dict[str, list[str]], found: Labels, sample: Sample) -> Labels | None:
    """Find the column whose values the sample's answers are, where none of them is a value of the one that was found:
    one that has every answer, or, of numbers, one that counts the values of the one that was found.
    """
    answers, own = {same(cell) for cell in sample.answers}, rest[found.columns[0]]
    if not answers or answers & {same(cell) for cell in own} or has_fractions(sample.answers):
        return None
    are_numbers = numbers_of(sample.answers) is not None
    for name, cells in rest.items():
        values = {same(cell) for cell in cells}
        counts_them = len(set(zip(own, cells, strict=True))) == len(values) == len(set(own)) > 1
        counts_them = are_numbers and counts_them and numbers_of(cells) is not None
        if name != found.columns[0] and (
            counts_them or (len(answers) > 1 and answers <= values and len(values) < len(cells))
        ):
            return Labels((name,), 0, f"the sample's answers are its values, none is one of {found.columns[0]!r}")
    return None


def _by_values(rest: dict[str, list[str]], targets: list[str]) -> Labels | None:
    """Choose the column whose values, or the tags in them, are the names of the sample's columns."""
    if len(targets) < 2:
        return None
    for separator in ("", " ", ",", "|", ";"):
        for name, cells in rest.items():
            values = (
                {tag for cell in cells for tag in tags_of(cell, separator)} if separator else set(filter(None, cells))
            )
            alike = len(values & set(targets)) >= 0.9 * len(values) or classes_of(targets, values) is not None
            if len(values) < 2 or not alike:
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
        says_label = any(word in name.lower() for word in LABEL_WORDS)
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
    where few pieces make many cells: half as many or fewer, in cells of unlike lengths, or separated by what is no part
    of a name.
    """
    distinct = set(cells)
    best = (0.5, "")
    for separator in TAG_SEPARATORS:
        tag_lists = [tags_of(cell, separator) for cell in distinct]
        tags = {tag for row in tag_lists for tag in row}
        shared = {tag for row in tag_lists if len(row) > 1 for tag in row}
        if not shared or len(tags) >= len(distinct) or any(len(set(row)) < len(row) for row in tag_lists):
            continue
        score = len(shared & distinct) / len(shared)
        several = sum(len(row) > 1 for row in tag_lists) > len(tag_lists) / 2
        varies = separator in _NO_PART_OF_NAMES or len({len(row) for row in tag_lists}) > 1
        if several and varies and 2 * len(tags) <= len(distinct):
            score = max(score, 0.75)
        best = max(best, (score, separator), key=lambda item: item[0])
    return best[1]


def tags_of(cell: str, separator: str) -> list[str]:
    """The tags in a cell."""
    return [tag.strip() for tag in cell.split(separator) if tag.strip()]


def _rows(columns: dict[str, list[str]]) -> int:
    return len(next(iter(columns.values())))


def names_files(cells: list[str]) -> bool:
    """Whether a column may name files: its cells are mostly different."""
    return len(set(cells)) * 2 > len(cells)
