"""In which encoding tables are written that are not in UTF-8: the one in which words that the download has in UTF-8, in
other tables or in the files' own names, stand in them; else CP949, where it makes them Korean.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path

from pipeline.competition.tables.encoding import CANDIDATES, is_korean
from pipeline.detection.found import Choice

_WORD = re.compile(r"[^\W\d_]+")


def find_encoding(root: Path, tables: Iterable[str], files: Iterable[str]) -> Choice | None:
    """Find `data.encoding`; None where every table is in UTF-8 or UTF-16, or no single encoding gives such words
    and they are not Korean either.

    Args:
        root: where the files lie.
        tables: those that are text, by their paths below it.
        files: all.
    """
    plain, others = [], {}
    for path in tables:
        data = (root / path).read_bytes()
        try:
            plain.append(data.decode("utf-8"))
        except UnicodeDecodeError:
            if not data.startswith((b"\xff\xfe", b"\xfe\xff")):
                others[path] = data
    if not others:
        return None
    known = {word for text in (*plain, *files) for word in _words(text)}
    readings = {name: texts for name in CANDIDATES if (texts := _decoded(others.values(), name))}
    shared = {name: {word for text in texts for word in _words(text)} & known for name, texts in readings.items()}
    most = max(map(len, shared.values()), default=0)
    best = [name for name, words in shared.items() if len(words) == most > 0]
    # Some give the same text.
    if not best or any(readings[name] != readings[best[0]] for name in best):
        return _korean(others)
    word = min(shared[best[0]])
    reason = f"{next(iter(others))!r} is not in UTF-8; in {best[0]} it has the word {word!r}, as other files do."
    return Choice("data.encoding", best[0], reason, said=True)


def _korean(tables: Mapping[str, bytes]) -> Choice | None:
    """Choose CP949 where the tables that it can read are Korean together: one may have what another lacks."""
    read = {path: texts[0] for path, data in tables.items() if (texts := _decoded([data], "cp949"))}
    if not is_korean("\n".join(read.values())):
        return None
    words = [word for text in read.values() for word in _words(text)]
    reason = (
        f"{next(iter(read))!r} is not in UTF-8; in cp949 it is Korean, as {max(words, key=len)!r}. Where that is not "
        "so: --set data.encoding=NAME"
    )
    return Choice("data.encoding", "cp949", reason, said=True)


def _decoded(tables: Iterable[bytes], encoding: str) -> list[str]:
    """The tables' texts in an encoding; none where one of them cannot be in it."""
    try:
        return [data.decode(encoding) for data in tables]
    except UnicodeDecodeError:
        return []


def _words(text: str) -> set[str]:
    """The words that are not ASCII, in one form."""
    return {word for word in _WORD.findall(unicodedata.normalize("NFC", text)) if not word.isascii()}
