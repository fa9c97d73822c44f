"""Recognising a downloaded competition: what its folder holds -> the settings that read it, each with its reason."""

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from pipeline.competition import metrics
from pipeline.competition.csv_table import some
from pipeline.competition.layout.box import choose_box
from pipeline.competition.layout.folder import Folders, class_folders, named_classes, test_folder
from pipeline.competition.layout.images import SUFFIXES, UNREAD, ImageFiles, find_template, paths_of
from pipeline.competition.layout.settings import Decision, Found, quoted, render
from pipeline.competition.layout.tables import Sample, Sheet, find_sample, read_sheets
from pipeline.competition.layout.task import Labels, are_named, choose_metric, choose_negative, propose_groups
from pipeline.competition.layout.train import (
    BY_HAND,
    TrainTable,
    find_train_table,
    fit_in_words,
    names_files,
    read_by_table,
)
from pipeline.competition.layout.training import recipe, survey
from pipeline.competition.long_table import find_rows, is_long, widen
from pipeline.files import InputError, walk

__all__ = ["Decision", "Found", "look", "render"]


def look(folder: Path, opened: Path | None = None, *, name: str = "", has_gpu: bool = False) -> Found:
    """Look at a competition's folder as it was downloaded.

    Args:
        folder: the folder, as `data.root` is to name it.
        opened: where its files are read, if that is another folder: its archives lie open there.
        name: the run's name; else the folder's.
        has_gpu: whether training will have a GPU: larger images, more epochs.

    Returns:
        What was seen and every decision with its reason.

    Raises:
        InputError: the folder is empty, has no images, or its tables, images and folders allow no reading, or two
            that are equally good; which, and what to write by hand.
    """
    opened = opened or folder
    files = list(walk(opened))
    images = ImageFiles(files)
    if not files:
        raise InputError(f"{folder} is empty. Put the competition's files there")
    unread = [path for path in files if path.lower().endswith(UNREAD)]
    if not images.paths and unread:
        raise InputError(
            f"{folder} must hold images that can be read ({' '.join(SUFFIXES)}). Got "
            f"{some('files of other kinds', unread)}; convert them to PNG"
        )
    if not images.paths:
        raise InputError(f"{folder} must hold images in files of their own. Got {some('files', files)}")
    sheets, problems = read_sheets(opened, files)
    sample = find_sample(folder, sheets)
    rows = None
    if sample and len(sample.targets) == 1:
        rows = find_rows(sample.sheet.cells[sample.id], lambda text: next(images.named(text), None) is not None)
        if rows:
            sheets = [_widened(sheet, sample.id, *rows) for sheet in sheets]
            sample = find_sample(folder, sheets)
    versions = False
    train = find_train_table(folder, sheets, sample, images, problems)
    seen = [f"Seen: {len(files):,} files, {len(images.paths):,} of them images; tables: {_names(sheets)}."]
    if train is not None:
        train_paths = paths_of(train.match.template, train.sheet.frame)
        decisions = read_by_table(train) + _test(folder, files, images, sheets, sample, train.id, train_paths, train)
        labels, sheet = train.labels, train.sheet
        used = [train.id, train.match.key, *labels.columns]
        decisions += propose_groups(sheet, used)
        asked = next(str(item.value) for item in decisions if item.key == "data.test")
        test_sheet = next((other for other in sheets if other.name == asked), None)
        decisions += choose_box(opened, sheet, train_paths, test_sheet, used)
    else:
        folders = _without_table(folder, files, images, sheets, sample, problems)
        train_paths = folders.paths
        versions = folders.are_versions(opened)
        decisions = _read_by_folders(folders, versions) + _test(
            folder, files, images, sheets, sample, folders.id, train_paths, None
        )
        labels, sheet = Labels(("label",), 0, ""), _as_sheet(folders)
    negative = choose_negative(folder, sheet, labels, sample)
    if negative:
        decisions.append(negative)
    seen += [f"Not read: {problem}." for problem in problems]
    if unread:
        seen.append(f"Not read: {some('files', unread)}.")
    named = len(labels.columns) == 1 and are_named(opened, files, sheets, set(sheet.cells[labels.columns[0]]))
    if rows:
        decisions.append(Decision("data.rows", rows[0], "The sample has a row for each image and class."))
    metric = choose_metric(sheet, labels, sample, binary=negative is not None, named=named)
    decisions.append(metric)
    numbers = metrics.get(str(metric.value)).kinds == ("number",)
    there = [path for path in train_paths if path in images.known]
    decisions += recipe(survey(opened, there), len(train_paths), has_gpu, numbers=numbers, traces=versions)
    return Found(
        name or Path(os.path.abspath(folder)).name,
        str(folder),
        tuple(seen),
        (Decision("data.root", str(folder)), *decisions),
    )


def _widened(sheet: Sheet, id_column: str, rows: str, classes: Sequence[str]) -> Sheet:
    """A table with a row for each image, where it has one for each image and class."""
    name = sheet.column(id_column)
    if name is None or not is_long(sheet.cells[name], rows, classes):
        return sheet
    return Sheet(sheet.name, widen(sheet.frame, name, rows, classes, sheet.name))


