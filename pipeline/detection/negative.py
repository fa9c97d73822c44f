"""What counts as 0 where one number is asked for labels that are names."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.competition.answers.task import FLAGS
from pipeline.detection.found import Choice, quoted
from pipeline.detection.habits import (
    ALL_IS_WELL,
    BAD_CASES,
    LACKS,
    NEGATIONS,
    NOTHING_THERE,
    QUESTION_WORDS,
    VIOLATIONS,
    words,
)
from pipeline.detection.label_columns import Labels
from pipeline.detection.sample_table import Sample
from pipeline.detection.sheets import Sheet, has_fractions, numbers_of
from pipeline.files import InputError
from pipeline.quoting import shown


@dataclass(frozen=True)
class _Asked:
    """What a column to fill asks for: the words of its name that say so, without negations, and whether those turn it
    round, as in `no_helmet`, `defect_free`.
    """

    column: str
    words: tuple[str, ...]
    negated: bool


@dataclass(frozen=True)
class _Zero:
    """One of two labels that counts as 0, the reason in words, and whether names leave no doubt."""

    label: str
    why: str
    certain: bool


def choose_negative(
    root: Path, sheet: Sheet, labels: Labels, sample: Sample | None, *, versions: bool = False
) -> Choice | None:
    """Choose the label that counts as 0, where labels are names and one number is asked; None where that is not so.

    A number is asked where the sample holds a fraction, 0 and 1 for two labels, or where the labels are versions of one
    image; one and the same 0 or 1 asks for one where the names of column and labels leave no doubt which of two is 0;
    else it is rather a placeholder for names. Of two labels the one that the column to fill asks for counts
    as 1; else 0 is the one that says that nothing is there or that all is well, or that is another's negation; else the
    first in the order of the alphabet. Whichever it is is printed: turned round, the score is the worst there is.

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
    whole = not (has_fractions(sample.answers) or versions or flags)
    if whole and len(answers) > 1:
        raise InputError(
            f"{root}: {sample.sheet.name} has whole numbers such as {quoted(sorted(answers))} in column "
            f"{shown(target)}, but the labels are names such as {quoted(classes)}. Which number is which is not in "
            "the files; write the numbers into the train table, in a column that data.labels names"
        )
    if whole and (len(classes) != 2 or not answers <= set(FLAGS)):
        return None
    asked = f"The sample has a number in column {shown(target)}, the labels are names: "
    zero = _of_two(_read(target, classes), classes) if len(classes) == 2 else None
    if whole and not (zero and zero.certain):
        return None
    if zero:
        one = classes[1 - classes.index(zero.label)]
        names = " Names are written instead with --set data.negative=''." if whole else ""
        reason = f"{asked}{zero.why}{names} Turned round: --set data.negative={one!r}"
        return Choice("data.negative", zero.label, reason, said=True)
    nothing = [name for name in classes if _says_nothing_there(name, [*classes, target])]
    if len(nothing) == 1:
        if _read(target, classes).column == _joined(nothing[0]):
            raise InputError(
                f"{root}: {sample.sheet.name} asks for {nothing[0]!r} in column {shown(target)}, which must count as 1 "
                f"and each of {quoted([name for name in classes if name != nothing[0]])} as 0; write 0 and 1 into the "
                "train table, in a column that data.labels names"
            )
        reason = f"{asked}{nothing[0]!r} says that nothing is there, and counts as 0, every other as 1."
        return Choice("data.negative", nothing[0], reason, said=True)
    raise InputError(
        f"{root}: {sample.sheet.name} asks for a number in column {shown(target)}, so one label must count as 0. "
        f"It could be {quoted(nothing or classes)}; say it, as in --set data.negative={(nothing or classes)[0]!r}"
    )


def _read(target: str, classes: Sequence[str]) -> _Asked:
    """Read what a column to fill asks for; `nonsmoker` as the negation of `smoker` where that is a class."""
    said = [word for word in words(target) if word not in QUESTION_WORDS and (len(word) > 1 or not word.isascii())]
    pieces: list[str] = []
    for word in said:
        cuts = [(negation, word.removeprefix(negation)) for negation in NEGATIONS if word.startswith(negation)]
        cut = next((cut for cut in cuts if len(cut[1]) > 2 and _named_by([cut[1]], classes)), None)
        pieces += [word] if cut is None or _named_by([word], classes) else cut
    rest = [word for word in pieces if word not in (*NEGATIONS, *LACKS)]
    # A column of a negation alone, such as `absent`, is not turned round by it.
    negated = len(rest) > 0 and (len(pieces) - len(rest)) % 2 == 1
    return _Asked("".join(said), tuple(rest or pieces), negated)


def _of_two(asked: _Asked, classes: Sequence[str]) -> _Zero | None:
    """Choose which of two labels counts as 0; None where each says that nothing is there."""
    return _by_column(asked, classes) or _by_case(asked, classes) or _by_labels(asked, classes)


