"""In which encoding a text table is written: UTF-8, UTF-16 by its mark, CP949 where that gives Korean, else as is said.

Almost any bytes are something in CP949, so that a table of another country would be read as Korean without a word.
"""

import codecs
import re
from pathlib import Path

from pipeline.files import InputError
from pipeline.quoting import shown

# Asked for where bytes could be any of them: of Korea, China, Japan, Taiwan, and of western and eastern Europe.
CANDIDATES = ("cp949", "gbk", "cp932", "big5", "cp1252", "cp1250", "cp1251")
# Of the letters that are no ASCII, how many must be syllables of KS X 1001, the 2,350 that Korean is written with: all
# of words of everyday Korean are; of Chinese words in GBK that can be read so at all, two in a hundred pairs pass.
_KOREAN = 0.9
# Of common Chinese letters in GBK, three in five alone are such syllables: one or two prove nothing, a word is needed.
_KOREAN_WORD = re.compile("[\uac00-\ud7a3]{2,}")
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_WORD = re.compile(r"[^\W\d_]+")
_CELL = re.compile(r'[^\n\r,;\t|"]*[^\x00-\x7f][^\n\r,;\t|"]*')


def decode(path: Path, data: bytes, given: str = "") -> tuple[str, str]:
    """Decode a table's bytes.

    Args:
        path: the table's, for messages.
        data: its bytes.
        given: `data.encoding`, for what is not UTF-8.

    Returns:
        The text and the name of the encoding, which writes it alike.

    Raises:
        InputError: the encoding is not known, or is not the one that is given.
    """
    if data.startswith(_UTF16_MARKS):
        return _decoded(path, data, "utf-16"), "utf-16"
    try:
        # Text in UTF-16 without a mark is UTF-8 too, with a zero byte in each letter.
        if not (given and b"\0" in data):
            plain = data.decode("utf-8-sig")
            if given and _is_utf8_by_accident(plain, data, given):
                return data.decode(given), given
            return plain, "utf-8-sig" if data.startswith(codecs.BOM_UTF8) else "utf-8"
    except UnicodeDecodeError:
        pass
    if given:
        return _decoded(path, data, given), given
    korean = _or_none(data, "cp949")
    if korean is not None and is_korean(korean):
        return korean, "cp949"
    readings = {name: text for name in CANDIDATES if (text := _or_none(data, name)) is not None}
    if not readings:
        raise InputError(f"{path} must be in UTF-8. Got bytes that no encoding known here reads; save it as UTF-8")
    raise InputError(
        f"{path} must be in UTF-8, or in the encoding that data.encoding names. Its first such cell is "
        f"{', '.join(f'{shown(_first(text))} in {name}' for name, text in readings.items())}; set data.encoding to the "
        "one that is right"
    )


def is_korean(text: str) -> bool:
    """Whether the letters of a text that are no ASCII are syllables that Korean is written with, two in a word."""
    letters = {letter for letter in text if not letter.isascii() and letter.isalpha()}
    syllables = [letter for letter in letters if "\uac00" <= letter <= "\ud7a3" and len(_euc_kr(letter)) == 2]
    return len(syllables) >= max(1, _KOREAN * len(letters)) and any(
        all(len(_euc_kr(letter)) == 2 for letter in word) for word in _KOREAN_WORD.findall(text)
    )


def _is_utf8_by_accident(text: str, data: bytes, given: str) -> bool:
    """Whether a text in UTF-8 is rather one in an encoding of two bytes for a letter, as the Chinese for a cat in GBK
    has the bytes of an e with an accent: its letters that are no ASCII stand alone or in pairs, and the encoding has as
    many.
    """
    words = [word for word in _WORD.findall(text) if not word.isascii()]
    other = _or_none(data, given)
    return (
        len(words) > 0
        and all(len(word) <= 2 and not any(map(str.isascii, word)) for word in words)
        and other is not None
        and len(other) == len(text)
        and [len(word) for word in _WORD.findall(other)] == [len(word) for word in _WORD.findall(text)]
    )


def _decoded(path: Path, data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} must be in {encoding}, as its mark, data.encoding or the sample says. Got {error}"
        ) from None


def _or_none(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return None


def _euc_kr(letter: str) -> bytes:
    """A syllable's two bytes; of one that is not in KS X 1001 more, as Python spells it, or none."""
    return letter.encode("euc_kr", "ignore")


def _first(text: str) -> str:
    """The first cell below the header that is not ASCII; one of the header where there is no other."""
    _, _, below = text.partition("\n")
    found = _CELL.search(below) or _CELL.search(text)
    return found[0].strip() if found else ""
