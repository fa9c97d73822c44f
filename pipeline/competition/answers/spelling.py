"""Labels as text: which are numbers, which are the same label written in another way, and how the sample writes them.

Where the train table has `3.0` and the sample submission `3`, or `1` and `01`, `cat` and `Cat`, `sea_lion` and
`sea lion`, `False` and `0`, a submission with the train table's spelling would be refused, or every answer in it
counted as wrong.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from functools import partial

from pipeline.quoting import cut, shown

Rule = Callable[[str], str]

_FLAGS = {"false": "0", "true": "1", "no": "0", "yes": "1"}
# Of two labels alone: among more they are letters.
_LETTERS = {"f": "0", "t": "1", "n": "0", "y": "1"}
# The words for 0 and 1.
_TRUTHS = (("False", "True"), ("No", "Yes"), ("F", "T"), ("N", "Y"))
# What stands between two words of a name.
_BETWEEN_WORDS = re.compile(r"(?<=[^\W_])[\s_-]+(?=[^\W_])")
_MARKS = (" ", "_", "-")
_CASES: tuple[Rule, ...] = (str.lower, str.upper, str.capitalize, str.title)


def as_number(text: str) -> Decimal | None:
    """The number that a text is, exactly; None where it is none."""
    return Decimal(text) if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", text) else None


def same(text: str) -> str:
    """What all spellings of one label share: its value, or its words whatever their case, form and outer spaces, and
    what stands between them: a space, `_` or `-`.
    """
    plain = _plain(text).casefold()
    number = as_number(_FLAGS.get(plain, plain))
    return _BETWEEN_WORDS.sub(" ", plain) if number is None else str(number.as_integer_ratio())


def same_among(classes: Collection[str]) -> Rule:
    """How spellings of these classes are compared: by `same`; where they are a yes and a no, letters stand for these
    too, as in `y` and `n`.
    """
    both = {_same_of_two("0"), _same_of_two("1")}
    return _same_of_two if len(classes) == 2 and {_same_of_two(name) for name in classes} == both else same


def _same_of_two(text: str) -> str:
    plain = _plain(text).casefold()
    return same(_LETTERS.get(plain, plain))


def spellings(classes: Sequence[str], answers: Collection[str]) -> dict[str, str]:
    """How the sample writes each class; empty where as the train table does.

    An answer that is no class stands for the class that is the same by `same`, unless two classes are. Classes that the
    sample does not have are written by the first rule that gives those it has.

    Args:
        classes: the train table's.
        answers: what the sample holds, each once.

    Raises:
        ValueError: how a class is to be written is not clear; why.
    """
    form = same_among(classes)
    written: dict[str, list[str]] = {}
    for answer in answers:
        written.setdefault(form(answer), []).append(answer)
    alike = Counter(form(name) for name in classes)
    found = {
        name: written[form(name)] if alike[form(name)] == 1 else [name]
        for name in classes
        if form(name) in written and (alike[form(name)] == 1 or name in answers)
    }
    if all(name in ways for name, ways in found.items()):
        return {}
    if unclear := [ways for ways in found.values() if len(ways) > 1]:
        raise ValueError(
            f"its answers {shown(unclear[0][0])} and {shown(unclear[0][1])} stand for one label of the train table"
        )
    known = {name: way for name, (way,) in found.items()}
    spelled = {name: known.get(name) or _by_rule(name, known, len(classes)) for name in classes}
    of_way: dict[str, str] = {}
    for name, way in spelled.items():
        if of_way.setdefault(way, name) != name:
            raise ValueError(f"{shown(of_way[way])} and {shown(name)} would both be written {shown(way)}")
    return spelled


def classes_of(columns: Sequence[str], classes: Collection[str]) -> dict[str, str] | None:
    """Which class each of a sample's columns stands for, one each: `0` for `0`, `Cat` for `cat`, and `class_0` for `0`
    where all columns have the same about their classes.

    Args:
        columns: to be filled.
        classes: the train table's.

    Returns:
        Class by column; None where they do not go together, or in several ways.
    """
    if set(columns) == set(classes):
        return {column: column for column in columns}
    if len(set(columns)) != len(set(classes)):
        return None
    if plain := _without(columns, "", "", classes):
        return plain
    first = columns[0]
    abouts = {(first[:at], first[at + len(name) :]) for name in classes for at in _places(name, first)}
    abouts |= {(before.rstrip("0"), behind) for before, behind in abouts}  # of `001`
    ways = [way for about in abouts if (way := _without(columns, *about, classes))]
    return ways[0] if ways and all(way == ways[0] for way in ways) else None


def _places(name: str, column: str) -> list[int]:
    """Where a name stands in a column's."""
    low, high = name.casefold(), column.casefold()
    return [start for start in range(len(high) - len(low) + 1) if low and high.startswith(low, start)]


