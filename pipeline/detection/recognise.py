"""Recognising a downloaded competition: what its folder holds -> the settings that read it, each with its reason."""

import os
from pathlib import Path

from pipeline.competition.answers import metrics
from pipeline.competition.answers.mirrors import against_hflip
from pipeline.detection.answerable import must_be_answerable
from pipeline.detection.asked import choose_test_images, test_sheet
from pipeline.detection.box import choose_box
from pipeline.detection.candidates import Candidate
from pipeline.detection.choose import choose, in_words
from pipeline.detection.config_text import render
from pipeline.detection.disagreement import must_count_alike, say_disagreement
from pipeline.detection.extra import choose_extra, labelled_too, settings_of_extra, tables_said
from pipeline.detection.folders import are_versions
from pipeline.detection.found import Choice, Facts, Found, Given
from pipeline.detection.groups import choose_groups
from pipeline.detection.inventory import Inventory, take_inventory
from pipeline.detection.lost import choose_bad_images, find_lost
from pipeline.detection.metric import are_tags, choose_metric, classes_are_named
from pipeline.detection.metric_text import by_text, read_said
from pipeline.detection.negative import choose_negative
from pipeline.detection.readings import read_all
from pipeline.detection.survey import survey_headers
from pipeline.detection.unused import say_unused
from pipeline.quoting import without_secrets

__all__ = ["Choice", "Found", "recognise", "render"]


def recognise(
    folder: Path, opened: Path | None = None, *, root: str = "", name: str = "", given: Given | None = None
) -> Found:
    """Choose the settings that read a competition's folder as it was downloaded.

    Args:
        folder: the folder, as messages name it.
        opened: where its files are read, if that is another folder: its archives lie open there.
        root: the folder as `data.root` is to name it, where that is an address; else as messages do.
        name: the run's name; else the folder's.
        given: settings that the user has decided, by `section.key`: those of `data` and of `task`.

    Returns:
        What was seen, every choice about the files with its reason, and what training may be chosen by.

    Raises:
        InputError: the folder is empty, has no images, or its tables, images and folders allow no reading, or two
            that are equally good; which, and what to say.
    """
    given = given or {}
    inventory = take_inventory(folder, opened or folder, given)
    found = read_all(inventory)
    train, lost = choose(inventory, found)
    others = labelled_too(inventory, train, lost)
    asked = choose_test_images(inventory, train, others)
    sample = inventory.sample.limited_to(train.labels.columns) if inventory.sample else None
    must_be_answerable(folder, train.sheet, train.labels, sample)
    versions = bool(train.versions_by) and are_versions(inventory.opened, train)
    choices = [*train.choices, *asked, *_of_rows(inventory, train, asked, versions)]
    if inventory.encoding:
        choices.append(inventory.encoding)
    if inventory.rows:
        choices.append(Choice("data.rows", inventory.rows, "The sample has a row for each image and class."))
    if "data.negative" in given:
        negative: Choice | None = Choice("data.negative", given["data.negative"])
    else:
        negative = choose_negative(folder, train.sheet, train.labels, sample, versions=versions)
    if negative and negative.value:
        choices.append(negative)
    columns = train.labels.columns
    named = len(columns) == 1 and classes_are_named(
        inventory.opened, inventory.files, inventory.sheets, set(train.sheet.cells[columns[0]])
    )
    binary = bool(negative and negative.value)
    metric = choose_metric(train.sheet, train.labels, sample, binary=binary, named=named, versions=versions)
    num_targets = len(sample.targets) if sample else len(columns)
    num_classes, tags = len(train.labels.classes(train.sheet)), are_tags(train.sheet, train.labels)
    encoding = inventory.encoding.value if inventory.encoding else given.get("data.encoding", "")
    text = read_said(inventory.opened, inventory.files, str(encoding))
    metric = by_text(metric, text, num_classes, num_targets, tags=tags)
    if "task.metric" in given:
        metric = Choice("task.metric", given["task.metric"])
    elif given.get("task.kind", "auto") not in ("auto", *metrics.get(str(metric.value)).kinds):
        kind = given["task.kind"]
        metric = Choice("task.metric", metrics.COMMON[kind], f"A common one of labels of kind {kind!r}.")
    chosen = metrics.get(str(metric.value))
    numbers = chosen.kinds == ("number",)
    grades = chosen.needs == "grades" or given.get("task.kind") == "ordinal"
    if not numbers:
        must_count_alike(inventory, sample, train)
    extra = choose_extra(inventory, train, others, choices, numbers=numbers) if "data.extra" not in given else []
    choices += settings_of_extra(train, extra, choices)
    known = tables_said(given) | {other.name for other in extra}
    lost = [other for other in lost if other.name not in known]
    paths = [*train.paths, *(path for other in extra for path in other.paths)]
    there = survey_headers(inventory.opened, [path for path in paths if path in inventory.images.known])
    why_not = "" if numbers else against_hflip(train.labels.classes(train.sheet), named=named)
    lost_images = find_lost(inventory, train, asked)
    if bad := choose_bad_images(inventory, train, lost_images, there, numbers=numbers):
        choices.append(bad)
    facts = Facts(there.side, there.grey, there.text, len(paths), numbers, versions, why_not, grades)
    said = [Choice(key, value, "As was said with --set.") for key, value in given.items()]
    choices = [*(item for item in (*choices, metric) if item.key not in given), *said]
    # Of two of one setting, such as tables without a header, the later knows more.
    decided = {item.key: item for item in choices if not item.proposed}
    choices = [item for item in choices if item.proposed or decided[item.key] is item]
    refused = [item.reason for item in found if not isinstance(item, Candidate)]
    return Found(
        name or Path(os.path.abspath(folder)).name,
        without_secrets(root or str(folder)),
        (*inventory.seen(refused), *(f"Not taken: {in_words(other)}" for other in lost)),
        (Choice("data.root", root or str(folder)), *choices),
        facts,
        (
            *say_disagreement(inventory, sample, train, negative, numbers=numbers),
            *say_unused(inventory, train, lost, lost_images, _value(asked, "data.test")),
        ),
    )


def _of_rows(inventory: Inventory, train: Candidate, asked: list[Choice], versions: bool) -> list[Choice]:
    """Choose what the rows share or hold: groups, and the box in each image."""
    if versions:
        reason = "Files of one name are versions of one image, and share a fold."
        return [Choice("data.group", train.versions_by, reason)]
    if train.match is None:
        return []
    used = [train.id, train.match.key, *train.labels.columns]
    test = test_sheet(inventory, train, asked)
    box = choose_box(inventory.opened, train.sheet, list(train.paths), test, used)
    others = [sheet for sheet in inventory.sheets if sheet is not train.sheet]
    test_id = _value(asked, "data.test_id") or train.id
    return [*choose_groups(train.sheet, train.id, test, test_id, used, others), *box]


def _value(choices: list[Choice], key: str) -> str:
    return next((str(item.value) for item in choices if item.key == key), "")
