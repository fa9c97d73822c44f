"""The path template for which (nearly) every row of a table has its image file, among those of one folder or column."""

import itertools
import posixpath
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from pipeline.competition.tables.templates import ANYWHERE, fields, find_anywhere, paths_from_rows, pattern
from pipeline.detection.found import Given, escape_braces, quoted
from pipeline.detection.habits import DERIVED
from pipeline.detection.image_files import ENOUGH, ImageFiles, evenly_spaced, is_image

# Rows that propose templates; every row then judges the proposals.
NUM_PROBES = 40

# A value -> paths with the position of the value in them.
Search = Callable[[str], Iterator[tuple[str, int]]]


@dataclass(frozen=True)
class TemplateMatch:
    """A template, how many of a table's rows have their file, and which other templates fit as well;
    `any_case`: some files are named in another case than in the table."""

    template: str
    key: str
    num_found: int
    num_rows: int
    others: tuple[str, ...] = ()
    any_case: bool = False

    @property
    def is_good(self) -> bool:
        """Whether (nearly) every row has its file."""
        return self.num_found >= ENOUGH * self.num_rows

    @property
    def fits_most(self) -> bool:
        """Whether more than half of the rows have their file: it is right, but a part of the files is lost."""
        return 2 * self.num_found > self.num_rows

    def may_be_taken(self, said: Given) -> bool:
        """Whether it is good, or good enough where the user has said that rows without a file are left out."""
        return self.is_good or (self.fits_most and said.get("data.bad_images") == "drop")


def find_plain_template(
    frame: pd.DataFrame, keys: Sequence[str], images: ImageFiles, split: str, taken: frozenset[str] = frozenset()
) -> TemplateMatch | None:
    """Find the template that gives the most rows their image file; None where no row has one.

    Of templates that fit alike, one that names nothing drawn from the images (masks), then one that leaves the fewest
    files of its folder over, then fewer columns, then names that say `train`, `test`, `image`.

    Args:
        frame: the table, cells as text.
        keys: the columns that may name the file, the likeliest first: a good match of an earlier one ends the search.
            Columns whose cells are names of image files with their extensions come before all.
        images: the files.
        split: `train` or `test`.
        taken: files that cannot be meant: the train images where test images are looked for.
    """
    best: TemplateMatch | None = None
    # A column of file names says more than a number that some file has in its name too.
    for key in sorted(keys, key=lambda name: not _holds_files(frame, name, images)):
        for search in (images.named, images.holding):
            num_probes = NUM_PROBES if search == images.named else NUM_PROBES // 5
            match = _best(frame, key, _proposed(frame, key, search, num_probes), images, split, taken)
            if match and (best is None or match.num_found > best.num_found):
                best = match
            if best and best.is_good:
                return best
    return best


def _holds_files(frame: pd.DataFrame, key: str, images: ImageFiles) -> bool:
    """Whether a column's cells are names of image files that are there, extension and all."""
    if key not in frame.columns:
        return False
    cells = [str(frame[key].iloc[row]) for row in evenly_spaced(len(frame), NUM_PROBES)]
    named = [cell for cell in cells if is_image(cell) and next(images.named(_normal(cell)), None)]
    return len(cells) > 0 and len(named) >= ENOUGH * len(cells)


def _normal(cell: str) -> str:
    return posixpath.normpath(cell)


def paths_of(template: str, frame: pd.DataFrame, files: Sequence[str] = ()) -> list[str]:
    """Make the paths that a template gives, as `walk` would write them: without `./`.

    Args:
        template: the template.
        frame: the table.
        files: every file, where the template has `.*` or `**/`.
    """
    paths = paths_from_rows(template, frame)
    if template.endswith(".*") or ANYWHERE in template:
        paths = find_anywhere([path if ANYWHERE in path else _at_any_depth(path) for path in paths], files)[0]
    return [posixpath.normpath(path) for path in paths]


