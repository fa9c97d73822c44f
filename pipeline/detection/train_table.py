"""The train table: ids, image files and labels, found together; a table that lacks one of them is none."""

import posixpath
import re
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.competition.tables.csv_table import duplicates
from pipeline.detection.download import Download
from pipeline.detection.find_template import find_template
from pipeline.detection.found import SAY, Choice, Given, first_problems, quoted
from pipeline.detection.image_files import ImageFiles, TemplateMatch, is_image
from pipeline.detection.label_columns import Labels, choose_labels, tag_separator
from pipeline.detection.tables import Sheet, sample_rank, sheet_named
from pipeline.files import InputError

# A table with a smaller fraction of the images of another one is no train table: it is one of classes, or an example;
# and rows without a label are left out where they are a smaller fraction of all.
_FEW = 0.1


@dataclass(frozen=True)
class TrainTable:
    """A train table: its id column, labels and image files; and templates of files that could be them as well."""

    sheet: Sheet
    id: str
    labels: Labels
    match: TemplateMatch
    alike: tuple[str, ...] = ()

    def must_be_one(self, root: Path) -> "TrainTable":
        """Return the table, if nothing but habits had to tell which files are its images.

        Raises:
            InputError: each row has several that are equally good.
        """
        if self.alike:
            alike = sorted((self.match.template, *self.alike))
            raise InputError(
                f"{root / self.sheet.name}: each row must have one image file. Several are equally good: "
                f"{quoted(alike)}; which is meant is not in the files: say it, as in --set data.image='{alike[0]}'"
            )
        return self

    @property
    def rank(self) -> tuple[bool, int, int]:
        """How good a candidate it is: not of the test images by its name; by its labels, then by habits in naming."""
        stem = self.sheet.stem
        says_test = "train" not in stem and re.search(r"(?<![a-z])test", stem) is not None
        if "train" in stem:
            habits = 0 if stem == "train" else 1
        elif "label" in stem:
            habits = 2
        else:
            habits = 4 if says_test else 3
        return says_test, self.labels.doubt, habits


def find_train_table(download: Download) -> TrainTable | None:
    """Find the table with ids, image files and labels; add why a table is none to the download's problems.

    Raises:
        InputError: two tables are equally good, or the one that is named `train` cannot be it: then class folders are
            no way out.
    """
    root, sample, problems = download.root, download.sample, download.problems
    if (given := download.given.get("data.train")) is not None:
        if "{" in given:
            return None
        candidate = _as_train(download, sheet_named(root, download.sheets, "data.train", given))
        if isinstance(candidate, str):
            raise InputError(candidate)
        return candidate.must_be_one(root)
    asked = set(sample.sheet.cells[sample.id]) if sample else set()
    candidates, named_train = [], False
    for sheet in sorted(download.sheets, key=lambda sheet: "train" not in sheet.stem):
        if (sample and sheet is sample.sheet) or sample_rank(sheet) < 3 or sheet.is_test:
            continue
        candidate = _as_train(download, sheet)
        has_labels = isinstance(candidate, TrainTable) and candidate.labels.doubt < 2
        if not has_labels and any(set(sheet.cells[name]) == asked for name in sheet.unique):
            continue  # the test table
        if isinstance(candidate, TrainTable):
            candidates.append(candidate)
        else:
            problems.append(candidate)
            named_train = named_train or "train" in sheet.stem
    if named_train and not candidates:
        raise InputError("; ".join(first_problems(problems)))
    most = max((item.match.num_rows for item in candidates), default=0)
    candidates = [
        item
        for item in candidates
        if item.match.num_rows >= _FEW * most or item.labels.doubt == 0 or "train" in item.sheet.stem
    ]
    candidates.sort(key=lambda item: (item.rank, item.sheet.name))
    if len(candidates) > 1 and candidates[0].rank == candidates[1].rank:
        both = [item.sheet.name for item in candidates[:2]]
        column = ", ".join(candidates[0].labels.columns[:5])
        raise InputError(
            f"{root} must hold one train table. {both[0]!r} and {both[1]!r} are equally good, with labels in column "
            f"{column!r}; move one out of the folder, {SAY} data.train={both[0]}"
        )
    return candidates[0].must_be_one(root) if candidates else None


