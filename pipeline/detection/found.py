"""What was found in a folder: choices of settings with their reasons, and what training may be chosen by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.quoting import shown

Value = str | int | float | tuple[str, ...]
# Settings that the user has decided, by `section.key`.
Given = Mapping[str, Any]
# How one is said, in messages about what cannot be seen in the files.
SAY = "or say it, as in --set"
_MOST_PROBLEMS = 5


@dataclass(frozen=True)
class Choice:
    """A setting with the reason for its value. `proposed`: only shown, as a comment, for the user to decide; `said`: a
    guess that can cost the score, to be printed too.
    """

    key: str
    value: Value
    reason: str = ""
    proposed: bool = False
    said: bool = False


@dataclass(frozen=True)
class Facts:
    """Facts by which image size, network and training are chosen.

    side: longer side of the median train image, in pixels; grey: whether all are; text: what was looked at, in words.
    num_images: how many there are to train on.
    numbers: whether numbers are predicted, not classes; grades: whether classes that have an order.
    versions: whether classes are versions of one image, which differ in faint traces.
    against_hflip: why a left-right flip would change what an image says; "" where it does not.
    """

    side: float
    grey: bool
    text: str
    num_images: int
    numbers: bool = False
    versions: bool = False
    against_hflip: str = ""
    grades: bool = False


@dataclass(frozen=True)
class Found:
    """What was seen in a competition's folder, in sentences, and the settings chosen by it; `said`: what is to be
    printed besides, as it can cost the score.
    """

    name: str
    root: str
    seen: tuple[str, ...]
    choices: tuple[Choice, ...]
    facts: Facts
    said: tuple[str, ...] = ()

    def value(self, key: str) -> Value | None:
        """Look up the value chosen for `section.key`; None where it is left at its default."""
        return next((item.value for item in self.choices if item.key == key and not item.proposed), None)


def escape_braces(text: str) -> str:
    """Double the braces of a piece of a path, as a template holds it."""
    return text.replace("{", "{{").replace("}", "}}")


def quoted(items: Sequence[str], limit: int = 5) -> str:
    """Quote the first few of some names: `'a', 'b', ...`."""
    return ", ".join(shown(item) for item in items[:limit]) + (", ..." if len(items) > limit else "")


def first_problems(problems: Sequence[str]) -> list[str]:
    """Take the first few problems, and say how many more there are."""
    more = len(problems) - _MOST_PROBLEMS
    return [*problems[:_MOST_PROBLEMS], *([f"{more:,} more problems of this kind"] if more > 0 else [])]
