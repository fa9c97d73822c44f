"""Templates that make a table of files, `train/{label}/{file}`: what families without a table share; test folders."""

import posixpath
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.competition.tables.csv_table import counted
from pipeline.competition.tables.templates import fields, pattern
from pipeline.detection.candidates import Candidate, Refusal, Source
from pipeline.detection.found import SAY, Choice, escape_braces, quoted
from pipeline.detection.habits import ALIKE, NUM_PAIRS, SHARED, TEST_WORDS, says
from pipeline.detection.image_files import evenly_spaced, is_image
from pipeline.detection.inventory import Inventory
from pipeline.detection.label_columns import Labels
from pipeline.detection.plain_template import paths_fitting
from pipeline.detection.sheets import Sheet
from pipeline.files import InputError
from pipeline.image_kinds import BROKEN, open_image
from pipeline.quoting import shown

_SAY_TRAIN = f"{SAY} data.train='FOLDER/{{label}}/{{file}}.jpg'"
_SAY_TEST = f"{SAY} data.test='FOLDER/{{file}}.jpg' data.test_image='FOLDER/{{file}}.jpg'"


@dataclass(frozen=True)
class Folders:
    """A template that makes a table from files, the files it fits, other folders that it could have been, and more
    files with the same labels.
    """

    template: str
    paths: list[str]
    others: tuple[str, ...] = ()
    extra: tuple["Folders", ...] = ()

    @cached_property
    def columns(self) -> dict[str, list[str]]:
        """The columns that the template reads from the paths."""
        matcher = pattern(self.template)
        rows = [match.groups() for path in self.paths if (match := matcher.fullmatch(path))]
        return dict(zip(fields(self.template), map(list, zip(*rows, strict=True)), strict=True))

    @property
    def labels(self) -> list[str]:
        """The label of each file."""
        return self.columns["label"]

    @property
    def name(self) -> str:
        """The column of the files' own names."""
        return next(field for field in self.columns if field not in ("label", "folder"))

    @property
    def id(self) -> str:
        """The column that names an image: its file, or its whole path where two files have one name."""
        return self.name if len(set(self.columns[self.name])) == len(self.paths) else "path"


Find = Callable[[Path, Sequence[str], Sequence[str]], Folders | None]


def are_versions(root: Path, train: Candidate) -> bool:
    """Whether files of one name are versions of one image: (nearly) every name is in (nearly) every class, and the
    pixels of some that were looked at differ by a few levels.
    """
    labels = train.sheet.cells["label"]
    num_labels = len(set(labels))
    versions: dict[str, list[str]] = {}
    for path in train.paths:
        versions.setdefault(posixpath.basename(path), []).append(path)
    if num_labels < 2 or len(train.paths) < SHARED * len(versions) * num_labels:
        return False
    pairs = [paths[:2] for paths in versions.values() if len(paths) > 1]
    return all(_alike(root, *pairs[index]) for index in evenly_spaced(len(pairs), NUM_PAIRS))


def candidate(folders: Folders, source: Source) -> Candidate:
    """Make the reading of train images that name their classes."""
    count = len(set(folders.labels))
    where = f"in {count:,} folders, which name" if source is Source.FOLDERS else f"whose names say which of {count:,}"
    reason = f"No train table; {len(folders.paths):,} images {where} the classes."
    if folders.others:
        reason += f" Folders of classes too, not used: {quoted([name or '.' for name in folders.others])}."
    choices = [
        Choice("data.train", folders.template, reason),
        Choice("data.id", folders.id, "Files of two classes have the same name." if folders.id == "path" else ""),
        Choice("data.labels", ("label",)),
        Choice("data.image", folders.template),
    ]
    if folders.extra:
        num_more = sum(len(other.paths) for other in folders.extra)
        reason = f"{num_more:,} more images in folders of the same classes: they are trained on too."
        choices.append(Choice("data.extra", tuple(other.template for other in folders.extra), reason, said=True))
    everything = (folders, *folders.extra)
    paths = tuple(path for part in everything for path in part.paths)
    all_labels = [label for part in everything for label in part.labels]
    sheet = Sheet(folders.template, pd.DataFrame({"file": paths, "label": all_labels}, dtype=str))
    evidence = f"{len(folders.paths):,} images {where} the classes: {quoted(sorted(set(folders.labels)))}"
    labels, name, others = Labels(("label",), 0, ""), folders.name, folders.others
    return Candidate(
        source, sheet, labels, folders.id, paths, tuple(choices), evidence, versions_by=name, unused=others
    )


