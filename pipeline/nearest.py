"""The known names that are nearest to one that is not known."""

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Say which names may be meant, as the end of a message: up to three; "" where none is near."""
    near = difflib.get_close_matches(name, list(known), 3, 0.5)
    return f". Did you mean {' or '.join(map(repr, near))}?" if near else ""
