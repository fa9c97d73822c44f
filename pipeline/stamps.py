"""The stamp of a stage's product: never the wrong file, and nothing made twice.

A small JSON file beside the product, written last and renamed into place:

    {"made_from": {name: value}, "notes": {...}, "versions": {...}, "files": {relative path: [size, mtime_ns, sha256]}}

`made_from` holds all that the product depends on and nothing else, so a stage decides from small files alone, before
anything heavy is imported, whether its product is current, and can name what differs.
"""

import contextlib
import functools
import importlib.metadata
import json
import os
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline.config import Config
from pipeline.files import digest_file, read_json, size_time, write_json


@functools.cache
def versions() -> dict[str, str]:
    """Versions that are recorded in every stamp; a change of them alone questions no finished product."""
    names = ("torch", "torchvision", "timm", "numpy", "pandas", "scikit-learn", "opencv-python-headless")
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def other_versions(path: Path) -> str:
    """How the versions that made a product differ from those here, for a line of the log; "" where they do not."""
    made = _read(path).get("versions", {})
    other = [f"{name} {made[name]}, here {now}" for name, now in versions().items() if made.get(name, now) != now]
    return f" (made with {'; '.join(other)})" if other else ""


# What older stamps do not say: nothing differs by it.
_NOT_ASKED_BEFORE = ("weights",)
# What older stamps say and nothing asks for any more: whether oof.parquet was made, their list of files says.
_NO_LONGER_ASKED = {"out of fold"}


def write_stamp(path: Path, made_from: Mapping[str, Any], files: Iterable[Path], **notes: Any) -> None:
    """Write the stamp of a finished product; `notes` are what later stages want to know of it."""
    listed = {os.path.relpath(file, path.parent): [*size_time(file), digest_file(file)] for file in files}
    write_json(path, {"made_from": dict(made_from), "notes": notes, "versions": versions(), "files": listed})


def stale(path: Path, made_from: Mapping[str, Any]) -> str | None:
    """Why a product must be made: one clause that names what differs; None where it is current."""
    stamp = read_json(path)
    if not isinstance(stamp, dict) or not all(isinstance(stamp.get(key), dict) for key in ("made_from", "files")):
        return "not made yet"
    if changed := changes(stamp["made_from"], made_from):
        return "changed: " + ", ".join(changed)
    for name, listed in stamp["files"].items():
        if not isinstance(listed, list) or len(listed) != 3:
            return "not made yet"
        file, (size, mtime, sha256) = path.parent / name, listed
        if not file.is_file():
            return f"{file} is missing"
        if size_time(file) != [size, mtime] and digest_file(file) != sha256:
            return f"{file} was changed"
    return None


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between that which a product was made from and that which it must be made from now, in words."""
    return differences(_with_defaults(old, new), new)


def _with_defaults(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """What a product was made from as it would be said now: settings that did not exist then have their defaults."""
    defaults = Config().model_dump(mode="json")
    filled = {name: new[name] for name in _NOT_ASKED_BEFORE if name in new}
    filled |= {name: values for name, values in old.items() if name not in _NO_LONGER_ASKED}
    for name, values in old.items():
        if name == "settings":
            filled[name] = _with_defaults(values, new.get(name, {}))
        elif name in defaults and isinstance(values, Mapping):
            added = {key: defaults[name][key] for key in new.get(name, {}) if key in defaults[name]}
            filled[name] = {**added, **values}
    return filled


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Names of the values that differ, dotted where they are nested, with both values where these are short."""
    found = []
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += differences(before, after, f"{prefix}{key}.")
        elif before != after:
            texts = [json.dumps(value, ensure_ascii=False) for value in (before, after)]
            detail = f" ({texts[0]} -> {texts[1]})" if max(map(len, texts)) <= 40 else ""
            found.append(f"{prefix}{key}{detail}")
    return found


def stamped(path: Path, name: str) -> str:
    """The sha256 that a stamp holds of one of its files; "" where there is none."""
    files = _read(path).get("files", {})
    listed = files.get(name)
    return str(listed[2]) if isinstance(listed, list) and len(listed) == 3 else ""


def made_from(path: Path) -> dict[str, Any]:
    """What a stamp says that its product was made from; nothing where there is none."""
    return dict(_read(path).get("made_from", {}))


def note(path: Path, name: str) -> Any:
    """A note in a stamp; None where there is none."""
    return _read(path).get("notes", {}).get(name)


def _read(path: Path) -> dict[str, Any]:
    """A stamp's tables by name; none where there is no stamp that is whole."""
    stamp = read_json(path)
    return {name: table for name, table in stamp.items() if isinstance(table, dict)} if isinstance(stamp, dict) else {}