def _without_table(
    root: Path,
    files: list[str],
    images: ImageFiles,
    sheets: list[Sheet],
    sample: Sample | None,
    problems: list[str],
) -> Folders:
    """The class folders, or the files that name their class, of a competition without a train table.

    Raises:
        InputError: there are none.
    """
    tested: set[str] = set()
    if sample:
        match = find_template(sample.sheet.frame, [sample.id], images, "test")
        if match and match.good:
            tested = set(paths_of(match.template, sample.sheet.frame))
    left = [path for path in files if path not in tested]
    rest = [path for path in images.paths if path not in tested]
    folders = class_folders(root, left, rest) or named_classes(root, left, rest)
    if folders is not None:
        return folders
    if problems:
        raise InputError("; ".join(problems))
    raise InputError(
        f"{root} must hold a train table (csv), a folder for each class, or files that name theirs (dog.1.jpg). Got "
        f"tables: {_names(sheets)}; {BY_HAND} data.train, data.labels and data.image"
    )


def _read_by_folders(folders: Folders, versions: bool) -> list[Decision]:
    """The settings by which class folders are read."""
    count = len(set(folders.labels))
    where = (
        f"in {count:,} folders, which name" if "{label}/" in folders.template else f"whose names say which of {count:,}"
    )
    reason = f"No train table; {len(folders.paths):,} images {where} the classes."
    if folders.others:
        reason += f" Folders of classes too, not used: {quoted([name or '.' for name in folders.others])}."
    decisions = [
        Decision("data.train", folders.template, reason),
        Decision("data.id", folders.id, "Files of two classes have the same name." if folders.id == "path" else ""),
        Decision("data.labels", ("label",)),
        Decision("data.image", folders.template),
    ]
    if versions:
        reason = "Files of one name are versions of one image, and share a fold."
        decisions.append(Decision("data.group", folders.name, reason))
    return decisions


def _test(
    root: Path,
    files: list[str],
    images: ImageFiles,
    sheets: list[Sheet],
    sample: Sample | None,
    train_id: str,
    train_paths: list[str],
    train: TrainTable | None,
) -> list[Decision]:
    """The settings of the test images and the sample submission.

    Raises:
        InputError: no files fit the test ids.
    """
    taken = frozenset(train_paths)
    decisions = [
        Decision("data.sample_submission", sample.sheet.name, f"{len(sample.sheet.frame):,} rows; {sample.why}.")
        if sample
        else Decision("data.sample_submission", "", "None was found: a submission has the id and the label columns.")
    ]
    tried = []
    for sheet, id_ in _test_tables(sheets, sample, train_id, train):
        keys = [id_, *(name for name, cells in sheet.cells.items() if name != id_ and names_files(cells))]
        match = find_template(sheet.frame, keys, images, "test", taken)
        if match and match.good:
            if id_ != train_id:
                decisions.append(Decision("data.test_id", id_, f"The train table has {train_id!r}."))
            return [
                *decisions,
                Decision("data.test", sheet.name, f"{match.num_rows:,} rows."),
                Decision("data.test_image", match.template, fit_in_words(match)),
            ]
        best = f"at most {match.num_found:,} of {match.num_rows:,}, by {match.template!r}" if match else "none"
        tried.append(
            f"{root / sheet.name}: the ids in column {id_!r}, such as {sheet.cells[id_][0]!r}, must name test images; "
            f"{best} do"
        )
    if tried:
        raise InputError("; ".join(tried) + f"; {BY_HAND} data.test_image")
    left = [path for path in images.paths if path not in taken]
    folder = test_folder(root, files, left)
    if train_id != folder.id:
        decisions.append(Decision("data.test_id", folder.id, f"The train images have {train_id!r}."))
    return [
        *decisions,
        Decision("data.test", folder.template, f"No table of the test images; {len(folder.paths):,} files."),
        Decision("data.test_image", folder.template),
    ]


def _test_tables(
    sheets: list[Sheet], sample: Sample | None, train_id: str, train: TrainTable | None
) -> list[tuple[Sheet, str]]:
    """Tables of the test ids with their id columns, the likeliest first: those with the sample's ids, then the sample;
    without a sample those with the train table's id column and other ids.
    """
    others = sorted(
        (
            sheet
            for sheet in sheets
            if (train is None or sheet is not train.sheet) and not (sample and sheet is sample.sheet)
        ),
        key=lambda sheet: ("test" not in sheet.stem, sheet.name),
    )
    if sample is None:
        known = set(train.sheet.cells[train.id]) if train else set()
        return [(s, train_id) for s in others if train_id in s.unique and not known & set(s.cells[train_id])]
    asked = set(sample.sheet.cells[sample.id])
    same = [(s, sample.id) for s in others if sample.id in s.unique and set(s.cells[sample.id]) == asked]
    # The sample's first column is its ids whatever the test table calls them.
    first = str(sample.sheet.frame.columns[0]) == sample.id
    renamed = [
        (s, name) for s in others if first for name in s.unique if set(s.cells[name]) == asked and name != sample.id
    ]
    return [*same, (sample.sheet, sample.id), *renamed]


def _names(sheets: list[Sheet]) -> str:
    return quoted([sheet.name for sheet in sheets], 10) or "none"


def _as_sheet(folders: Folders) -> Sheet:
    """Class folders as a table with a label column."""
    return Sheet(folders.template, pd.DataFrame({"file": folders.paths, "label": folders.labels}, dtype=str))
