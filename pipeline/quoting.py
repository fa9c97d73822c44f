"""How messages quote what others wrote: cells and settings are anybody's, and may be a page long."""

# Characters of a text that a message shows.
MOST = 80


def cut(text: str) -> str:
    """Shorten a text to what a message shows of it."""
    return text if len(text) <= MOST else text[:MOST] + "..."


def shown(value: object) -> str:
    """Quote a cell or another value: `'cat'`; of a long one the beginning: `'aaa'...`."""
    if not isinstance(value, str):
        return cut(repr(value))
    return repr(value[:MOST]) + ("..." if len(value) > MOST else "")
