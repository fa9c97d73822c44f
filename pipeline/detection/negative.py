"""What counts as 0 where one number is asked for labels that are names."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.competition.answers.task import FLAGS
from pipeline.detection.found import Choice, quoted
from pipeline.detection.habits import NEGATIONS, NOTHING_THERE, QUESTION_WORDS, words
from pipeline.detection.label_columns import Labels
from pipeline.detection.sample_table import Sample
from pipeline.detection.sheets import Sheet, has_fractions, numbers_of
from pipeline.files import InputError
from pipeline.quoting import shown


def choose_negative(
    root: Path, sheet: Sheet, labels: Labels, sample: Sample | None, *, versions: bool = False
) -> Choice | None:
    """Choose the label that counts as 0, where labels are names and one number is asked; None where that is not so.

    A number is asked where the sample holds a fraction, 0 and 1 for two labels, or where the labels are versions of one
    image; one and the same whole number is rather a placeholder for names. Of two labels the one that the column to
    fill is named after counts as 1; else 0 is the one that says that nothing is there, or that is another's negation;
    else, of two labels, the first in the order of the alphabet. Whichever it is is printed: turned round, the score is
    the worst there is.

    Raises:
        InputError: several labels could be it, or whole numbers are asked for labels that are names.
    """
    if sample is None or len(sample.targets) != 1 or len(labels.columns) > 1 or labels.separator:
        return None
    answers, classes = set(sample.answers), sorted(set(sheet.cells[labels.columns[0]]) - {""})
    if numbers_of(sample.answers) is None or any(numbers_of([name]) for name in classes):
        return None
    target = sample.targets[0]
    flags = len(classes) == 2 and {FLAGS.get(cell) for cell in answers} == {0, 1}
    if not (has_fractions(sample.answers) or versions or flags):
        if len(answers) > 1:
            raise InputError(
                f"{root}: {sample.sheet.name} has whole numbers such as {quoted(sorted(answers))} in column "
                f"{shown(target)}, but the labels are names such as {quoted(classes)}. Which number is which is not in "
                "the files; write the numbers into the train table, in a column that data.labels names"
            )
        return None
    asked = f"The sample has a number in column {shown(target)}, the labels are names: "
    turned = f" Turned round: --set data.negative={classes[1]!r}" if len(classes) == 2 else ""
    if len(classes) == 2 and (positive := _named_by(target, classes)):
        other = classes[1 - classes.index(positive)]
        reason = f"{asked}the column is named after {positive!r}, which counts as 1, {other!r} as 0."
        return Choice("data.negative", other, reason, said=True)
    nothing = [name for name in classes if _says_nothing_there(name, [*classes, target])]
    if len(nothing) == 1:
        reason = f"{asked}{nothing[0]!r} says that nothing is there, and counts as 0, every other as 1."
        return Choice("data.negative", nothing[0], reason, said=True)
    if len(classes) == 2 and not nothing:
        reason = f"{asked}{classes[0]!r} counts as 0 and {classes[1]!r} as 1, by the alphabet alone.{turned}"
        return Choice("data.negative", classes[0], reason, said=True)
    raise InputError(
        f"{root}: {sample.sheet.name} asks for a number in column {shown(target)}, so one label must count as 0. "
        f"It could be {quoted(nothing or classes)}; say it, as in --set data.negative={(nothing or classes)[0]!r}"
    )


def _named_by(target: str, classes: Sequence[str]) -> str:
    """Find the one class that the column to fill is named after, `defective` by `defect`; "" for none or both."""
    said = [word for word in words(target) if word not in QUESTION_WORDS and len(word) > 1]
    found = [name for name in classes if any(_joined(name).startswith(word) for word in said)]
    found = [name for name in found if not any(_is_negation(name, word) for word in said)]
    return found[0] if len(found) == 1 else ""


def _says_nothing_there(name: str, others: Sequence[str]) -> bool:
    """Whether a label says that nothing is there, or is the negation of something: `no_fire`, `nonfire` beside `fire`.

    The negation of what says that all is well, such as `unhealthy`, is something.
    """
    if name.strip().casefold() in NOTHING_THERE:
        return True
    first, *rest = words(name) or [""]
    if first in NEGATIONS and rest:
        return " ".join(rest) not in NOTHING_THERE
    return any(_is_negation(name, other) and other.strip().casefold() not in NOTHING_THERE for other in others)


def _is_negation(name: str, other: str) -> bool:
    """Whether a name is a negation and then (some of) the words of another."""
    pieces = {_joined(other), *words(other)}
    return any(_joined(name) == negation + piece for negation in NEGATIONS for piece in pieces if len(piece) > 1)


def _joined(name: str) -> str:
    return "".join(words(name))
