"""The metric that a text beside the data names, such as the competition's page saved there."""

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from pipeline.competition.answers import metrics
from pipeline.competition.tables.encoding import decode
from pipeline.detection.found import Choice
from pipeline.files import InputError

_ENDINGS = (".md", ".txt", ".html", ".htm", ".rst")
# Larger files are data; so are texts where there are many.
_LARGEST, _MOST = 2_000_000, 50
# What a sentence that names the score says besides. The last are Korean: evaluation, formula, index, leaderboard.
_SCORES = re.compile(
    r"evaluat|scor(?:e|ing)|metric|ranked|judged|assess|\ud3c9\uac00|\uc0b0\uc2dd|\uc9c0\ud45c|\ub9ac\ub354\ubcf4\ub4dc",
    re.IGNORECASE,
)
# An F1 that no metric here is, binary or weighted; the last are Korean for positive and binary. And an F1 of which
# nothing is said: of two classes it is mostly the binary one.
OTHER_F1 = (
    r"(?:binary|weighted)[ -]?(?:averaged?[ -]?)?f-?1?(?:[ -]?score|[ -]?measure)?\b|"
    r"\bf-?1(?:[ -]?score)?[ :(]*(?:(?:of|for|on|in) )?(?:the )?(?:binary|weighted|positive|\uc591\uc131|\uc774\uc9c4)"
)
PLAIN_F1 = r"\bf-?1\b|\bf1[ -]?score|f-measure"
# Phrases, the most special first, each with the metric of one label, of several tags, and of numbers; "" where there is
# none. Those in \u are Korean: accuracy; logarithmic loss; mean absolute and squared error.
PHRASES: tuple[tuple[str, str, str, str], ...] = (
    (r"quadratic(?:ally)?[ -]weighted|weighted kappa|\bqwk\b|cohen'?s? kappa", "quadratic_kappa", "", ""),
    (r"mean column-?wise (?:roc )?(?:auc|area)", "mean_column_auc", "mean_column_auc", ""),
    (r"weighted (?:roc )?auc", "weighted_auc", "", ""),
    (r"probabilistic f", "probabilistic_f1", "", ""),
    (r"(?:area under (?:the )?)?(?:precision[ -]recall|\bpr)[ -](?:curve|auc)|\bau-?prc?\b", "", "", ""),
    (r"(?:area under|\bauc\b|\bau-?roc\b|roc[ -]?curve|roc[ -_]auc)", "roc_auc", "mean_column_auc", ""),
    (r"\bm?ap ?@ ?(?P<top>\d+)|mean average precision (?:at|@) ?(?P<top2>\d+)", "map@{top}", "", ""),
    (r"average[ -]precision|\ud3c9\uade0 ?\uc815\ubc00\ub3c4", "", "", ""),
    (r"top[ -]?(?P<top>\d+) (?:accuracy|error)", "top@{top}", "", ""),
    (r"log(?:arithmic)?[ -]?loss|cross[ -]?entropy|\ub85c\uadf8 ?\uc190\uc2e4", "log_loss", "log_loss", ""),
    (r"matthews|\bmcc\b", "mcc", "", ""),
    (r"balanced accuracy|mean (?:per[ -]class|class) accuracy|macro[ -]recall", "balanced_accuracy", "", ""),
    (r"macro[ -]?(?:averaged?[ -]?)?f(?:-?1)?(?:[ -]?score|[ -]?measure)?", "macro_f1", "macro_f1", ""),
    (r"micro[ -]?(?:averaged?[ -]?)?f(?:-?1)?(?:[ -]?score|[ -]?measure)?", "micro_f1", "micro_f1", ""),
    (r"(?:mean|sample[sd]?|average)[ -]?f-?1?(?:[ -]?score|[ -]?measure)?\b", "macro_f1", "samples_f1", ""),
    (OTHER_F1, "macro_f1", "micro_f1", ""),
    (PLAIN_F1, "macro_f1", "micro_f1", ""),
    (r"root mean squared?|\brmse\b", "", "", "rmse"),
    (r"mean absolute error|\bmae\b|\ud3c9\uade0 ?\uc808\ub300 ?\uc624\ucc28", "", "", "mae"),
    (r"mis-?classification|error rate|classification error", "error", "error", ""),
    (r"\baccuracy\b|\uc815\ud655\ub3c4", "accuracy", "accuracy", ""),
)


