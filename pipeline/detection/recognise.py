"""Recognising a downloaded competition: what its folder holds -> the settings that read it, each with its reason."""

import os
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.competition.answers import metrics
from pipeline.competition.answers.mirrors import against_hflip
from pipeline.competition.tables.templates import fields
from pipeline.detection.asked import choose_test_images
from pipeline.detection.box import choose_box
from pipeline.detection.download import Download, read_download
from pipeline.detection.find_template import find_template
from pipeline.detection.folders import Folders, find_class_folders, find_named_classes, read_given_template
from pipeline.detection.found import SAY, Choice, Facts, Found, Given, first_problems, quoted, render
from pipeline.detection.image_files import paths_of
from pipeline.detection.label_columns import Labels, must_be_answerable, propose_groups
from pipeline.detection.metric import choose_metric, choose_negative, classes_are_named
from pipeline.detection.survey import survey_headers
from pipeline.detection.tables import Sheet
from pipeline.detection.train_table import TrainTable, find_train_table, train_table_choices
from pipeline.files import InputError

__all__ = ["Choice", "Found", "recognise", "render"]


@dataclass(frozen=True)
class _Known:
    """The train images: a table with their labels, their paths, whether they are versions of a few."""

    sheet: Sheet
    labels: Labels
    paths: list[str]
    choices: list[Choice]
    versions: bool = False


def recognise(folder: Path, opened: Path | None = None, *, name: str = "", given: Given | None = None) -> Found:
    """Choose the settings that read a competition's folder as it was downloaded.

    Args:
        folder: the folder, as `data.root` is to name it.
        opened: where its files are read, if that is another folder: its archives lie open there.
        name: the run's name; else the folder's.
        given: settings that the user has decided, by `section.key`: those of `data` and of `task`.

    Returns:
        What was seen, every choice about the files with its reason, and what training may be chosen by.

    Raises:
        InputError: the folder is empty, has no images, or its tables, images and folders allow no reading, or two
            that are equally good; which, and what to say.
    """
    given = given or {}
    download = read_download(folder, opened or folder, given)
    sample = download.sample
    train = find_train_table(download)
    known = _by_table(download, train) if train is not None else _by_files(download)
    sample = sample.limited_to(known.labels.columns) if sample else None
    must_be_answerable(folder, known.sheet, known.labels, sample)
    choices = known.choices
    if download.rows:
        choices.append(Choice("data.rows", download.rows, "The sample has a row for each image and class."))
    if "data.negative" in given:
        negative: Choice | None = Choice("data.negative", given["data.negative"])
    else:
        negative = choose_negative(folder, known.sheet, known.labels, sample, versions=known.versions)
    if negative and negative.value:
        choices.append(negative)
    columns = known.labels.columns
    named = len(columns) == 1 and classes_are_named(
        download.opened, download.files, download.sheets, set(known.sheet.cells[columns[0]])
    )
    metric = choose_metric(known.sheet, known.labels, sample, binary=bool(negative and negative.value), named=named)
    if "task.metric" in given:
        metric = Choice("task.metric", given["task.metric"])
    elif given.get("task.kind", "auto") not in ("auto", *metrics.get(str(metric.value)).kinds):
        kind = given["task.kind"]
        metric = Choice("task.metric", metrics.COMMON[kind], f"A common one of labels of kind {kind!r}.")
    numbers = metrics.get(str(metric.value)).kinds == ("number",)
    there = survey_headers(download.opened, [path for path in known.paths if path in download.images.known])
    why_not = "" if numbers else against_hflip(known.labels.classes(known.sheet), named=named)
    facts = Facts(there.side, there.grey, there.text, len(known.paths), numbers, known.versions, why_not)
    said = [Choice(key, value, "As was said with --set.") for key, value in given.items()]
    choices = [*(item for item in (*choices, metric) if item.key not in given), *said]
    return Found(
        name or Path(os.path.abspath(folder)).name,
        str(folder),
        tuple(download.seen),
        (Choice("data.root", str(folder)), *choices),
        facts,
    )


def _by_table(download: Download, train: TrainTable) -> _Known:
    """Read the train images by their table."""
    sheet, paths = train.sheet, paths_of(train.match.template, train.sheet.frame, download.images.paths)
    asked = choose_test_images(download, train.id, paths, train)
    used = [train.id, train.match.key, *train.labels.columns]
    name = next(str(item.value) for item in asked if item.key == "data.test")
    test = next((other for other in download.sheets if other.name == name and other is not sheet), None)
    box = choose_box(download.opened, sheet, paths, test, used)
    choices = [*train_table_choices(train), *asked, *propose_groups(sheet, used), *box]
    return _Known(sheet, train.labels, paths, choices)


def _by_files(download: Download) -> _Known:
    """Read the train images by class folders, or by files that name their class.

    Raises:
        InputError: there are none.
    """
    tested: set[str] = set()
    if download.sample:
        frame, given = download.sample.sheet.frame, download.given.get("data.test_image")
        given = given if given is not None and set(fields(given)) <= set(frame) else None
        match = find_template(frame, [download.sample.id], download.images, "test", given=given)
        if match and match.is_good:
            tested = set(paths_of(match.template, frame, download.images.paths))
    files = [path for path in download.files if path not in tested]
    images = [path for path in download.images.paths if path not in tested]
    if (template := download.given.get("data.train")) is not None:
        folders: Folders | None = read_given_template("data.train", template, images)
    else:
        folders = find_class_folders(download.root, files, images) or find_named_classes(download.root, files, images)
    if folders is None:
        raise InputError(
            "; ".join(first_problems(download.problems))
            or f"{download.root} must hold a train table (csv), a folder for each class, or files that name theirs "
            f"(dog.1.jpg). Got tables: {download.table_names}; {SAY} data.train=FOLDER/{{label}}/{{file}}.jpg"
        )
    versions = folders.are_versions(download.opened)
    test_choices = choose_test_images(download, folders.id, folders.paths, None)
    choices = [*_class_folder_choices(folders, versions), *test_choices]
    sheet = Sheet(folders.template, pd.DataFrame({"file": folders.paths, "label": folders.labels}, dtype=str))
    return _Known(sheet, Labels(("label",), 0, ""), folders.paths, choices, versions)


def _class_folder_choices(folders: Folders, versions: bool) -> list[Choice]:
    """Choose the settings by which class folders are read."""
    count = len(set(folders.labels))
    where = (
        f"in {count:,} folders, which name" if "{label}/" in folders.template else f"whose names say which of {count:,}"
    )
    reason = f"No train table; {len(folders.paths):,} images {where} the classes."
    if folders.others:
        reason += f" Folders of classes too, not used: {quoted([name or '.' for name in folders.others])}."
    choices = [
        Choice("data.train", folders.template, reason),
        Choice("data.id", folders.id, "Files of two classes have the same name." if folders.id == "path" else ""),
        Choice("data.labels", ("label",)),
        Choice("data.image", folders.template),
    ]
    if versions:
        reason = "Files of one name are versions of one image, and share a fold."
        choices.append(Choice("data.group", folders.name, reason))
    return choices