def _by_column(asked: _Asked, classes: Sequence[str]) -> _Zero | None:
    """The column is named after a label, or is the negation of one: `no_mask` asks for `without_mask`."""
    same = [name for name in classes if _joined(name) == asked.column]
    negations = [name for name in classes if any(_is_negation(name, word) for word in asked.words)]
    if not same and asked.negated and len(negations) == 1:
        same = negations
    if named := _named_by(asked.words, classes):
        other = _other(named, classes)
        same = same or [other if asked.negated else named]
    if len(same) != 1:
        return None
    one, zero = same[0], _other(same[0], classes)
    if asked.negated and _joined(one) != asked.column:
        return _Zero(zero, f"the column is the negation of {zero!r}, which counts as 0, {one!r} as 1.", True)
    return _Zero(zero, f"the column is named after {one!r}, which counts as 1, {zero!r} as 0.", True)


def _by_case(asked: _Asked, classes: Sequence[str]) -> _Zero | None:
    """The column is named after the bad case or the good one, and a label says which it is."""
    bad = any(word.startswith(BAD_CASES) for word in asked.words)
    well = [name for name in classes if _is_well(name)]
    if len(well) == 1 and (bad or " ".join(asked.words) in (*NOTHING_THERE, *ALL_IS_WELL)):
        good_asked = bad == asked.negated
        zero = _other(well[0], classes) if good_asked else well[0]
        what = "that all is well" if good_asked else "what is not well"
        return _Zero(zero, f"the column asks for {what}, {zero!r} counts as 0, {_other(zero, classes)!r} as 1.", True)
    missing = [name for name in classes if _is_missing(name, classes)]
    if len(missing) == 1 and any(word.startswith(VIOLATIONS) for word in asked.words):
        zero = missing[0] if asked.negated else _other(missing[0], classes)
        why = f"by the column {missing[0]!r} is rather the violation, {zero!r} counts as 0, "
        return _Zero(zero, f"{why}{_other(zero, classes)!r} as 1.", False)
    return None


def _by_labels(asked: _Asked, classes: Sequence[str]) -> _Zero | None:
    """A label says that nothing is there, or the alphabet decides."""
    nothing = [name for name in classes if _says_nothing_there(name, [*classes, *asked.words])]
    well = [name for name in classes if _is_well(name)]
    if len(nothing) == 1:
        name = nothing[0]
        # `un` may turn a good thing into a bad one; and of a defect, what is not there may be the one.
        doubt = _joined(name).startswith("un") or (
            _is_missing(name, classes) and any(word.startswith(BAD_CASES) for word in asked.words)
        )
        if name.strip().casefold() in NOTHING_THERE or not doubt:
            return _Zero(name, f"{name!r} says that nothing is there, and counts as 0, every other as 1.", True)
        return _Zero(name, f"{name!r} rather says that nothing is there, and counts as 0, every other as 1.", False)
    if nothing:
        return None
    if len(well) == 1:
        other = _other(well[0], classes)
        return _Zero(well[0], f"{other!r} is rather what is looked for, and counts as 1, {well[0]!r} as 0.", False)
    return _Zero(classes[0], f"{classes[0]!r} counts as 0 and {classes[1]!r} as 1, by the alphabet alone.", False)


def _other(name: str, classes: Sequence[str]) -> str:
    return classes[1 - classes.index(name)]


def _named_by(said: Sequence[str], classes: Sequence[str]) -> str:
    """Find the one class that words name, `defective` by `defect`; "" for none or several."""
    found = [name for name in classes if any(text.startswith(tuple(said)) for text in (_joined(name), *words(name)))]
    found = [name for name in found if not any(_is_negation(name, word) for word in said)]
    return found[0] if len(found) == 1 else ""


def _is_well(name: str) -> bool:
    """Whether a label says in so many words that nothing is there, or that all is well."""
    return name.strip().casefold() in (*NOTHING_THERE, *ALL_IS_WELL)


def _is_missing(name: str, classes: Sequence[str]) -> bool:
    """Whether a label is the negation of another, of a thing that does no harm: `no_helmet` beside `helmet`."""
    harmful = any(stem in _joined(name) for stem in BAD_CASES)
    return not harmful and not _is_well(name) and _says_nothing_there(name, classes)


def _says_nothing_there(name: str, others: Sequence[str]) -> bool:
    """Whether a label says that nothing is there, or is the negation of something: `no_fire`, `nonfire` beside `fire`.

    The negation of what says that all is well, such as `unhealthy`, is something.
    """
    if name.strip().casefold() in NOTHING_THERE:
        return True
    first, *rest = words(name) or [""]
    if first in NEGATIONS and rest:
        return not _is_well(" ".join(rest))
    return any(_is_negation(name, other) and not _is_well(other) for other in others)


def _is_negation(name: str, other: str) -> bool:
    """Whether a name is a negation and then (some of) the words of another."""
    pieces = {_joined(other), *words(other)}
    return any(_joined(name) == negation + piece for negation in NEGATIONS for piece in pieces if len(piece) > 1)


def _joined(name: str) -> str:
    return "".join(words(name))
