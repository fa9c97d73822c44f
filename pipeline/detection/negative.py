"""What counts as 0 where one number is asked for labels that are names."""

from pathlib import Path

from pipeline.competition.answers.task import FLAGS
from pipeline.detection.found import Choice, quoted
from pipeline.detection.habits import NOTHING_THERE
from pipeline.detection.label_columns import Labels
from pipeline.detection.sample_table import Sample
from pipeline.detection.sheets import Sheet, has_fractions, numbers_of
from pipeline.files import InputError


def choose_negative(
    root: Path, sheet: Sheet, labels: Labels, sample: Sample | None, *, versions: bool = False
) -> Choice | None:
    """Choose the label that counts as 0, where labels are names and one number is asked; None where that is not so.

    A number is asked where the sample holds a fraction, 0 and 1 for two labels, or where the labels are versions of one
    image; one and the same whole number is rather a placeholder for names. 0 is a label of `NOTHING_THERE`; else, of
    two labels, the first in the order of the alphabet.

    Raises:
        InputError: several labels could be it, or whole numbers are asked for labels that are names.
    """
    if sample is None or len(sample.targets) != 1 or len(labels.columns) > 1 or labels.separator:
        return None
    answers, classes = set(sample.answers), sorted(set(sheet.cells[labels.columns[0]]) - {""})
    if numbers_of(sample.answers) is None or any(numbers_of([name]) for name in classes):
        return None
    flags = len(classes) == 2 and {FLAGS.get(cell) for cell in answers} == {0, 1}
    if not (has_fractions(sample.answers) or versions or flags):
        if len(answers) > 1:
            raise InputError(
                f"{root}: {sample.sheet.name} has whole numbers such as {quoted(sorted(answers))} in column "
                f"{sample.targets[0]!r}, but the labels are names such as {quoted(classes)}. Which number is which is "
                "not in the files; write the numbers into the train table"
            )
        return None
    asked = f"The sample has a number in column {sample.targets[0]!r}, the labels are names: "
    words = [name for name in classes if name.strip().casefold() in NOTHING_THERE]
    if len(words) == 1:
        return Choice("data.negative", words[0], f"{asked}this one says that nothing is there, and counts as 0.")
    if len(classes) == 2 and not words:
        reason = (
            f"{asked}this one counts as 0 and {classes[1]!r} as 1, by the alphabet: turn it round where it is not so."
        )
        return Choice("data.negative", classes[0], reason)
    raise InputError(
        f"{root}: {sample.sheet.name} asks for a number in column {sample.targets[0]!r}, so one label must count as 0. "
        f"It could be {quoted(words or classes)}; say it, as in --set data.negative={(words or classes)[0]!r}"
    )
