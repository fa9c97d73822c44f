"""Files whose names say their class and a number, `train/{label}.{id}.jpg`."""

import posixpath
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pipeline.detection.candidates import Candidate, Refusal, Source
from pipeline.detection.folders import Folders, fitting_alone, read_paths
from pipeline.detection.found import escape_braces
from pipeline.detection.habits import TRAIN_WORDS, says
from pipeline.detection.inventory import Inventory

# Templates of files that name their class and a number, and what the names look like without the extension.
_NAMED = {
    "{{label}}{0}{{id}}": r"(?P<label>.*\D)(?P<separator>[._ -])\d+",
    "{{id}}{0}{{label}}": r"\d+(?P<separator>[._ -])(?P<label>\D[^._-]*)",
}


def read(inventory: Inventory) -> list[Candidate | Refusal]:
    """Read the files that name their classes, where there are some."""
    return read_paths(inventory, "files that name their class", Source.NAMES, find_named_classes)


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
    folders: dict[str, list[str]] = {}
    for path in images:
        folders.setdefault(posixpath.dirname(path), []).append(path)
    for folder, here in folders.items():
        names = [posixpath.splitext(posixpath.basename(path))[0] for path in here]
        for text, shape in _NAMED.items():
            matches = [match for name in names if (match := re.fullmatch(shape, name))]
            labels = Counter(match["label"] for match in matches)
            if len(matches) < len(names) or len(labels) < 2 or len(matches) < 2 * len(labels):
                continue
            separators = {match["separator"] for match in matches}
            if len(separators) == 1:
                template = escape_braces(f"{folder}/" if folder else "") + text.format(escape_braces(separators.pop()))
                found.append((not says(folder, TRAIN_WORDS), -len(here), folder, template, here))
    if not found:
        return None
    *_, template, wanted = min(found)
    endings = {posixpath.splitext(path)[1] for path in wanted}
    template += escape_braces(endings.pop()) if len(endings) == 1 else ".{extension}"
    return Folders(*fitting_alone(root, template, paths, wanted), tuple(sorted(item[2] for item in found))[1:])
