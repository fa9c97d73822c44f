"""How messages quote what others wrote: cells and settings are anybody's, and may be long; addresses hold secrets."""

import re

# Characters of a text that a message shows.
MOST = 80
# What an address holds before its host, and behind its path: a user's name, passwords, signatures.
_USER = re.compile(r"(?<=://)[^\s/?#'\"<>]*@")
_QUERY = re.compile(r"(://[^\s?'\"<>]*)\?[^\s'\"<>]+")


def cut(text: str) -> str:
    """Shorten a text to what a message shows of it."""
    return text if len(text) <= MOST else text[:MOST] + "..."


def shown(value: object) -> str:
    """Quote a cell or another value: `'cat'`; of a long one the beginning: `'aaa'...`."""
    if not isinstance(value, str):
        return cut(repr(value))
    return repr(value[:MOST]) + ("..." if len(value) > MOST else "")


def without_user(text: str) -> str:
    """Cut user and password from the addresses in a text: `https://me:secret@host/a` -> `https://host/a`."""
    return _USER.sub("", text)


def without_secrets(text: str) -> str:
    """Cut from the addresses in a text what may be secret: user, password, and what stands behind a question mark."""
    return _QUERY.sub(r"\1", without_user(text))