# What passes over the score that follows, and the one before. Those in \u are Korean, which negates behind: forms of
# "not", "except", "instead".
_BEFORE = re.compile(
    r"(?:\b(?:not(?! only\b)|no longer|never|neither|without|instead of|rather than|unlike|other than|replac(?:es|ing)|"
    r"(?:changed|switched|moved)\b.*\bfrom)\b|n't\b)(?!.*\b(?:is|are|was|were|will|we|you)\b)",
    re.IGNORECASE,
)
_AFTER = re.compile(
    r"\b(?:is|are|was|were|do|does|did|will|would|be|been|has|have|can|could|should)"
    r"(?: ?not(?! only\b)| no longer| never|n't| \w*(?:replaced|dropped|removed|excluded))\b|"
    r"\uc54a|\uc544\ub2c8|\uc544\ub2cc|\uc544\ub2d9|\uc544\ub2d8|\uc81c\uc678|\ub300\uc2e0",
    re.IGNORECASE,
)
# Where a clause ends; the last are Korean endings: "but", "and", "and".
_CLAUSE = re.compile(
    r"[,;:(]| - |\b(?:but|while|whereas|although|though|which|that|where|because|and|so|since)\b|"
    r"\uc9c0\ub9cc|\uba70 |\uace0 ",
    re.IGNORECASE,
)
# What stands between two names of one score, or of several of which the same is said; the last are Korean.
_JOINS = re.compile(r"[\s/(]*(?:(?:and|or|nor|\ubc0f|\uc640|\uacfc)\b)?\s*", re.IGNORECASE)
_SINGULAR = re.compile(r"[)\s]*(?:\w+\s)?(?:is|was|does|has)", re.IGNORECASE)


@dataclass(frozen=True)
class Said:
    """A sentence of a file that names a score, by which of `PHRASES`, and the metrics that it may mean: of a label, of
    tags, of numbers.
    """

    file: str
    sentence: str
    phrase: str
    metrics: tuple[str, str, str]

    def metric(self, *, tags: bool, numbers: bool) -> str:
        """The metric of one label, of several tags, or of numbers; "" for none."""
        single, multi, number = self.metrics
        if numbers:
            return number
        return multi if tags else single


def read_said(root: Path, files: Sequence[str], encoding: str = "") -> Said | None:
    """Find the first sentence that says what is scored: in files that say so by their names, then in others; `encoding`
    is `data.encoding`.
    """
    texts = [
        path
        for path in files
        if path.lower().endswith(_ENDINGS) and path.count("/") <= 1 and (root / path).stat().st_size < _LARGEST
    ]
    texts.sort(key=lambda path: (not _SCORES.search(path), not re.search("descri|overview|read", path.lower()), path))
    found = (
        said
        for path in texts[:_MOST]
        for sentence in _sentences(root / path, encoding)
        if (said := _named(path, sentence))
    )
    return next(found, None)


def by_text(guess: Choice, said: Said | None, num_classes: int, num_targets: int, *, tags: bool) -> Choice:
    """Let the metric that a text names win over the guess, where it scores such labels.

    Args:
        guess: the metric that the answers' form suggests.
        said: what the text says.
        num_classes: how many labels there are.
        num_targets: how many columns the sample has to fill.
        tags: whether an image may have several labels.
    """
    if said is None:
        return guess
    metric = said.metric(tags=tags, numbers=metrics.get(str(guess.value)).kinds == ("number",))
    quote = f"{said.file} says: {said.sentence[:160]!r}."
    if metric == "roc_auc" and num_classes != 2:
        metric = "mean_column_auc"
    needs_columns = bool(metric) and metrics.get(metric).needs == "probs" and metrics.get(metric).top == 1
    if not metric or (needs_columns and num_classes > 2 and num_targets == 1):
        reason = f"{guess.reason} But {quote} No metric of that name scores such answers; set task.metric if one does."
        return Choice(guess.key, guess.value, reason, said=True)
    if said.phrase == OTHER_F1 or (said.phrase == PLAIN_F1 and num_classes == 2 and not tags):
        which = (
            "a binary or weighted F1" if said.phrase == OTHER_F1 else "of two classes mostly the F1 of the positive one"
        )
        reason = f"{quote} That is {which}, which is none of the metrics here; {metric} stands for it, another score."
        return Choice(guess.key, metric, reason, said=True)
    if metric == guess.value:
        return Choice(guess.key, metric, quote)
    return Choice(
        guess.key, metric, f"{quote} By the form of the answers alone it would be {guess.value!r}.", said=True
    )


