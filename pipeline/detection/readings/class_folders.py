"""Folders that name the class of the images in them, `train/{label}/{file}`."""

import posixpath
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from pipeline.detection.candidates import Candidate, Refusal, Source
from pipeline.detection.folders import Folders, fitting_alone, read_paths
from pipeline.detection.found import escape_braces
from pipeline.detection.habits import EXTRA_WORDS, MANY_SIBLINGS, TEST_WORDS, TRAIN_WORDS, VALID_WORDS, says
from pipeline.detection.inventory import Inventory
from pipeline.detection.name_lists import read_lists
from pipeline.detection.plain_template import paths_fitting


def read(inventory: Inventory) -> list[Candidate | Refusal]:
    """Read the folders of classes, where there are some."""
    find = partial(find_class_folders, test_is_known=bool(inventory.asked))
    return [_without_listed(inventory, item) for item in read_paths(inventory, "class folders", Source.FOLDERS, find)]


def _without_listed(inventory: Inventory, found: Candidate | Refusal) -> Candidate | Refusal:
    """Take the images out that a list names as those to be predicted, where there are no others to predict or the user
    says so.
    """
    if isinstance(found, Refusal):
        return found
    has_others = bool(inventory.asked) or not set(found.paths).issuperset(inventory.images.paths)
    if has_others and "data.split" not in inventory.said:
        return found
    listed = read_lists([sheet for sheet in inventory.sheets if sheet.names], found.paths, inventory.said)
    if listed is None:
        return found
    rows = [row for row in range(len(found.paths)) if row not in listed.tested]
    sheet = replace(found.sheet, frame=found.sheet.frame.iloc[rows].reset_index(drop=True))
    paths = tuple(found.paths[row] for row in rows)
    return replace(found, sheet=sheet, paths=paths, choices=(*found.choices, listed.choice))


def find_class_folders(
    root: Path, paths: Sequence[str], images: Sequence[str], *, test_is_known: bool = False
) -> Folders | None:
    """Find the folder whose subfolders hold images and name their classes; None where there is none.

    Of several, the one that says `train`, then the one with the most images; none where more than a tenth of the images
    lie elsewhere, in folders that are no other split by their name, or where the folders hold less than two images on
    average: a folder is an image then, not a class.

    Args:
        root: the competition's folder.
        paths: every file below it.
        images: the images that can be train images.
        test_is_known: whether those to be predicted are others.

    Raises:
        InputError: other files lie between the images.
    """
    counts = Counter(posixpath.dirname(path) for path in images)
    places = _places(counts)
    ranked = sorted(
        (
            not says(above, TRAIN_WORDS),
            says(above, TEST_WORDS),
            -sum(counts[_folder(above, name, inner)] for name in names),
            inner,
            above,
        )
        for (above, inner), names in places.items()
        if len(names) > 1 and not any(_is_train(name, above, names) for name in names)
    )
    if not ranked:
        return None
    *_, inner, above = ranked[0]
    folders = {_folder(above, name, inner) for name in places[above, inner] if not _is_test(name, above)}
    wanted = [path for path in images if posixpath.dirname(path) in folders]
    parts = {folder: says(folder, (*TEST_WORDS, *VALID_WORDS, *EXTRA_WORDS)) for folder in counts}
    num_odd = sum(count for folder, count in counts.items() if folder not in folders and not parts[folder])
    if num_odd > 0.1 * len(images) or len(wanted) < 2 * len(folders) or len(folders) < 2:
        return None
    template = escape_braces(f"{above}/" if above else "") + "{label}/" + escape_braces(f"{inner}/" if inner else "")
    classes = {name for name in places[above, inner] if _folder(above, name, inner) in folders}
    valid = [
        name
        for *_, within, name in ranked[1:]
        if within == inner and says(name, VALID_WORDS) and set(places[name, inner]) <= classes
    ]
    has_test = any(says(folder, TEST_WORDS) for folder in counts if folder not in folders)
    # Without test images those of validation are the ones to be predicted.
    extra = _fitting(valid, inner, paths, images) if test_is_known or has_test else {}
    others = tuple(dict.fromkeys(folder for *_, folder in ranked[1:] if folder not in (above, *extra)))
    return Folders(*fitting_alone(root, template + "{file}", paths, wanted), others, tuple(extra.values()))


def _fitting(names: Sequence[str], inner: str, paths: Sequence[str], images: Sequence[str]) -> dict[str, Folders]:
    """Make the templates of folders of classes in which images alone lie, by the folders."""
    known = set(images)
    found = {}
    for name in names:
        template = escape_braces(f"{name}/") + "{label}/" + escape_braces(f"{inner}/" if inner else "") + "{file}"
        if known.issuperset(fits := paths_fitting(template, paths)):
            found[name] = Folders(template, fits)
    return found


def _places(counts: Counter[str]) -> dict[tuple[str, str], list[str]]:
    """List folders that may be named by classes, by what is above them and by the one folder within each that holds
    the images, "" where they do themselves.
    """
    places: dict[tuple[str, str], list[str]] = {}
    for folder in counts:
        above, _, name = folder.rpartition("/")
        if name:
            places.setdefault((above, ""), []).append(name)
        if above:
            top, _, middle = above.rpartition("/")
            places.setdefault((top, name), []).append(middle)
    return places


def _folder(above: str, name: str, inner: str) -> str:
    return "/".join(part for part in (above, name, inner) if part)


def _is_train(name: str, above: str, siblings: Sequence[str]) -> bool:
    """Whether a folder's own name says that it holds the train images, not those of a class that is called so: within
    a folder of train images, or among many that hold images side by side, it is a class.
    """
    others = [other for other in siblings if not says(other, (*TRAIN_WORDS, *TEST_WORDS, *VALID_WORDS, *EXTRA_WORDS))]
    return says(name, TRAIN_WORDS) and not says(above, TRAIN_WORDS) and len(others) < MANY_SIBLINGS


def _is_test(name: str, above: str) -> bool:
    """Whether a folder's own name says that it holds images to be predicted; among train images it is a class."""
    return says(name, TEST_WORDS) and not says(above, TRAIN_WORDS)
