"""The likeliest metric, by the form of the answers: ordered rows of when, metric, and why."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pipeline.competition.answers.spelling import same
from pipeline.competition.answers.task import FLAGS
from pipeline.detection.found import Choice
from pipeline.detection.habits import CLASS_OF_COCO, MOST_GRADES, NUM_GRADES, RARE
from pipeline.detection.label_columns import Labels
from pipeline.detection.sample_table import Sample
from pipeline.detection.sheets import Sheet, has_fractions, numbers_of
from pipeline.files import read_json

_LARGEST_MAP = 10**6


@dataclass(frozen=True)
class Evidence:
    """What labels and answers look like.

    sheet, labels: the train table and its labels; targets, answers: the columns to fill, and what stands in them.
    binary: one label is told from all others, see `choose_negative`; named: a file says what the labels' numbers are;
    versions: classes are versions of one image.
    """

    sheet: Sheet
    labels: Labels
    targets: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    binary: bool = False
    named: bool = False
    versions: bool = False

    @cached_property
    def cells(self) -> list[str]:
        """The labels, where they stand in one column."""
        return [cell for cell in self.sheet.cells[self.labels.columns[0]] if cell]

    @cached_property
    def values(self) -> list[float] | None:
        """The labels as numbers; None where they are none, or numbers of categories in a JSON file, which are names."""
        are_names = self.labels.columns[0] == CLASS_OF_COCO and self.sheet.name.endswith(".json")
        return None if are_names else numbers_of(self.cells)

    @cached_property
    def num_classes(self) -> int:
        """How many labels there are."""
        return len(set(self.cells))

    @cached_property
    def fractions(self) -> bool:
        """Whether the answers are numbers of which one is no whole number."""
        return has_fractions(self.answers)

    @property
    def flags(self) -> bool:
        """Whether both 0 and 1 are among the answers, and nothing else."""
        return {FLAGS.get(cell) for cell in self.answers} == {0, 1}

    @property
    def many_columns(self) -> bool:
        """Whether each class has a column of 0 and 1."""
        return len(self.labels.columns) > 1

    @property
    def exclusive(self) -> bool:
        """Whether each image has one 1."""
        columns = [self.sheet.cells[name] for name in self.labels.columns]
        return all(sum(FLAGS.get(cell, 0) for cell in row) == 1 for row in zip(*columns, strict=True))

    @property
    def num_ranks(self) -> int:
        """How many classes each answer lists; 0 for one, where they differ, have spaces, or list other things too, as
        the words of a class that is written otherwise are.
        """
        counts = {len(cell.split()) for cell in self.answers}
        if len(counts) != 1 or counts == {1} or any(" " in name for name in self.cells):
            return 0
        words = {word for cell in self.answers for word in cell.split()}
        classes = {same(cell) for cell in self.cells}
        known = sum(same(word) in classes for word in words)
        # A class and something else, such as its box. Of numbers that no train image has none may be known.
        unseen = known == 0 and self.values is not None and numbers_of(list(words)) is not None
        return 0 if known < len(words) / 2 and not unseen else counts.pop()

    @property
    def quantities(self) -> bool:
        """Whether the labels are quantities, by their fractions or the answers'."""
        fractions = has_fractions(self.cells) or (self.fractions and self.num_classes > 2)
        return self.values is not None and fractions

    @property
    def scattered(self) -> bool:
        """Whether most labels are numbers of one image alone, and the answers others."""
        known = set(self.answers) <= set(self.cells)
        return self.values is not None and 2 * self.num_classes > len(self.cells) and not known

    @property
    def nearly_numbers(self) -> bool:
        """Whether all labels but a few are numbers, with fractions."""
        readable = [cell for cell in self.cells if numbers_of([cell])]
        return len(readable) < len(self.cells) < 1.1 * len(readable) and has_fractions(readable)

    @property
    def unanswered(self) -> bool:
        """Whether labels are 0 and 1, and the sample has one number for all rows, or no answer; or names of which one
        counts as 0, and the sample has one 0 or 1.
        """
        answers = set(self.answers)
        if self.binary:
            return self.num_classes == 2 and len(answers) == 1 and answers <= set(FLAGS) and not self.versions
        a_word = len(answers) > 0 and numbers_of(self.answers) is None
        return {FLAGS.get(cell) for cell in self.cells} == {0, 1} and len(answers) < 2 and not a_word

    @property
    def rarest(self) -> float:
        """The fraction of images that have the rarest label."""
        return min(Counter(self.cells).values()) / len(self.cells)

    @property
    def from_0_on(self) -> bool:
        """Whether labels are the few whole numbers from 0 on."""
        values = self.values
        counted = values is not None and sorted(set(values)) == list(range(len(set(values))))
        return counted and self.num_classes <= MOST_GRADES

    @property
    def grades(self) -> bool:
        """Whether labels are as many numbers as a scale has grades, 0 by far the most, and no file names them."""
        if not self.from_0_on or self.num_classes not in NUM_GRADES or self.named:
            return False
        (first, count), (_, next_count) = Counter(self.cells).most_common(2)
        return first == "0" and 2 * count >= 3 * next_count


@dataclass(frozen=True)
class Rule:
    """A row: the first whose `when` holds is taken. `others` would fit too; `said`: to be printed, as it can cost the
    score.
    """

    when: Callable[[Evidence], bool]
    metric: str
    why: str
    others: str
    said: bool = False