def _sentences(path: Path, encoding: str) -> Iterator[str]:
    """Give the sentences of a text; of a saved page without its code and tags. A heading belongs to what follows it."""
    data = path.read_bytes()
    try:
        text, _ = decode(path, data, encoding)
    except InputError:
        # Names of scores are ASCII in most texts, whatever else is in them; and no text has to be read.
        text = data.decode("utf-8", "replace")
    if path.suffix.lower() in (".html", ".htm"):
        text = re.sub(r"(?is)<(script|style)\b.*?</\1>", " ", text)
        text = re.sub(r"(?i)</?(?:a|b|i|u|em|strong|span|code|sub|sup)\b[^>]*>", "", text)
        text = html.unescape(re.sub(r"<[^>]*>", "\n", text))
    lines = [re.sub(r"[#*`_|]+", " ", line).strip() for line in text.splitlines()]
    heading = ""
    for line in filter(None, lines):
        for sentence in re.split(r"(?<=[.!?])\s+", line):
            yield f"{heading}: {sentence}" if heading and not _SCORES.search(sentence) else sentence
        heading = line.rstrip(":") if len(line) < 40 and _SCORES.search(line) else ""


def _named(file: str, sentence: str) -> Said | None:
    """Read the score that a sentence names; None where it names none."""
    if not _SCORES.search(sentence):
        return None
    matches = _matches(sentence)
    kept = [match for match, over in zip(matches, _passed_over(sentence, matches), strict=True) if not over]
    for phrase, single, multi, number in PHRASES:
        match = next((match for match in kept if match.re.pattern == phrase), None)
        if match:
            top = _top(match)
            found = tuple(name.format(top=top) for name in (single, multi, number))
            return Said(file, sentence, phrase, (found[0], found[1], found[2]))
    return None


def _matches(sentence: str) -> list[re.Match[str]]:
    """Find all scores that a sentence names, in their order: of those that overlap the most special."""
    found: list[re.Match[str]] = []
    for phrase, *_ in PHRASES:
        for match in re.finditer(phrase, sentence, re.IGNORECASE):
            apart = all(match.end() <= other.start() or other.end() <= match.start() for other in found)
            if apart and _top(match) not in ("0", "1"):
                found.append(match)
    return sorted(found, key=lambda match: match.start())


def _top(match: re.Match[str]) -> str:
    """The K of `map@K`; "" where there is none."""
    return next((value for value in match.groupdict().values() if value), "")


def _passed_over(sentence: str, matches: Sequence[re.Match[str]]) -> list[bool]:
    """Say of each score that a sentence names whether its clause negates it: `not by accuracy`, `accuracy is not`."""
    ends = [0, *(match.end() for match in matches)]
    starts = [*(match.start() for match in matches), len(sentence)]
    # What stands before the first score, between each two, and after the last; without what is in brackets.
    gaps = [re.sub(r"\([^()]*\)", "", sentence[end:start]) for end, start in zip(ends, starts, strict=True)]
    over = []
    for number in range(len(matches)):
        before, after = _CLAUSE.split(gaps[number])[-1], _CLAUSE.split(gaps[number + 1])[0]
        over.append(bool(_BEFORE.search(before) or _AFTER.search(after)))
    joined = [_are_joined(*pair, gap) for pair, gap in zip(pairwise(matches), gaps[1:-1], strict=True)]
    for number, together in enumerate(joined, start=1):
        if together and over[number - 1]:
            over[number] = True
    for number, together in reversed(list(enumerate(joined, start=1))):
        one = matches[number - 1].re.pattern == matches[number].re.pattern
        if together and over[number] and (one or not _SINGULAR.match(gaps[number + 1])):
            over[number - 1] = True
    return over


def _are_joined(first: re.Match[str], second: re.Match[str], gap: str) -> bool:
    """Whether the same is said of two scores: `accuracy and F1`, or one is the other's translation."""
    return _JOINS.fullmatch(gap) is not None and (gap.strip() not in ("", "(") or first.re.pattern == second.re.pattern)
