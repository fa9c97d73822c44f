"""Which template gives the rows of a table their image files: a plain one, else one for files that lie otherwise."""

import posixpath
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pandas as pd

from pipeline.competition.tables.templates import ANYWHERE, fields, find_anywhere, without_query
from pipeline.detection.found import escape_braces
from pipeline.detection.image_files import ENOUGH, MOST_DIGITS, ImageFiles, evenly_spaced, is_image
from pipeline.detection.plain_template import NUM_PROBES, TemplateMatch, find_plain_template, paths_of


def find_template(
    frame: pd.DataFrame,
    keys: Sequence[str],
    images: ImageFiles,
    split: str,
    taken: frozenset[str] = frozenset(),
    given: str | None = None,
) -> TemplateMatch | None:
    """Find the template that gives the most rows their image file, see `find_plain_template`; None where none has one.

    Where no plain one gives all: with the extension that is there (`.*`) or in another case, if that gives more. Where
    none is good: with leading zeros that the table lacks, with the file of that name in any folder (`**/`). A given
    template is taken as it is. One that is not good is given where none is, for a message, or to be taken without them.

    Raises:
        ConfigError: what is given is no template.
    """
    if given is not None:
        return _given_template(frame, given, images)
    best = find_plain_template(frame, keys, images, split, taken)
    if best and best.num_found == best.num_rows:
        return best
    fuller = [match for key in keys if (match := _with_any_extension(frame, key, best, images))]
    if best and best.is_good:
        # Files of some rows may be lost: what finds more of them wins.
        fuller += [match for match in [_in_any_case(frame, [best.key], images, split, taken)] if match]
        return max([best, *fuller], key=lambda match: match.num_found)
    for key in (key for key in keys if key in frame.columns and not set(key) & set("{}!:")):
        cells = [str(cell) for cell in frame[key]]
        candidates = (
            _with_zeros(frame, key, cells, images, split, taken),
            *(match for match in fuller if match.key == key),
            _in_any_folder(key, cells, images, split, taken),
        )
        for match in candidates:
            if match and match.is_good:
                return match
    last = _in_any_case(frame, keys, images, split, taken)
    # None is good; where files are lost, one may be right for the others.
    return max(filter(None, (best, last, *fuller)), key=lambda match: match.num_found, default=None)


def _given_template(frame: pd.DataFrame, template: str, images: ImageFiles) -> TemplateMatch:
    """Count the rows that have a file by the template that the user has decided: none where it names other
    columns.
    """
    names = fields(template)
    if not names or not set(names) <= {str(column) for column in frame.columns}:
        return TemplateMatch(template, "", 0, max(1, len(frame)))
    paths = paths_of(template, frame, images.paths)
    found = sum(path in images.known for path in paths)
    if found < len(frame) and (in_case := sum(path.casefold() in images.by_case for path in paths)) > found:
        return TemplateMatch(template, names[-1], in_case, len(frame), any_case=True)
    return TemplateMatch(template, names[-1], found, len(frame))


def _with_zeros(
    frame: pd.DataFrame, key: str, cells: list[str], images: ImageFiles, split: str, taken: frozenset[str]
) -> TemplateMatch | None:
    """Match whole numbers whose files have them with leading zeros."""
    if not all(cell.isdecimal() for cell in cells):
        return None
    probes = [cells[row] for row in evenly_spaced(len(cells), NUM_PROBES)]
    for width in range(2, MOST_DIGITS + 1):
        if sum(next(images.named(cell.zfill(width)), None) is not None for cell in probes) < ENOUGH * len(probes):
            continue
        padded = frame.assign(**{key: [cell.zfill(width) for cell in cells]})
        match = find_plain_template(padded, [key], images, split, taken)
        if match and match.is_good:
            template = match.template.replace(f"{{{key}}}", f"{{{key}:0{width}}}")
            return TemplateMatch(template, key, match.num_found, match.num_rows)
    return None


def _with_any_extension(
    frame: pd.DataFrame, key: str, best: TemplateMatch | None, images: ImageFiles
) -> TemplateMatch | None:
    """Match files with one extension or another by the best plain template."""
    if best is None or best.key != key or not best.template.endswith(tuple(_endings(images))):
        return None
    stem = posixpath.splitext(best.template)[0]
    counts = Counter(posixpath.splitext(path)[0] for path in images.paths)
    found = sum(counts[path] == 1 for path in paths_of(stem, frame))
    return TemplateMatch(f"{stem}.*", key, found, len(frame))


def _in_any_case(
    frame: pd.DataFrame, keys: Sequence[str], images: ImageFiles, split: str, taken: frozenset[str]
) -> TemplateMatch | None:
    """Match files by a plain template whose names differ from its paths in case alone."""
    small = images.small
    cells = frame.apply(lambda column: column.astype(str).str.casefold())
    match = find_plain_template(cells, keys, small, split, frozenset(path.casefold() for path in taken))
    if match is None or fields(match.template) != [match.key]:
        return None
    found = [images.by_case[path] for path in paths_of(match.template, cells) if path in small.known]
    before, _, after = match.template.partition(f"{{{match.key}}}")
    # Folders and endings as most files have them; braces in them are doubled in a template.
    befores = Counter(path[: len(before.replace("{{", "{").replace("}}", "}"))] for path in found)
    afters = Counter(path[len(path) - len(after) :] for path in found)
    template = (
        f"{escape_braces(befores.most_common(1)[0][0])}{{{match.key}}}{escape_braces(afters.most_common(1)[0][0])}"
    )
    return replace(match, template=template, others=(), any_case=True)


def _endings(images: ImageFiles) -> set[str]:
    return {posixpath.splitext(path)[1] for path in images.paths}


def _in_any_folder(
    key: str, cells: list[str], images: ImageFiles, split: str, taken: frozenset[str]
) -> TemplateMatch | None:
    """Match the file of a cell's name, wherever it lies below some folder; only where no name could mean two files."""
    cells = [without_query(cell) for cell in cells]
    endings = _endings(images)
    ending = escape_braces(next(iter(endings))) if len(endings) == 1 else ".*"
    tail = f"{{{key}}}" if sum(map(is_image, cells)) > len(cells) / 2 else f"{{{key}}}{ending}"
    for base in _bases(images, split):
        paths = [f"{base}{ANYWHERE}{cell}{'' if is_image(cell) else ending}" for cell in cells]
        full, several = find_anywhere(paths, images.paths)
        found = {path for path in full if path in images.known} - taken
        if not several and len(found) >= ENOUGH * len(cells):
            return TemplateMatch(escape_braces(base) + ANYWHERE + tail, key, len(found), len(cells))
    return None


def _bases(images: ImageFiles, split: str) -> Iterator[str]:
    """List the folders at the top, those that say `train` or `test` first; then none."""
    tops = Counter(path.partition("/")[0] + "/" for path in images.paths if "/" in path)
    yield from sorted(tops, key=lambda name: (split not in name.lower(), -tops[name], name))
    yield ""
