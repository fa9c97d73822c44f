"""Files that no competition gives: what systems and tools leave in a folder."""

# By macOS, Synology, Windows; what begins with a dot (.DS_Store, ._train.csv, .ipynb_checkpoints) is of this kind too.
_SYSTEM = {"__macosx", "@eadir", "thumbs.db", "desktop.ini", "$recycle.bin", "system volume information"}


def is_passed_over(path: str) -> bool:
    """Whether a part of a relative path is hidden, or a system's own."""
    return any(part.startswith(".") or part.lower() in _SYSTEM for part in path.split("/"))
