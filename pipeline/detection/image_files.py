"""The image files of a download: which files are images, and an index of them by their names."""

import itertools
import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

from pipeline.image_kinds import HEIC_SUFFIXES, INSTALL_HEIC, reads_heic

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"),
    *(".ppm", ".pgm", ".tga", ".jp2", ".avif", ".npy"),
)
# What is not read and holds an image, or many: it is named, not passed over.
HOLD_MANY = (".tfrec", ".tfrecord", ".rar")
_UNREAD = (".dcm", ".dicom", ".nii", ".nii.gz", ".svs", *HOLD_MANY)
# Many images in one file, or a table of pixels.
ARRAYS = (".npz", ".h5", ".hdf5", ".mat", ".pkl", ".pickle", ".bin", "-ubyte", ".parquet", ".arrow")
# Names of files that are numbers have so many digits at most, with leading zeros.
MOST_DIGITS = 12
# How files of images begin: JPEG, PNG, GIF, TIFF, BMP with its two reserved bytes, WebP.
_BEGINNINGS = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n|GIF8[79]a|II\*\0|MM\0\*|BM....\0\0\0\0|RIFF....WEBP", re.DOTALL)
# Endings of files that are none whatever they begin with, and of those that hold many things.
_OTHERS = (
    ".csv",
    ".tsv",
    ".txt",
    ".json",
    ".jsonl",
    ".md",
    ".html",
    ".htm",
    ".xml",
    ".xlsx",
    ".parquet",
    ".py",
    ".zip",
)
# So many files of a folder and ending are looked into before all of them are.
_NUM_LOOKED_AT = 3
# "Nearly all": a few lost files are reported when the images are read, with their names; more mean a wrong template.
ENOUGH = 0.9


class ImageFiles:
    """The image files below a root, as sorted relative paths, with an index by name with and without extension."""

    def __init__(self, paths: Iterable[str], others: Iterable[str] = ()) -> None:
        """Index files.

        Args:
            paths: files, of which those that are images by their names are taken.
            others: images by what is in them.
        """
        more = set(others)
        self.paths = [path for path in paths if path in more or is_image(path)]
        self.known = set(self.paths)
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for path in self.paths:
            name = posixpath.basename(path)
            for key in {name, posixpath.splitext(name)[0]}:
                self._by_name[key].append(path)
        self._text = "\n".join(self.paths)

    def named(self, value: str) -> Iterator[tuple[str, int]]:
        """Find files whose path ends with a value, extension or not: the path, and where in it the value starts."""
        for path in self._by_name.get(posixpath.basename(value), ()):
            for whole in dict.fromkeys((path, posixpath.splitext(path)[0])):
                if whole == value or whole.endswith("/" + value):
                    yield path, len(whole) - len(value)

    @cached_property
    def by_case(self) -> dict[str, str]:
        """The paths by their small letters, where no two differ in case alone."""
        counts = Counter(path.casefold() for path in self.paths)
        return {path.casefold(): path for path in self.paths if counts[path.casefold()] == 1}

    @cached_property
    def small(self) -> "ImageFiles":
        """The files under their names in small letters, where no two differ in case alone."""
        return ImageFiles(self.by_case, self.by_case)

    def is_named(self, value: str) -> bool:
        """Whether a value is the end of a file's path, extension or not, in any case."""
        found = next(self.named(value), None) or next(self.small.named(value.casefold()), None)
        return found is not None

    def holding(self, value: str, limit: int = 200) -> Iterator[tuple[str, int]]:
        """Find files with a value anywhere in their path, not in the midst of a longer number or word."""
        before = _no_more_of(value[0])
        after = _no_more_of(value[-1])
        found = re.finditer(f"(?<!{before}){re.escape(value)}(?!{after})", self._text)
        for match in itertools.islice(found, limit):
            start = self._text.rfind("\n", 0, match.start()) + 1
            end = self._text.find("\n", match.start())
            yield self._text[start : end if end >= 0 else None], match.start() - start


def is_image(path: str) -> bool:
    """Whether a file's name says that it is an image of a kind that is read here; hidden files are none."""
    lower = path.lower()
    is_read = lower.endswith(SUFFIXES) or (lower.endswith(HEIC_SUFFIXES) and reads_heic())
    return is_read and not posixpath.basename(path).startswith(".")


def is_unread(path: str) -> bool:
    """Whether a file's name says that it is an image, or holds many, of a kind that is not read here."""
    lower = path.lower()
    return lower.endswith(_UNREAD) or (lower.endswith(HEIC_SUFFIXES) and not reads_heic())


def way_to_read(paths: Sequence[str]) -> str:
    """Say what makes files of kinds that are not read here readable."""
    heic = [path for path in paths if path.lower().endswith(HEIC_SUFFIXES)]
    rar = [path for path in paths if path.lower().endswith(".rar")]
    ways = {
        f"HEIC is read by pillow-heif, which must be installed: {INSTALL_HEIC}": heic,
        f"unpack them by hand, as in: unrar x {rar[0] if rar else ''}": rar,
        "convert them to PNG or JPEG": [path for path in paths if not path.lower().endswith((*HEIC_SUFFIXES, ".rar"))],
    }
    return "; ".join(way for way, meant in ways.items() if meant)


def images_by_content(root: Path, paths: Sequence[str]) -> list[str]:
    """Find files whose names leave open what they are, and whose first bytes say that they are images."""
    unnamed: dict[tuple[str, str], list[str]] = {}
    for path in paths:
        ending = posixpath.splitext(path)[1].lower()
        if not is_image(path) and not is_unread(path) and ending not in _OTHERS:
            unnamed.setdefault((posixpath.dirname(path), ending), []).append(path)
    found = []
    for alike in unnamed.values():
        if any(_begins_as_image(root / path) for path in alike[:_NUM_LOOKED_AT]):
            found += [path for path in alike if _begins_as_image(root / path)]
    return found


def _begins_as_image(path: Path) -> bool:
    with path.open("rb") as stream:
        return _BEGINNINGS.match(stream.read(16)) is not None


def evenly_spaced(count: int, limit: int) -> list[int]:
    """Choose at most `limit` of `count` indices, evenly spaced."""
    return list(range(count)) if count <= limit else [index * count // limit for index in range(limit)]


def _no_more_of(character: str) -> str:
    """Give the pattern of what makes a number or a word longer at this end; of nothing after any other character."""
    if character.isdecimal():
        return r"\d"
    return r"[^\W\d_]" if character.isalpha() else r"[^\s\S]"
