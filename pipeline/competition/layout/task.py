"""Which columns are the labels, what the sample submission asks for, and which columns may be groups."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.competition.layout.settings import Decision, quoted
from pipeline.competition.layout.tables import CLASS_OF_COCO, Sample, Sheet
from pipeline.files import InputError, read_json

# Habits in naming, which break ties and decide nothing else.
_LABEL_WORDS = ("label", "target", "class", "categor", "tag", "answer")
_FLAGS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "False": 0, "True": 1, "false": 0, "true": 1}
# Names of a class in which there is nothing to find.
NOTHING_THERE = ("cover", "normal", "negative", "none", "no", "background", "empty", "absent", "nothing", "control")
_LARGEST_MAP = 10**6
# How many grades a scale has, such as one of severity; with fewer or more, numbers are rather names of classes.
_NUM_GRADES = (4, 5, 6)
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
        """The same columns, with several tags in a cell."""
        return Labels(self.columns, self.doubt, self.reason, separator)


def choose_labels(sheet: Sheet, naming: Sequence[str], sample: Sample | None) -> Labels | None:
    """The label columns of a train table; None where it has none.

    Args:
        sheet: the table.
        naming: its columns that name the image, which are no labels.
        sample: the sample submission, where there is one.
    """
    rest = {name: cells for name, cells in sheet.cells.items() if name not in naming}
    targets = list(sample.targets) if sample else []
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
    """The column whose values, or the tags in them, are the names of the sample's columns."""
    if len(targets) < 2:
        return None
    for separator in ("", " ", ",", "|", ";"):
        for name, cells in rest.items():
            values = {tag for cell in cells for tag in _tags(cell, separator)} if separator else set(cells)
            if len(values) < 2 or len(values & set(targets)) < 0.9 * len(values):
                continue
            reason = f"its values are the sample submission's {len(targets):,} columns"
            odd = sorted(values ^ set(targets))
            if odd:
                reason += f", except {quoted(odd)}: a submission needs both to be the same"
            return Labels((name,), 1, reason, separator)
    return None


def _by_elimination(rest: dict[str, list[str]], sample: Sample | None) -> Labels | None:
    """The only column that can hold labels; else one-hot columns; else the likeliest, by values, then name."""
    likely = {name: cells for name, cells in rest.items() if len(set(cells)) > 1 and _can_repeat(cells)}
    if not likely:
        return None
    if len(likely) == 1:
        return Labels((next(iter(likely)),), 2, "the only column that can hold labels")
    flags = [name for name, cells in likely.items() if set(cells) <= set(_FLAGS)]
    if len(flags) > 1 and all(sum(_FLAGS[likely[name][row]] for name in flags) == 1 for row in range(_rows(likely))):
        return Labels(tuple(flags), 2, "columns of 0 and 1 with exactly one 1 in each row")
    answers = set(sample.answers) if sample else set()

    def key(name: str) -> tuple[bool, bool, int]:
        values = set(likely[name])
        says_label = any(word in name.lower() for word in _LABEL_WORDS)
        return not (answers and answers <= values), not says_label, len(values)

    best = min(likely, key=key)
    others = [name for name in likely if name != best]
    return Labels((best,), 3, f"the likeliest label column; others that could be it: {quoted(others)}")


def _can_repeat(cells: list[str]) -> bool:
    """Whether values repeat, or are numbers that need not."""
    return len(set(cells)) < len(cells) or _numbers(cells) is not None


def tag_separator(cells: Sequence[str]) -> str:
    """What separates several tags in one cell; "" where each cell is one label.

    Parts of cells are tags where at least half of them are whole cells elsewhere: the words of a name are not.
    """
    distinct = set(cells)
    best = (0.5, "")
    for separator in (" ", ",", "|", ";"):
        parts = [_tags(cell, separator) for cell in distinct]
        tags = {tag for row in parts for tag in row}
        shared = {tag for row in parts if len(row) > 1 for tag in row}
        if not shared or len(tags) >= len(distinct) or any(len(set(row)) < len(row) for row in parts):
            continue
        best = max(best, (len(shared & distinct) / len(shared), separator), key=lambda item: item[0])
    return best[1]