def _as_train(download: Download, sheet: Sheet) -> "TrainTable | str":
    """Read a table as the train table, or say why it cannot be."""
    path, sample, images, given = download.root / sheet.name, download.sample, download.images, download.given
    same = given.get("data.id") or (sheet.column(sample.id) if sample else None)
    if same and same not in sheet.cells:
        return f"{path} must have the column data.id = {same!r}. Got {quoted(list(sheet.cells))}"
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
    match = find_template(sheet.frame, keys, images, "train", given=given.get("data.image"))
    if match is None or not match.is_good:
        first = sheet.cells[ids[0]][0]
        best = f"at most {match.num_found:,} of {match.num_rows:,}, by {match.template!r}" if match else "none"
        return (
            f"{path}: the ids in column {ids[0]!r}, such as {first!r}, must name the image files, such as "
            f"{_an_example(images)!r}; {best} do; {SAY} data.image=FOLDER/{{COLUMN}}.jpg"
        )
    id_ = match.key if match.key in ids else ids[0]
    labels = _given_labels(sheet, given) if "data.labels" in given else choose_labels(sheet, [id_, match.key], sample)
    if labels is None and (columns := given.get("data.labels")):
        return f"{path} must have the columns data.labels = {quoted(columns)}. Got {quoted(list(sheet.cells))}"
    if labels is None:
        return f"{path} has no column that can hold labels"
    labels = replace(labels, separator=given.get("data.tag_separator", labels.separator))
    return TrainTable(sheet, id_, labels, match, tuple(text for text in match.others if _is_as_good(text, match)))


def _given_labels(sheet: Sheet, given: Given) -> Labels | None:
    """Take the label columns that the user has decided; None where the table lacks one."""
    columns = tuple(given["data.labels"])
    if not set(columns) <= set(sheet.cells):
        return None
    return Labels(columns, 0, "as was said", tag_separator(sheet.cells[columns[0]]) if len(columns) == 1 else "")


def _is_as_good(template: str, match: TemplateMatch) -> bool:
    """Whether a template that fits alike differs in more than habits can tell: files of one folder, with other words
    about the id, `{id}_red.png` and `{id}_green.png`.
    """
    folder, _, name = template.rpartition("/")
    own_folder, _, own = match.template.rpartition("/")
    plain = posixpath.splitext(own)[0] == f"{{{match.key}}}"
    same_kind = posixpath.splitext(name)[1] == posixpath.splitext(own)[1] and f"{{{match.key}}}" in name
    return not plain and folder == own_folder and same_kind


def _an_example(images: ImageFiles) -> str:
    """Take a train image, where one says that it is; else any."""
    return next((path for path in images.paths if "train" in path.lower()), images.paths[0])


def train_table_choices(train: TrainTable) -> list[Choice]:
    """Choose the settings by which a train table is read."""
    match, labels = train.match, train.labels
    choices = [
        Choice("data.train", train.sheet.name, f"{match.num_rows:,} rows; columns: {quoted(list(train.sheet.cells))}."),
        Choice("data.id", train.id),
        Choice("data.labels", labels.columns, f"{_classes(train)}; {labels.reason}."),
        Choice("data.image", match.template, fit_in_words(match)),
    ]
    if column := train.sheet.split:
        choices.append(Choice("data.split", column, "Rows of both parts; those of test are to be predicted."))
    cells = train.sheet.cells[labels.columns[0]]
    if 0 < (num_empty := cells.count("")) < _FEW * len(cells) and len(labels.columns) == 1 and not labels.separator:
        first = train.sheet.cells[train.id][cells.index("")]
        reason = f"{num_empty:,} of {len(cells):,} rows have no label, such as {first!r}: they are left out."
        choices.append(Choice("data.bad_images", "drop", reason))
    if labels.separator:
        reason = "Several tags in a cell: parts of its cells are whole cells elsewhere."
        choices.append(Choice("data.tag_separator", labels.separator, reason))
    return choices


def names_files(cells: list[str]) -> bool:
    """Whether a column may name files: its cells are mostly different."""
    return len(set(cells)) * 2 > len(cells)


def fit_in_words(match: TemplateMatch) -> str:
    """Say how well a template fits."""
    text = f"{match.num_found:,} of {match.num_rows:,} files are there."
    return text + (f" These fit as well: {quoted(match.others, 3)}." if match.others else "")


def _classes(train: TrainTable) -> str:
    """Describe the classes in words."""
    if len(train.labels.columns) > 1:
        return f"{len(train.labels.columns):,} columns, one for each class"
    values = list(dict.fromkeys(filter(None, train.sheet.cells[train.labels.columns[0]])))
    return f"{len(values):,} values: {quoted(sorted(values))}"
