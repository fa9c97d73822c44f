"""A competition's folder with all that is packed in it lying open, without a byte written into it.

Under `output/cache/<competition>-files-<key>/` every archive is unpacked once, into a folder of its own, and `files/`
shows the competition's folder together with them: links to folders where nothing was added, links to files elsewhere.
File names are in composed Unicode (NFC) there, whatever the archive or the system that unpacked it made of them.
`pipeline.files.data_dir` is where all stages read; `open_folder` alone makes it.
"""

import hashlib
import os
import posixpath
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.archive_names import is_archive, stem
from pipeline.competition.archives.unpacking import Room, clean_name, unpack
from pipeline.files import InputError, digest, lock, read_json, size_time, walk, write_json
from pipeline.log import log
from pipeline.paths import data_dir_of, opened_dir

# Archives in archives in archives: deeper ones are left alone.
_DEEPEST = 4


@dataclass
class _Tree:
    """Folders and files as they are shown: a folder is a tree, a file the path that it is read from."""

    children: dict[str, "_Tree | Path"] = field(default_factory=dict)

    def find(self, path: str) -> "_Tree | Path | None":
        """Find what is at a path."""
        found: _Tree | Path | None = self
        for name in path.split("/") if path else []:
            found = found.children.get(name) if isinstance(found, _Tree) else None
        return found

    def add(self, path: str, source: Path) -> None:
        """Show a file at a path.

        Raises:
            InputError: a file lies where a folder is needed.
        """
        *folders, name = path.split("/")
        tree = self
        for folder in folders:
            child = tree.children.setdefault(folder, _Tree())
            if not isinstance(child, _Tree):
                raise InputError(
                    f"{source} must lie in a folder {folder!r}, where there is a file: {child}; unpack by hand"
                )
            tree = child
        tree.children[name] = source


def open_folder(root: Path, limit: float) -> Path:
    """Make or mend the folder in which a competition's files lie open, where that must be.

    Args:
        root: the competition's folder.
        limit: gigabytes that archives may be unpacked to.

    Returns:
        `root` itself where it holds no archive and no file name that must be mended.

    Raises:
        InputError: an archive cannot be unpacked, see `archives.unpack`, or another process is at it.
    """
    if not root.is_dir():
        return root
    listed = list(walk(root, any_name=True))
    names = [clean_name(path) for path in listed]
    archives = [(name, root / path) for name, path in zip(names, listed, strict=True) if is_archive(name)]
    folder = opened_dir(root)
    if not archives and names == listed:
        if folder.is_dir():
            shutil.rmtree(folder)
        return root
    state = {
        "root": os.path.abspath(root),
        "folder": os.path.abspath(folder),
        "paths": hashlib.sha256(b"\0".join(map(os.fsencode, listed))).hexdigest(),
        "archives": {name: size_time(path) for name, path in archives},
    }
    if read_json(folder / "files.json") == state and (folder / "files").is_dir():
        return data_dir_of(root)
    with lock(folder / "lock", f"the folder of unpacked files of {root}"):
        tree = _Tree()
        for name, path in zip(names, listed, strict=True):
            if not is_archive(name):
                tree.add(name, root.absolute() / path)
        used = _unpack_all(tree, archives, folder / "archives", Room(limit * 1e9), alone=len(listed) == 1)
        _show(tree, folder / "files")
        write_json(folder / "files.json", state)
        for old in set(os.listdir(folder / "archives")) - used if (folder / "archives").is_dir() else ():
            shutil.rmtree(folder / "archives" / old, ignore_errors=True)
    return data_dir_of(root)


def _unpack_all(tree: _Tree, archives: list[tuple[str, Path]], folder: Path, room: Room, *, alone: bool) -> set[str]:
    """Unpack archives, and those in them, and add their files; returns the names of the folders that hold them."""
    used = set()
    due = [(name, path, 1) for name, path in archives]
    while due:
        name, path, depth = due.pop(0)
        key = digest([name, *size_time(path)])[:16]
        used.add(key)
        content = folder / key
        if not content.is_dir():
            log.info("unpack %s", path)
            unpack(path, content, room)
        members = list(walk(content))
        prefix = _place(tree, name, content, members, alone=alone and depth == 1)
        for member in members:
            shown, source = posixpath.join(prefix, member), content.absolute() / member
            if is_archive(member) and depth < _DEEPEST:
                due.append((shown, source, depth + 1))
            elif not isinstance(tree.find(shown), Path):
                tree.add(shown, source)
    return used


def _place(tree: _Tree, name: str, content: Path, members: list[str], *, alone: bool) -> str:
    """Choose the folder in which an archive's members are shown.

    Beside the archive where they have one folder or file on top, or nothing else is in the competition's folder; else
    in a folder of the archive's name. Where either place already has them, that one: the user has unpacked the archive.

    Raises:
        InputError: other files of the same names are in both places.
    """
    beside, own = posixpath.dirname(name), stem(name)
    tops = {member.partition("/")[0] for member in members}
    places = [beside, own] if len(tops) == 1 or alone else [own, beside]
    clashes = {place: _clashes(tree, place, content, members) for place in places}
    for place in places:
        if members and clashes[place] is None:
            return place
    for place in places:
        if not clashes[place]:
            return place
    raise InputError(
        f"{name} must not hold other files under the names of those that are there. Got {clashes[places[0]]!r}; move "
        "one of the two away"
    )


def _clashes(tree: _Tree, place: str, content: Path, members: list[str]) -> str | None:
    """Find the first member that is another file than the one shown there; "" for none; None where all are there."""
    missing = False
    for member in members:
        there = tree.find(posixpath.join(place, member))
        if there is None:
            missing = True
        elif isinstance(there, _Tree) or there.stat().st_size != (content / member).stat().st_size:
            return member
    return "" if missing else None


def _show(tree: _Tree, target: Path) -> None:
    """Make the folder of links; the one before is replaced at once."""
    target.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=target.parent, prefix=".", suffix=".tmp"))
    try:
        os.chmod(made, 0o755)
        _link(tree, made)
        shutil.rmtree(target, ignore_errors=True)
        os.rename(made, target)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _link(tree: _Tree, folder: Path) -> None:
    for name, child in tree.children.items():
        whole = child if isinstance(child, Path) else _source(child)
        if whole is not None:
            os.symlink(whole, folder / name)
        elif isinstance(child, _Tree):
            os.mkdir(folder / name)
            _link(child, folder / name)


def _source(tree: _Tree) -> Path | None:
    """Find the one folder that is what a tree shows, names and all; None where there is none."""
    sources = set()
    for name, child in tree.children.items():
        source = _source(child) if isinstance(child, _Tree) else child
        if source is None or source.name != name:
            return None
        sources.add(source.parent)
    if len(sources) != 1:
        return None
    (source,) = sources
    return source if len(os.listdir(source)) == len(tree.children) else None