def _without(columns: Sequence[str], before: str, behind: str, classes: Collection[str]) -> dict[str, str] | None:
    """The class of each column without what stands before and behind it; None where these are not the classes."""
    if not all(column.startswith(before) and column.endswith(behind) for column in columns):
        return None
    by_form = {same(name): name for name in classes}
    forms = [same(column[len(before) : len(column) - len(behind)]) for column in columns]
    if len(by_form) < len(classes) or len(set(forms)) < len(forms) or set(forms) != set(by_form):
        return None
    return dict(zip(columns, (by_form[form] for form in forms), strict=True))


def _by_rule(name: str, known: Mapping[str, str], num_classes: int) -> str:
    """A class in the sample's way of writing those that are known.

    Raises:
        ValueError: rules that are equally good write it in different ways, or none writes what is known.
    """
    for rules in _rules(known.values(), num_classes):
        ways = {rule(name) for rule in rules if all(rule(other) == way for other, way in known.items())}
        if len(ways) == 1:
            return ways.pop()
        if ways:
            raise ValueError(
                f"its answers leave open whether {shown(name)} is written {' or '.join(map(cut, sorted(ways)))}"
            )
    raise ValueError(f"its answers do not show how {shown(name)} is written")


def _rules(answers: Iterable[str], num_classes: int) -> list[list[Rule]]:
    """Ways of writing, those that change least first; rules in one list are equally good."""
    padded = {len(answer) for answer in answers if answer.startswith("0")}
    cases: tuple[Rule, ...] = (str, str.lower, str.upper)
    anyhow: tuple[Rule, ...] = (str, *_CASES)
    truths: list[list[Rule]] = [[_flag], [partial(_truth, words=words, change=to) for words in _TRUTHS for to in cases]]
    marks = [(old, new) for old in _MARKS for new in _MARKS if old != new]
    return [
        [_plain],
        [_whole],
        [partial(_padded, width=width) for width in padded],
        [_fraction],
        *(truths if num_classes == 2 else []),
        [partial(_cased, change=change) for change in _CASES],
        [partial(_joined, old=old, new=new) for old, new in marks],
        [partial(_joined, old=old, new=new, change=change) for old, new in marks for change in _CASES],
        [partial(_joined_by, mark=mark, change=change) for mark in _MARKS for change in anyhow],
    ]


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text).strip()


def _whole(text: str) -> str:
    """`3.0` as `3`."""
    number = as_number(_plain(text))
    return _plain(text) if number is None or number != number.to_integral_value() else str(int(number))


def _padded(text: str, width: int) -> str:
    """`3` as `003`."""
    return _whole(text).zfill(width)


def _fraction(text: str) -> str:
    """`3` as `3.0`."""
    number = as_number(_plain(text))
    return _plain(text) if number is None else str(float(number))


def _flag(text: str) -> str:
    """`True` as `1`."""
    plain = _plain(text).casefold()
    return {**_FLAGS, **_LETTERS}.get(plain, text)


def _truth(text: str, words: tuple[str, str], change: Rule) -> str:
    """`1` or another word for it as the second of two words."""
    flag = _whole(_flag(text))
    return change(words[int(flag)]) if flag in ("0", "1") else text


def _cased(text: str, change: Rule) -> str:
    """`cat` as `Cat`, or otherwise."""
    return change(_plain(text))


def _joined(text: str, old: str, new: str, change: Rule = str) -> str:
    """`sea_lion` as `sea lion`, or in another case, as `Sea Lion`."""
    return change(_plain(text).replace(old, new))


def _joined_by(text: str, mark: str, change: Rule) -> str:
    """`sea_lion-mix` as `sea lion mix`."""
    return change(_BETWEEN_WORDS.sub(mark, _plain(text)))