def read_paths(inventory: Inventory, name: str, source: Source, find: Find) -> list[Candidate | Refusal]:
    """Read what the paths of images say by themselves, where the user has not said otherwise.

    Args:
        inventory: of the download.
        name: what a refusal is called.
        source: where the labels stand.
        find: gives the folders, from the root, every file and the images that can be train images; None for none. An
            InputError of it stops what is less sure.
    """
    if "data.train" in inventory.said:
        return []
    images = [path for path in inventory.images.paths if path not in inventory.asked]
    files = [path for path in inventory.files if path not in inventory.asked]
    try:
        folders = find(inventory.root, files, images)
    except InputError as error:
        return [Refusal(name, str(error), source, stops=True)]
    return [candidate(folders, source)] if folders else []


def read_said_template(key: str, template: str, images: Sequence[str]) -> Folders:
    """Find the images by the template that the user has decided for `data.train` or `data.test`.

    Raises:
        InputError: it fits no image, or one of train images has no field `label`.
    """
    found, is_train = paths_fitting(template, images), key == "data.train"
    if not found or (is_train and "label" not in fields(template)):
        raise InputError(
            f"{key} must be a table, or a template {'with {label} ' if is_train else ''}that fits images. "
            f"{shown(template)} fits {len(found):,} of {len(images):,}"
        )
    return Folders(template, found)


def find_test_folder(root: Path, paths: Sequence[str], images: Sequence[str]) -> Folders:
    """Find the folder of the test images among the images that are left, flat or with one level of folders.

    Raises:
        InputError: there is none, or more than one.
    """
    parents = sorted({posixpath.dirname(path) for path in images})
    named = [parent for parent in parents if says(parent, TEST_WORDS)] or parents
    if not named:
        raise InputError(
            f"{root} must hold test images beside the train images. Got none; put them into {root / 'test'}, "
            f"{_SAY_TEST}"
        )
    if len(named) == 1:
        folder, levels = named[0], "{file}"
    elif len({posixpath.dirname(parent) for parent in named}) == 1:
        folder, levels = posixpath.dirname(named[0]), "{folder}/{file}"
    else:
        raise InputError(
            f"{root} must hold one folder of test images. Got {counted('folders', named)}; move the others away, "
            f"{_SAY_TEST}"
        )
    wanted = [path for path in images if posixpath.dirname(path) in named]
    template = escape_braces(f"{folder}/" if folder else "") + levels
    return Folders(*fitting_alone(root, template, paths, wanted, _SAY_TEST))


def fitting_alone(
    root: Path, template: str, paths: Sequence[str], wanted: Sequence[str], say: str = _SAY_TRAIN
) -> tuple[str, list[str]]:
    """Add the extension to a template where it takes that to fit the wanted images alone; returns these too.

    Raises:
        InputError: other files fit as well.
    """
    fits = paths_fitting(template, paths)
    if other := sorted(set(fits) - set(wanted)):
        endings = {posixpath.splitext(path)[1] for path in wanted}
        template += escape_braces(endings.pop()) if len(endings) == 1 else ""
        fits = paths_fitting(template, paths)
        if other := sorted(set(fits) - set(wanted)):
            images = [path for path in other if is_image(path)]
            raise InputError(
                f"{root}: only images of this split may fit {template!r}. {counted('other files do', images or other)}"
                f"; move them away, {say}"
            )
    return template, fits


def _alike(root: Path, one: str, other: str) -> bool:
    """Whether two images are of one size and differ by a few levels on average."""
    try:
        with open_image(root / one) as first, open_image(root / other) as second:
            if first.size != second.size:
                return False
            pixels = [np.asarray(image.convert("L"), np.float32) for image in (first, second)]
    except BROKEN:
        return False
    return float(np.abs(pixels[0] - pixels[1]).mean()) < ALIKE
