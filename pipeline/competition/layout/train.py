"""The train table: ids, image files and labels, found together; a table that lacks one of them is none."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.competition.csv_table import duplicates
from pipeline.competition.layout.images import ImageFiles, Match, is_image
from pipeline.competition.layout.match import find_template
from pipeline.competition.layout.settings import Decision, quoted
from pipeline.competition.layout.tables import Sample, Sheet, sample_rank
from pipeline.competition.layout.task import Labels, choose_labels
from pipeline.files import InputError

BY_HAND = "or write the config by hand with"


@dataclass(frozen=True)
class TrainTable:
    """A train table: its id column, labels and image files."""

    sheet: Sheet
    id: str
    labels: Labels
    match: Match

    @property
    def rank(self) -> tuple[int, int]:
        """How good a candidate it is: by its labels, then by the habits in naming files."""
        stem = self.sheet.stem
        habits = (
            0 if stem == "train" else 1 if "train" in stem else 2 if "label" in stem else 4 if "test" in stem else 3
        )
        return self.labels.doubt, habits


def find_train_table(
    root: Path, sheets: list[Sheet], sample: Sample | None, images: ImageFiles, problems: list[str]
) -> TrainTable | None:
    """The table with ids, image files and labels; why a table is none is added to the problems.

    Raises:
        InputError: two tables are equally good, or the one that is named `train` cannot be it: then class folders are
            no way out.
    """
    asked = set(sample.sheet.cells[sample.id]) if sample else set()
    candidates, named_train = [], False
    for sheet in sheets:
        if (sample and sheet is sample.sheet) or sample_rank(sheet) < 3:
            continue
        candidate = _as_train(root, sheet, sample, images)
        has_labels = isinstance(candidate, TrainTable) and candidate.labels.doubt < 2
        if not has_labels and any(set(sheet.cells[name]) == asked for name in sheet.unique):
            continue  # the test table
        if isinstance(candidate, TrainTable):
            candidates.append(candidate)
        else:
            problems.append(candidate)
            named_train = named_train or "train" in sheet.stem
    if named_train and not candidates:
        raise InputError("; ".join(problems))
    candidates.sort(key=lambda item: (item.rank, item.sheet.name))
    if len(candidates) > 1 and candidates[0].rank == candidates[1].rank:
        both = [item.sheet.name for item in candidates[:2]]
        column = ", ".join(candidates[0].labels.columns[:5])
        raise InputError(
            f"{root} must hold one train table. {both[0]!r} and {both[1]!r} are equally good, with labels in column "
            f"{column!r}; move one out of the folder, {BY_HAND} data.train"
        )
    return candidates[0] if candidates else None


def _as_train(root: Path, sheet: Sheet, sample: Sample | None, images: ImageFiles) -> "TrainTable | str":
    """A table read as the train table, or why it cannot be."""
    path = root / sheet.name
    same = sheet.column(sample.id) if sample else None
    if same and same not in sheet.unique:
        problems = duplicates(f"{path}, column {same!r}", sheet.cells[same])
        if problems:
            return problems[0]
        wrong = "Some are empty" if sheet.cells[same] else "There is a header only"
        return f"{path}: column {same!r} must have an id in every row. {wrong}"
    if header := [name for name in sheet.cells if is_image(name) and next(images.named(name), None)]:
        return f"{path} must have a header line. Its first line names the image {header[0]!r}; write one above it"
    ids = [same] if same else sheet.unique
    keys = [*ids, *(name for name, cells in sheet.cells.items() if name not in ids and names_files(cells))]
    if not ids:
        return f"{path} has no column with another id in every row"
    match = find_template(sheet.frame, keys, images, "train")
    if match is None or not match.good:
        first = sheet.cells[ids[0]][0]
        best = f"at most {match.num_found:,} of {match.num_rows:,}, by {match.template!r}" if match else "none"
        return (
            f"{path}: the ids in column {ids[0]!r}, such as {first!r}, must name the image files, such as "
            f"{_an_example(images)!r}; {best} do; {BY_HAND} data.image"
        )
    id_ = match.key if match.key in ids else ids[0]
    labels = choose_labels(sheet, [id_, match.key], sample)
    if labels is None:
        return f"{path} has no column that can hold labels"
    return TrainTable(sheet, id_, labels, match)


def _an_example(images: ImageFiles) -> str:
    """A train image, where one says that it is; else any."""
    return next((path for path in images.paths if "train" in path.lower()), images.paths[0])


def read_by_table(train: TrainTable) -> list[Decision]:
    """The settings by which a train table is read."""
    match, labels = train.match, train.labels
    decisions = [
        Decision(
            "data.train", train.sheet.name, f"{match.num_rows:,} rows; columns: {quoted(list(train.sheet.cells))}."
        ),
        Decision("data.id", train.id),
        Decision("data.labels", labels.columns, f"{_classes(train)}; {labels.reason}."),
        Decision("data.image", match.template, fit_in_words(match)),
    ]
    if labels.separator:
        parts = "parts of its cells are whole cells elsewhere"
        decisions.append(Decision("data.tag_separator", labels.separator, f"Several tags in a cell: {parts}."))
    return decisions


def names_files(cells: list[str]) -> bool:
    """Whether a column may name files: its cells are mostly different."""
    return len(set(cells)) * 2 > len(cells)


def fit_in_words(match: Match) -> str:
    """How well a template fits, in words."""
    text = f"{match.num_found:,} of {match.num_rows:,} files are there."
    return text + (f" These fit as well: {quoted(match.others, 3)}." if match.others else "")


def _classes(train: TrainTable) -> str:
    """The classes in words."""
    if len(train.labels.columns) > 1:
        return f"{len(train.labels.columns):,} columns, one for each class"
    values = list(dict.fromkeys(train.sheet.cells[train.labels.columns[0]]))
    return f"{len(values):,} values: {quoted(sorted(values))}"