def choose_negative(root: Path, sheet: Sheet, labels: Labels, sample: Sample | None) -> Decision | None:
    """The label that counts as 0, where labels are names and one number is asked; None where that is not so.

    A label of `NOTHING_THERE`; else, of two labels, the first in the order of the alphabet.

    Raises:
        InputError: several labels could be it.
    """
    if sample is None or len(sample.targets) != 1 or len(labels.columns) > 1 or labels.separator:
        return None
    classes = sorted(set(sheet.cells[labels.columns[0]]))
    if _numbers(sample.answers) is None or any(_numbers([name]) for name in classes):
        return None
    asked = f"The sample has a number in column {sample.targets[0]!r}, the labels are names: "
    words = [name for name in classes if name.strip().casefold() in NOTHING_THERE]
    if len(words) == 1:
        return Decision("data.negative", words[0], f"{asked}this one says that nothing is there, and counts as 0.")
    if len(classes) == 2 and not words:
        reason = (
            f"{asked}this one counts as 0 and {classes[1]!r} as 1, by the alphabet: turn it round where it is not so."
        )
        return Decision("data.negative", classes[0], reason)
    raise InputError(
        f"{root}: {sample.sheet.name} asks for a number in column {sample.targets[0]!r}, so one label must count as 0. "
        f"It could be {quoted(words or classes)}; write the config by hand with data.negative"
    )


def choose_metric(
    sheet: Sheet, labels: Labels, sample: Sample | None, *, binary: bool = False, named: bool = False
) -> Decision:
    """The metric that the form of the answers suggests; which others would fit stands in its reason.

    Args:
        sheet: the train table.
        labels: its labels.
        sample: the sample submission, where there is one.
        binary: whether one label is told from all others, see `choose_negative`.
        named: whether another file says what the labels' numbers stand for.
    """
    targets, answers = (list(sample.targets), sample.answers) if sample else ([], [])
    if binary:
        fractions = "number between 0 and 1" if _fractions(answers) else "number"
        metric, why = "roc_auc", f"One label against all others, and the sample has a {fractions}."
        others = "weighted_auc log_loss probabilistic_f1 accuracy"
    else:
        metric, why, others = _metric(sheet, labels, targets, answers, named)
    fitting = [name for name in others.split() if name != metric]
    reason = f"{why} The score is on the competition's page, not in its files; {', '.join(fitting)} would fit too."
    return Decision("task.metric", metric, reason)


