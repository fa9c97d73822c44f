"""What was found in a folder, and the config file that says it."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.config import sections
from pipeline.files import InputError

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
    numbers: whether numbers are predicted, not classes.
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


@dataclass(frozen=True)
class Found:
    """What was seen in a competition's folder, in sentences, and the settings chosen by it."""

    name: str
    root: str
    seen: tuple[str, ...]
    choices: tuple[Choice, ...]
    facts: Facts

    def value(self, key: str) -> Value | None:
        """Look up the value chosen for `section.key`; None where it is left at its default."""
        return next((item.value for item in self.choices if item.key == key and not item.proposed), None)


def render(found: Found) -> str:
    """Write what was found as the text of a config file: TOML in which every choice has its reason above it.

    Raises:
        InputError: a file's or folder's name is not UTF-8, so that no text file can name it.
    """
    lines = [
        _comment(f"bash run.sh configs/{found.name}.toml"),
        _comment(f"Written by pipeline.detect from what is in {found.root}; it is never written again: mend it here."),
        *(comment for line in found.seen for comment in _comments(line)),
        "",
    ]
    for section, kind in sections():
        order = {name: index for index, name in enumerate(kind.model_fields)}
        own = [item for item in found.choices if item.key.startswith(f"{section}.")]
        if not own:
            continue
        lines.append(f"[{section}]")
        for item in sorted(own, key=lambda item: order[item.key.partition(".")[2]]):
            lines += _comments(item.reason)
            text = f"{item.key.partition('.')[2]} = {_toml(item.value)}"
            lines.append(f"# {text}" if item.proposed else text)
        lines.append("")
    text = "\n".join(lines)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"names under {found.root} must be UTF-8. Got {error.object[max(0, error.start - 20) : error.end]!a}; "
            "rename these files"
        ) from None
    return text


def escape_braces(text: str) -> str:
    """Double the braces of a piece of a path, as a template holds it."""
    return text.replace("{", "{{").replace("}", "}}")


def quoted(items: Sequence[str], limit: int = 5) -> str:
    """Quote the first few of some names: `'a', 'b', ...`."""
    return ", ".join(repr(item[:80]) for item in items[:limit]) + (", ..." if len(items) > limit else "")


def first_problems(problems: Sequence[str]) -> list[str]:
    """Take the first few problems, and say how many more there are."""
    more = len(problems) - _MOST_PROBLEMS
    return [*problems[:_MOST_PROBLEMS], *([f"{more:,} more problems of this kind"] if more > 0 else [])]


def _toml(value: Value) -> str:
    # A JSON text, number or list of texts is the same in TOML, except that TOML wants DEL escaped too.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _comments(text: str, width: int = 116) -> list[str]:
    """Write a text as comment lines, broken at spaces."""
    lines: list[str] = []
    for word in text.split(" "):
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += f" {word}"
        elif word:
            lines.append(word)
    return [_comment(line) for line in lines]


def _comment(line: str) -> str:
    """Write a comment line. Names come from the competition's files; TOML allows no control character in a comment."""
    return "# " + re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", "?", line)