def images_of(template: str, frame: pd.DataFrame, images: ImageFiles) -> list[str]:
    """Make the paths that a template gives, as their files write them where these differ in case alone."""
    paths = paths_of(template, frame, images.paths)
    return [path if path in images.known else images.by_case.get(path.casefold(), path) for path in paths]


def _at_any_depth(path: str) -> str:
    """Write a path with `.*` as one that `find_anywhere` resolves."""
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}{ANYWHERE}{name}"


def fit_in_words(match: TemplateMatch) -> str:
    """Say how well a template fits."""
    text = f"{match.num_found:,} of {match.num_rows:,} files are there."
    return text + (f" These fit as well: {quoted(match.others, 3)}." if match.others else "")


def way_without(match: TemplateMatch | None) -> str:
    """Say what leaves out the rows without a file, where most have theirs; nothing else."""
    most = match is not None and match.fits_most
    return "; or, where the other files cannot be had, --set data.bad_images=drop" if most else ""


def paths_fitting(template: str, paths: Iterable[str]) -> list[str]:
    """Select the paths that a template fits."""
    matcher = pattern(template)
    return [path for path in paths if matcher.fullmatch(path)]


def _proposed(frame: pd.DataFrame, key: str, search: Search, num_probes: int) -> list[str]:
    """List the templates that at least a fifth of some rows propose, the most proposed first."""
    usable = [str(name) for name in frame.columns if name and not set(str(name)) & set("{}!:")]
    rows = evenly_spaced(len(frame), num_probes)
    if key not in usable or not rows:
        return []
    probes = frame[usable].iloc[rows]
    votes: Counter[str] = Counter()
    for values in probes.to_numpy(dtype=object):
        cells = {name: str(value) for name, value in zip(usable, values, strict=True)}
        value = cells[key]
        # A path that climbs out of the root, or starts at the machine's, is refused when images are read.
        if not value.strip("./") or value.startswith("/") or ".." in value.split("/"):
            continue
        value = posixpath.normpath(value)
        votes.update({text for path, start in search(value) for text in _templates(path, start, value, key, cells)})
    proposed = [(-count, len(text), text) for text, count in votes.items() if count * 5 >= len(rows)]
    return [text for _, _, text in sorted(proposed)[:20]]


def _templates(path: str, start: int, value: str, key: str, cells: dict[str, str]) -> Iterator[str]:
    """List the templates for which this path is this row's: folders are constant, or named by a column."""
    folders, slash, head = path[:start].rpartition("/")
    options = [
        [escape_braces(folder), *(f"{{{name}}}" for name, cell in cells.items() if cell == folder)][:4]
        for folder in (folders.split("/") if slash else [])
    ]
    tail = escape_braces(head) + f"{{{key}}}" + escape_braces(path[start + len(value) :])
    for chosen in itertools.islice(itertools.product(*options), 32):
        yield "/".join((*chosen, tail))


def _best(
    frame: pd.DataFrame, key: str, templates: list[str], images: ImageFiles, split: str, taken: frozenset[str]
) -> TemplateMatch | None:
    """Choose the template that fits best, judged by every row; see `find_plain_template` for the order."""
    ranked: list[tuple[tuple[int, bool, int], tuple[int, bool, bool, int], str]] = []
    for template in templates:
        paths = set(paths_of(template, frame))
        num_found = len(paths & images.known - taken)
        if not num_found:
            continue
        lower = template.lower()
        num_over = len(paths_fitting(template, images.paths)) - num_found
        fit = (-num_found, any(word in lower for word in DERIVED), num_over)
        habits = (len(fields(template)), split not in lower, "im" not in lower, len(template))
        ranked.append((fit, habits, template))
    if not ranked:
        return None
    ranked.sort()
    fit, habits, template = ranked[0]
    # A folder named by a column is the constant folder's generalisation, not another choice.
    others = [text for f, h, text in ranked[1:] if f == fit and h[0] == habits[0]]
    return TemplateMatch(template, key, -fit[0], len(frame), tuple(others))
