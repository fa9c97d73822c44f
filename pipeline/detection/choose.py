"""Which of the readings is taken: ranked by evidence, filtered by what the user has said."""

from collections.abc import Sequence

from pipeline.competition.answers.spelling import classes_of, same_among
from pipeline.competition.answers.task import FLAGS
from pipeline.detection.candidates import Candidate, Refusal
from pipeline.detection.found import SAY, Given, first_problems, quoted
from pipeline.detection.inventory import Inventory
from pipeline.detection.label_columns import TAG_SEPARATORS, Labels, tags_of
from pipeline.detection.sample_table import Sample
from pipeline.detection.sheets import Sheet, has_fractions, numbers_of
from pipeline.files import InputError

# The settings by which candidates differ.
_DISTINCT = ("data.train", "data.labels")


def choose(inventory: Inventory, found: Sequence[Candidate | Refusal]) -> tuple[Candidate, list[Candidate]]:
    """Choose the reading of the train images; returns those that lost too, the best first.

    Before all: labels that the sample's answers are among; then those in files, in folders' names, in files' names;
    then each source's own ranks.

    Raises:
        InputError: there is none, two are equally good, or what looks like train data cannot be read, so that another
            reading would be of something else.
    """
    candidates = [item for item in found if isinstance(item, Candidate) and _fits(item, inventory.said)]
    refusals = [item for item in found if isinstance(item, Refusal)]
    for refusal in refusals:
        if refusal.stops and not any(item.source <= refusal.source for item in candidates):
            candidates = []
    reasons = [*inventory.problems, *(item.reason for item in refusals)]
    if not candidates:
        raise InputError(
            "; ".join(first_problems(reasons))
            or f"{inventory.root} must hold a train table (csv), a folder for each class, or files that name theirs "
            f"(dog.1.jpg). Got tables: {inventory.table_names}; {SAY} data.train=FOLDER/{{label}}/{{file}}.jpg"
        )
    ranked = sorted(candidates, key=lambda item: (*_rank(inventory.sample, item), item.name))
    best, *others = ranked
    if others and _rank(inventory.sample, best) == _rank(inventory.sample, others[0]):
        both = [best.name, others[0].name]
        raise InputError(
            f"{inventory.root} must hold one train table. {both[0]!r} and {both[1]!r} are equally good, with labels in "
            f"column {quoted(best.labels.columns)}; move one out of the folder, {SAY} data.train={both[0]}"
        )
    if best.unclear:
        raise InputError(best.unclear)
    return best, others


def in_words(candidate: Candidate) -> str:
    """Say what a candidate would read, and why."""
    return f"data.train = {candidate.name!r}, data.labels = {quoted(candidate.labels.columns)}: {candidate.evidence}."


def _fits(candidate: Candidate, said: Given) -> bool:
    """Whether a candidate is what the user has said."""
    return all(said.get(key, candidate.values[key]) == candidate.values[key] for key in _DISTINCT)


def _rank(sample: Sample | None, candidate: Candidate) -> tuple[int, ...]:
    agrees = are_among(sample, candidate.sheet, candidate.labels)
    return not agrees, candidate.source, *candidate.rank


def are_among(sample: Sample | None, sheet: Sheet, labels: Labels) -> bool:
    """Whether any of the sample's answers, or its columns, is a label; true too where its answers say nothing of that:
    there are none, they are probabilities, flags of one of two labels, or one number in every row.
    """
    if sample is None or not sample.answers:
        return True
    same = same_among(labels.classes(sheet))
    classes = {same(name) for name in labels.classes(sheet)}
    if len(sample.targets) > 1:
        by_name = bool(classes & {same(name) for name in sample.targets}) or set(sample.targets) <= set(labels.columns)
        return by_name or classes_of(sample.targets, labels.classes(sheet)) is not None
    answers = set(sample.answers)
    one_number = len(answers) == 1 and numbers_of(list(answers)) is not None
    flags = len(classes) == 2 and {FLAGS.get(cell) for cell in answers} == {0, 1}
    if one_number or flags or has_fractions(sample.answers):
        return True
    words = {word for cell in answers for mark in TAG_SEPARATORS for word in (cell, *tags_of(cell, mark))}
    return bool(classes & {same(word) for word in words})
