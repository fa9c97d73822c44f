"""The config file that says what was found: every choice with its reason above it."""

import json
import re

from pipeline.config import sections
from pipeline.detection.found import Found, Value
from pipeline.files import InputError


def render(found: Found) -> str:
    """Write what was found as the text of a config file: TOML in which every choice has its reason above it.

    Raises:
        InputError: a file's or folder's name is not UTF-8, so that no text file can name it.
    """
    lines = [
        _comment(f"bash run.sh configs/{found.name}.toml"),
        _comment(f"Written by pipeline.detect from what is in {found.root}; it is never written again: mend it here."),
        *(comment for line in (*found.seen, *found.said) for comment in _comments(line)),
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
