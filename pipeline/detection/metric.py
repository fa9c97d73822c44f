"""The likeliest metric, by the form of the answers."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pipeline.competition.answers.task import FLAGS
from pipeline.detection.found import Choice
from pipeline.detection.habits import CLASS_OF_COCO, MOST_GRADES, NUM_GRADES
from pipeline.detection.label_columns import Labels
from pipeline.detection.sample_table import Sample
from pipeline.detection.sheets import Sheet, has_fractions, numbers_of
from pipeline.files import read_json

# A metric, why it is likely, and others that would fit.
Suggestion = tuple[str, str, str]
_LARGEST_MAP = 10**6


def classes_are_named(root: Path, paths: Sequence[str], sheets: Sequence[Sheet], classes: set[str]) -> bool:
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


def choose_metric(
    sheet: Sheet, labels: Labels, sample: Sample | None, *, binary: bool = False, named: bool = False
) -> Choice:
    """Choose the metric that the form of the answers suggests; which others would fit stands in its reason.

    Args:
        sheet: the train table.
        labels: its labels.
        sample: the sample submission, where there is one.
        binary: whether one label is told from all others, see `choose_negative`.
        named: whether another file says what the labels' numbers stand for.
    """
    targets, answers = (list(sample.targets), sample.answers) if sample else ([], [])
    if binary and {FLAGS.get(cell) for cell in answers} == {0, 1}:
        metric, why, others = "accuracy", "Two labels, and the sample has 0 and 1.", "roc_auc log_loss mcc macro_f1"
    elif binary:
        fractions = "number between 0 and 1" if has_fractions(answers) else "number"
        metric, why = "roc_auc", f"One label against all others, and the sample has a {fractions}."
        others = "weighted_auc log_loss probabilistic_f1 accuracy"
    else:
        metric, why, others = _metric(sheet, labels, targets, answers, named)
    fitting = [name for name in others.split() if name != metric]
    reason = f"{why} The score is on the competition's page, not in its files; {', '.join(fitting)} would fit too."
    return Choice("task.metric", metric, reason)


def _metric(sheet: Sheet, labels: Labels, targets: list[str], answers: list[str], named: bool) -> Suggestion:
    """Suggest a metric of labels in columns of their own, of tags, or of one label in a cell."""
    if len(labels.columns) > 1:
        return _of_columns([sheet.cells[name] for name in labels.columns], answers)
    cells = [cell for cell in sheet.cells[labels.columns[0]] if cell]
    if len(targets) > 1:
        if labels.separator:
            return "mean_column_auc", "The sample has a probability for each tag.", "log_loss micro_f1 samples_f1"
        return "log_loss", "The sample has a probability for each class.", "accuracy mean_column_auc macro_f1"
    if labels.separator:
        return "micro_f1", "A label is a list of tags.", "samples_f1 macro_f1 accuracy"
    if num_ranks := _num_ranks(answers, set(cells)):
        return f"map@{num_ranks}", f"The sample has {num_ranks} classes in a cell.", f"top@{num_ranks}"
    # Numbers of categories in a JSON file are names.
    are_names = labels.columns[0] == CLASS_OF_COCO and sheet.name.endswith(".json")
    values = None if are_names else numbers_of(cells)
    return _of_numbers(cells, values, answers) or _of_classes(cells, values, answers, named)


def _of_columns(columns: list[list[str]], answers: list[str]) -> Suggestion:
    """Suggest a metric of classes that have a column of 0 and 1 each."""
    if has_fractions(answers):
        return "mean_column_auc", "The sample has a probability for each class.", "log_loss roc_auc"
    if all(sum(FLAGS.get(cell, 0) for cell in row) == 1 for row in zip(*columns, strict=True)):
        return "accuracy", "The sample has 0 or 1 for each class; each train image has one.", "macro_f1 log_loss"
    return "micro_f1", "The sample has 0 or 1 for each class.", "samples_f1 macro_f1 accuracy mean_column_auc"


def _of_numbers(cells: list[str], values: list[float] | None, answers: list[str]) -> Suggestion | None:
    """Suggest a metric of labels that are quantities; None where they are classes."""
    classes = set(cells)
    if values is not None and (has_fractions(cells) or (has_fractions(answers) and len(classes) > 2)):
        return "rmse", "The labels are numbers.", "mae"
    if values is not None and 2 * len(classes) > len(cells) and not set(answers) <= classes:
        return "rmse", "The labels are whole numbers, most of them of one image alone.", "mae accuracy"
    readable = [cell for cell in cells if numbers_of([cell])]
    if len(readable) < len(cells) < 1.1 * len(readable) and has_fractions(readable):
        return "rmse", "The labels are numbers, but for a few that are none and must be mended.", "mae"
    return None


def _of_classes(cells: list[str], values: list[float] | None, answers: list[str], named: bool) -> Suggestion:
    """Suggest a metric of one class for each image: of two, of grades in an order, or of many."""
    num_classes = len(set(cells))
    if num_classes == 2 and has_fractions(answers):
        others = "weighted_auc probabilistic_f1 log_loss accuracy mcc"
        return "roc_auc", "Two classes, and the sample has a number between 0 and 1.", others
    if num_classes == 2:
        return "accuracy", "Two classes; the sample has one of them.", "roc_auc log_loss mcc macro_f1"
    from_0_on = values is not None and sorted(set(values)) == list(range(len(set(values))))
    may_be_grades = from_0_on and num_classes <= MOST_GRADES
    if may_be_grades and num_classes in NUM_GRADES and not named and _leads(cells, "0"):
        why = f"Whole numbers, 0 to {num_classes - 1}, 0 by far the most, and no file names them: grades in an order."
        return "quadratic_kappa", why, "accuracy macro_f1 balanced_accuracy"
    others = "macro_f1 balanced_accuracy" + (" quadratic_kappa" if may_be_grades else "")
    others += " rmse" if values is not None and num_classes > MOST_GRADES else ""
    return "accuracy", "One class of many for each image.", others


def _leads(cells: Sequence[str], value: str) -> bool:
    """Whether one value is by far the most frequent."""
    (first, count), (_, next_count) = Counter(cells).most_common(2)
    return first == value and 2 * count >= 3 * next_count


def _num_ranks(answers: Sequence[str], classes: set[str]) -> int:
    """Count the classes that each answer of the sample lists; 0 for one, where they differ or have spaces."""
    counts = {len(cell.split()) for cell in answers}
    if len(counts) != 1 or counts == {1} or any(" " in name for name in classes):
        return 0
    return counts.pop()