def _metric(sheet: Sheet, labels: Labels, targets: list[str], answers: list[str], named: bool) -> tuple[str, str, str]:
    """The metric, why, and others."""
    asks_numbers = _fractions(answers)
    if len(labels.columns) > 1:
        rows = range(len(sheet.frame))
        columns = [sheet.cells[name] for name in labels.columns]
        one = all(sum(_FLAGS.get(cells[row], 0) for cells in columns) == 1 for row in rows)
        if asks_numbers:
            return "mean_column_auc", "The sample has a probability for each class.", "log_loss roc_auc"
        if one:
            return "accuracy", "The sample has 0 or 1 for each class; each train image has one.", "macro_f1 log_loss"
        return "micro_f1", "The sample has 0 or 1 for each class.", "samples_f1 macro_f1 accuracy mean_column_auc"
    cells = sheet.cells[labels.columns[0]]
    classes = set(cells)
    if len(targets) > 1:
        if labels.separator:
            return "mean_column_auc", "The sample has a probability for each tag.", "log_loss micro_f1 samples_f1"
        return "log_loss", "The sample has a probability for each class.", "accuracy mean_column_auc macro_f1"
    if labels.separator:
        return "micro_f1", "A label is a list of tags.", "samples_f1 macro_f1 accuracy"
    if num_ranks := _num_ranks(answers, classes):
        return f"map@{num_ranks}", f"The sample has {num_ranks} classes in a cell.", f"top@{num_ranks}"
    values = _numbers(cells)
    if labels.columns[0] == CLASS_OF_COCO and sheet.name.endswith(".json"):
        values = None  # numbers that are names
    if values is not None and (_fractions(cells) or (asks_numbers and len(classes) > 2)):
        return "rmse", "The labels are numbers.", "mae"
    if values is not None and 2 * len(classes) > len(cells) and not set(answers) <= classes:
        return "rmse", "The labels are whole numbers, most of them of one image alone.", "mae accuracy"
    readable = [cell for cell in cells if _numbers([cell])]
    if len(readable) < len(cells) < 1.1 * len(readable) and _fractions(readable):
        return "rmse", "The labels are numbers, but for a few that are none and must be mended.", "mae"
    if len(classes) == 2:
        if asks_numbers:
            return (
                "roc_auc",
                "Two classes, and the sample has a number between 0 and 1.",
                "weighted_auc probabilistic_f1 log_loss accuracy mcc",
            )
        return "accuracy", "Two classes; the sample has one of them.", "roc_auc log_loss mcc macro_f1"
    grades = values is not None and sorted(set(values)) == list(range(len(set(values)))) and len(classes) <= 10
    if grades and len(classes) in _NUM_GRADES and not named and Counter(cells).most_common(1)[0][0] == "0":
        why = f"Whole numbers from 0 to {len(classes) - 1}, most of them 0, and no file names them: grades in an order."
        return "quadratic_kappa", why, "accuracy macro_f1 balanced_accuracy"
    others = "macro_f1 balanced_accuracy" + (" quadratic_kappa" if grades else "")
    return "accuracy", "One class of many for each image.", others


def are_named(root: Path, paths: Sequence[str], sheets: Sequence[Sheet], classes: set[str]) -> bool:
    """Whether a json or a table says what class numbers stand for: it lists each once, beside something else."""
    for path in paths:
        if path.lower().endswith(".json") and path.count("/") <= 1 and (root / path).stat().st_size < _LARGEST_MAP:
            value = read_json(root / path)
            if isinstance(value, dict) and (
                classes <= set(value)
                or classes <= {str(item) for item in value.values() if isinstance(item, (int, str))}
            ):
                return True
    return any(set(sheet.cells[name]) == classes and len(sheet.cells) > 1 for sheet in sheets for name in sheet.unique)


def propose_groups(sheet: Sheet, used: Sequence[str]) -> list[Decision]:
    """Columns whose values repeat, few images each: they may name what must not be split over folds."""
    proposals = []
    for name, cells in sheet.cells.items():
        distinct = len(set(cells))
        if name in used or distinct < 10 or "" in cells or _fractions(cells):
            continue
        mean = len(cells) / distinct
        if 1.2 <= mean <= MAX_GROUP:
            most = max(Counter(cells).values())
            proposals.append(
                Decision(
                    "data.group",
                    name,
                    f"{name!r} has {distinct:,} values, {mean:.1f} images each on average, {most:,} at most. Not "
                    "used: set it if it names a person, place or thing, of which the test set shows others:",
                    proposed=True,
                )
            )
    return proposals


def _tags(cell: str, separator: str) -> list[str]:
    return [tag.strip() for tag in cell.split(separator) if tag.strip()]


def _rows(columns: dict[str, list[str]]) -> int:
    return len(next(iter(columns.values())))


def _numbers(cells: Sequence[str]) -> list[float] | None:
    """The cells as finite numbers; None where one is none."""
    try:
        values = [float(cell) for cell in cells]
    except ValueError:
        return None
    return values if values and all(math.isfinite(value) for value in values) else None


def _fractions(cells: Sequence[str]) -> bool:
    """Whether cells are numbers of which one is no whole number."""
    values = _numbers(cells)
    return values is not None and any(value != int(value) for value in values)


def _num_ranks(answers: Sequence[str], classes: set[str]) -> int:
    """How many classes, space between, each answer of the sample lists; 0 for one, where they differ or have spaces."""
    counts = {len(cell.split()) for cell in answers}
    if len(counts) != 1 or counts == {1} or any(" " in name for name in classes):
        return 0
    return counts.pop()
