"""Class folders: a train set without a table, `train/{label}/{file}`, and test images that only lie in a folder."""

import posixpath
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.competition.csv_table import some
from pipeline.competition.layout.images import fitting, is_image
from pipeline.competition.layout.settings import literal
from pipeline.files import InputError

_PARTS = ("test", "val", "extra", "unlabel")


@dataclass(frozen=True)
class Folders:
    """A template that makes a table from folders, the files it fits, and other folders that it could have been."""

    template: str
    paths: list[str]
    others: tuple[str, ...] = ()

    @property
    def labels(self) -> list[str]:
        """The folder's name of each file."""
        return [posixpath.basename(posixpath.dirname(path)) for path in self.paths]

    @property
    def id(self) -> str:
        """The column that names an image: its file, or its whole path where two files have one name."""
        names = {posixpath.basename(path) for path in self.paths}
        return "file" if len(names) == len(self.paths) else "path"


def class_folders(root: Path, paths: Sequence[str], images: Sequence[str]) -> Folders | None:
    """The folder whose subfolders hold images and name their classes; None where there is none.

    Of several, the one that says `train`, then the one with the most images; none where more than a tenth of the images
    lie elsewhere, in folders that are no other part by their name, or where the folders hold less than two images on
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
    parts = {folder for folder, children in above.items() if any(_is_part(child, "train") for child in children)}
    ranked = sorted(
        ("train" not in folder.lower(), "test" in folder.lower(), -sum(parents[child] for child in children), folder)
        for folder, children in above.items()
        if len(children) > 1 and folder not in parts
    )
    if not ranked:
        return None
    folder = ranked[0][-1]
    template = literal(f"{folder}/" if folder else "") + "{label}/{file}"
    wanted = [
        path
        for path in images
        if "/" in path
        and posixpath.dirname(posixpath.dirname(path)) == folder
        and not _is_part(posixpath.dirname(path), "test")
    ]
    elsewhere = set(images) - set(wanted)
    odd = [path for path in elsewhere if not any(_is_part(name, part) for name in path.split("/") for part in _PARTS)]
    num_folders = len({posixpath.dirname(path) for path in wanted})
    if len(odd) > 0.1 * len(images) or len(wanted) < 2 * num_folders:
        return None
    return Folders(*_only(root, template, paths, wanted), tuple(name for *_, name in ranked[1:]))


def test_folder(root: Path, paths: Sequence[str], images: Sequence[str]) -> Folders:
    """The folder of the test images among the images that are left, flat or with one level of folders.

    Raises:
        InputError: there is none, or more than one.
    """
    parents = sorted({posixpath.dirname(path) for path in images})
    named = [parent for parent in parents if "test" in parent.lower()] or parents
    if not named:
        raise InputError(
            f"{root} must hold test images beside the train images. Got none; put them into {root / 'test'}, or write "
            "the config by hand with data.test and data.test_image"
        )
    if len(named) == 1:
        folder, levels = named[0], "{file}"
    elif len({posixpath.dirname(parent) for parent in named}) == 1:
        folder, levels = posixpath.dirname(named[0]), "{folder}/{file}"
    else:
        raise InputError(
            f"{root} must hold one folder of test images. Got {some('folders', named)}; move the others away, or write "
            "the config by hand with data.test and data.test_image"
        )
    wanted = [path for path in images if posixpath.dirname(path) in named]
    return Folders(*_only(root, literal(f"{folder}/" if folder else "") + levels, paths, wanted))


def _is_part(folder: str, part: str) -> bool:
    """Whether a folder's own name says that it holds a part of the competition, not a class."""
    return posixpath.basename(folder).lower().startswith(part)


def _only(root: Path, template: str, paths: Sequence[str], wanted: Sequence[str]) -> tuple[str, list[str]]:
    """The template, with the extension where it takes that to fit the wanted images alone; and these.

    Raises:
        InputError: other files fit as well.
    """
    fits = fitting(template, paths)
    if other := sorted(set(fits) - set(wanted)):
        endings = {posixpath.splitext(path)[1] for path in wanted}
        template += literal(endings.pop()) if len(endings) == 1 else ""
        fits = fitting(template, paths)
        if other := sorted(set(fits) - set(wanted)) or other * bool(endings):
            images = [path for path in other if is_image(path)]
            raise InputError(
                f"{root}: only images of this part may fit {template!r}. {some('other files do', images or other)}; "
                "move them away"
            )
    return template, fits
