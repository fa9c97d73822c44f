"""Train images without a table, `train/{label}/{file}` or `train/{label}.{id}.jpg`; test images without one too."""

import posixpath
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.competition.tables.csv_table import counted
from pipeline.competition.tables.templates import fields, pattern
from pipeline.detection.found import SAY, escape_braces
from pipeline.detection.image_files import UNREADABLE, evenly_spaced, is_image, paths_fitting
from pipeline.files import InputError

_SAY_TEST = f"{SAY} data.test='FOLDER/{{file}}.jpg' data.test_image='FOLDER/{{file}}.jpg'"
_OTHER_SPLITS = re.compile(
    r"(?<![a-z])(test(s|ing)?|val(id(ation)?)?|pred(ict(ion)?s?)?|extra|additional|unlabell?(ed)?)(?![a-z])"
)
# Pairs of images that are compared, and the mean difference below which they are versions of one, of 255 levels.
_NUM_PAIRS, _ALIKE = 10, 12.0
# A name is shared by the folders' images where it is in this fraction of them on average.
_SHARED = 0.9


# Templates of files that name their class and a number, and what the names look like without the extension.
_NAMED = {
    "{{label}}{0}{{id}}": r"(?P<label>.*\D)(?P<separator>[._ -])\d+",
    "{{id}}{0}{{label}}": r"\d+(?P<separator>[._ -])(?P<label>\D[^._-]*)",
}


@dataclass(frozen=True)
class Folders:
    """A template that makes a table from files, the files it fits, and other folders that it could have been."""

    template: str
    paths: list[str]
    others: tuple[str, ...] = ()

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

    def are_versions(self, root: Path) -> bool:
        """Whether files of one name are versions of one image: (nearly) every name is in (nearly) every class, and the
        pixels of some that were looked at differ by a few levels.
        """
        num_labels = len(set(self.labels))
        versions: dict[str, list[str]] = {}
        for name, path in zip(self.columns[self.name], self.paths, strict=True):
            versions.setdefault(name, []).append(path)
        if num_labels < 2 or len(self.paths) < _SHARED * len(versions) * num_labels:
            return False
        pairs = [paths[:2] for paths in versions.values() if len(paths) > 1]
        return all(_alike(root, *pairs[index]) for index in evenly_spaced(len(pairs), _NUM_PAIRS))


def find_class_folders(root: Path, paths: Sequence[str], images: Sequence[str]) -> Folders | None:
    """Find the folder whose subfolders hold images and name their classes; None where there is none.

    Of several, the one that says `train`, then the one with the most images; none where more than a tenth of the images
    lie elsewhere, in folders that are no other split by their name, or where the folders hold less than two images on
    average: a folder is an image then, not a class.

    Args:
        root: the competition's folder.
        paths: every file below it.
        images: the images that can be train images.

    Raises:
        InputError: other files lie between the images.
    """
    parents = Counter(posixpath.dirname(path) for path in images)
    above: dict[str, list[str]] = {}
    for parent in parents:
        if parent:
            above.setdefault(posixpath.dirname(parent), []).append(parent)
    with_splits = {folder for folder, children in above.items() if any(_is_split(child, "train") for child in children)}
    ranked = sorted(
        ("train" not in folder.lower(), "test" in folder.lower(), -sum(parents[child] for child in children), folder)
        for folder, children in above.items()
        if len(children) > 1 and folder not in with_splits
    )
    if not ranked:
        return None
    folder = ranked[0][-1]
    template = escape_braces(f"{folder}/" if folder else "") + "{label}/{file}"
    wanted = [
        path
        for path in images
        if "/" in path
        and posixpath.dirname(posixpath.dirname(path)) == folder
        and not _is_split(posixpath.dirname(path), "test")
    ]
    elsewhere = set(images) - set(wanted)
    odd = [path for path in elsewhere if not _OTHER_SPLITS.search(path.lower())]
    num_folders = len({posixpath.dirname(path) for path in wanted})
    if len(odd) > 0.1 * len(images) or len(wanted) < 2 * num_folders:
        return None
    return Folders(*_fitting_alone(root, template, paths, wanted), tuple(name for *_, name in ranked[1:]))


def read_given_template(key: str, template: str, images: Sequence[str]) -> Folders:
    """Find the images by the template that the user has decided for `data.train` or `data.test`.

    Raises:
        InputError: it fits no image, or one of train images has no field `label`.
    """
    found, is_train = paths_fitting(template, images), key == "data.train"
    if not found or (is_train and "label" not in fields(template)):
        raise InputError(
            f"{key} must be a table, or a template {'with {label} ' if is_train else ''}that fits images. "
            f"{template!r} fits {len(found):,} of {len(images):,}"
        )
    return Folders(template, found)


def find_named_classes(root: Path, paths: Sequence[str], images: Sequence[str]) -> Folders | None:
    """Find the folder whose files name their class and a number, `train/dog.123.jpg`; None where there is none.

    A separator (`.`, `_`, `-`, a space) and a number follow the label, or it follows them. Of several folders, the one
    that says `train`, then the one with the most images.

    Args:
        root: the competition's folder.
        paths: every file below it.
        images: the images that can be train images.

    Raises:
        InputError: other files lie between the images.
    """
    found = []
    for folder in {posixpath.dirname(path) for path in images}:
        here = [path for path in images if posixpath.dirname(path) == folder]
        names = [posixpath.splitext(posixpath.basename(path))[0] for path in here]
        for text, shape in _NAMED.items():
            matches = [match for name in names if (match := re.fullmatch(shape, name))]
            labels = Counter(match["label"] for match in matches)
            if len(matches) < len(names) or len(labels) < 2 or len(matches) < 2 * len(labels):
                continue
            separators = {match["separator"] for match in matches}
            if len(separators) == 1:
                template = escape_braces(f"{folder}/" if folder else "") + text.format(escape_braces(separators.pop()))
                found.append(("train" not in folder.lower(), -len(here), folder, template, here))
    if not found:
        return None
    *_, template, wanted = min(found)
    endings = {posixpath.splitext(path)[1] for path in wanted}
    template += escape_braces(endings.pop()) if len(endings) == 1 else ".{extension}"
    return Folders(*_fitting_alone(root, template, paths, wanted), tuple(sorted(item[2] for item in found))[1:])


def _alike(root: Path, one: str, other: str) -> bool:
    """Whether two images are of one size and differ by a few levels on average."""
    try:
        with Image.open(root / one) as first, Image.open(root / other) as second:
            if first.size != second.size:
                return False
            pixels = [np.asarray(image.convert("L"), np.float32) for image in (first, second)]
    except UNREADABLE:
        return False
    return float(np.abs(pixels[0] - pixels[1]).mean()) < _ALIKE


def find_test_folder(root: Path, paths: Sequence[str], images: Sequence[str]) -> Folders:
    """Find the folder of the test images among the images that are left, flat or with one level of folders.

    Raises:
        InputError: there is none, or more than one.
    """
    parents = sorted({posixpath.dirname(path) for path in images})
    named = [parent for parent in parents if "test" in parent.lower()] or parents
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
    return Folders(*_fitting_alone(root, escape_braces(f"{folder}/" if folder else "") + levels, paths, wanted))


def _is_split(folder: str, split: str) -> bool:
    """Whether a folder's own name says that it holds a split of the competition, not a class."""
    return posixpath.basename(folder).lower().startswith(split)


def _fitting_alone(root: Path, template: str, paths: Sequence[str], wanted: Sequence[str]) -> tuple[str, list[str]]:
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
                "; move them away"
            )
    return template, fits