_TWO = "weighted_auc probabilistic_f1 log_loss accuracy mcc"
RULES = (
    Rule(
        lambda e: e.binary and e.flags,
        "accuracy",
        "Two labels, and the sample has 0 and 1.",
        "roc_auc log_loss mcc macro_f1",
    ),
    Rule(
        lambda e: e.binary and not e.unanswered,
        "roc_auc",
        "One label against all others, and the sample has a number.",
        "weighted_auc log_loss probabilistic_f1 accuracy",
    ),
    Rule(
        lambda e: e.many_columns and e.fractions,
        "mean_column_auc",
        "The sample has a probability for each class.",
        "log_loss roc_auc",
    ),
    Rule(
        lambda e: e.many_columns and e.exclusive,
        "accuracy",
        "The sample has 0 or 1 for each class; each train image has one.",
        "macro_f1 log_loss",
    ),
    Rule(
        lambda e: e.many_columns,
        "micro_f1",
        "The sample has 0 or 1 for each class.",
        "samples_f1 macro_f1 accuracy mean_column_auc",
    ),
    Rule(
        lambda e: len(e.targets) > 1 and e.labels.separator != "",
        "mean_column_auc",
        "The sample has a probability for each tag.",
        "log_loss micro_f1 samples_f1",
    ),
    Rule(
        lambda e: len(e.targets) > 1,
        "log_loss",
        "The sample has a probability for each class.",
        "accuracy mean_column_auc macro_f1",
    ),
    Rule(lambda e: e.labels.separator != "", "micro_f1", "A label is a list of tags.", "samples_f1 macro_f1 accuracy"),
    Rule(
        lambda e: e.num_ranks > 0,
        "map@{num_ranks}",
        "The sample has {num_ranks} classes in a cell.",
        "top@{num_ranks}",
    ),
    Rule(lambda e: e.quantities, "rmse", "The labels are numbers.", "mae"),
    Rule(
        lambda e: e.scattered,
        "rmse",
        "The labels are whole numbers, most of them of one image alone.",
        "mae accuracy",
    ),
    Rule(
        lambda e: e.nearly_numbers,
        "rmse",
        "The labels are numbers, but for a few that are none and must be mended.",
        "mae",
    ),
    Rule(
        lambda e: e.num_classes == 2 and e.fractions,
        "roc_auc",
        "Two classes, and the sample has a number between 0 and 1.",
        _TWO,
    ),
    Rule(
        lambda e: e.num_classes == 2 and e.unanswered and e.rarest < RARE,
        "roc_auc",
        "Two labels, one of them of {rarest:.0%} of the images, and the sample leaves open whether labels or "
        "probabilities are wanted: of so rare a label a probability says more.",
        _TWO,
        said=True,
    ),
    Rule(
        lambda e: e.num_classes == 2 and e.unanswered and len(e.answers) > 0,
        "accuracy",
        "Two labels, and the sample has one answer in every row, which leaves open whether labels or "
        "probabilities are wanted.",
        "roc_auc log_loss mcc macro_f1",
        said=True,
    ),
    Rule(
        lambda e: e.num_classes == 2,
        "accuracy",
        "Two classes; the sample has one of them.",
        "roc_auc log_loss mcc macro_f1",
    ),
    Rule(
        lambda e: e.grades,
        "quadratic_kappa",
        "Whole numbers, 0 to {highest}, 0 by far the most, and no file names them: grades in an order.",
        "accuracy macro_f1 balanced_accuracy",
    ),
    Rule(
        lambda e: e.from_0_on,
        "accuracy",
        "One class of many for each image.",
        "macro_f1 balanced_accuracy quadratic_kappa",
    ),
    Rule(
        lambda e: e.values is not None and e.num_classes > MOST_GRADES,
        "accuracy",
        "One class of many for each image.",
        "macro_f1 balanced_accuracy rmse",
    ),
    Rule(lambda e: True, "accuracy", "One class of many for each image.", "macro_f1 balanced_accuracy"),
)


def choose_metric(
    sheet: Sheet,
    labels: Labels,
    sample: Sample | None,
    *,
    binary: bool = False,
    named: bool = False,
    versions: bool = False,
) -> Choice:
    """Choose the metric that the form of the answers suggests; which others would fit stands in its reason."""
    targets, answers = (sample.targets, tuple(sample.answers)) if sample else ((), ())
    evidence = Evidence(sheet, labels, targets, answers, binary, named, versions)
    rule = next(rule for rule in RULES if rule.when(evidence))
    many = evidence.many_columns
    facts = {
        "num_ranks": 0 if many else evidence.num_ranks,
        "rarest": 0.0 if many else evidence.rarest,
        "highest": evidence.num_classes - 1,
    }
    metric = rule.metric.format(**facts)
    others = ", ".join(rule.others.format(**facts).split())
    reason = f"{rule.why.format(**facts)} The score is on the competition's page, not in its files; {others} would fit"
    if rule.said:
        return Choice("task.metric", metric, f"{reason} too: --set task.metric={rule.others.split()[0]}", said=True)
    return Choice("task.metric", metric, f"{reason} too.")


def are_tags(sheet: Sheet, labels: Labels) -> bool:
    """Whether an image may have several labels."""
    evidence = Evidence(sheet, labels)
    return labels.separator != "" or (evidence.many_columns and not evidence.exclusive)


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
