"""The metric that a text beside the data names, such as the competition's page saved there."""

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.competition.answers import metrics
from pipeline.detection.found import Choice

_ENDINGS = (".md", ".txt", ".html", ".htm", ".rst")
# Larger files are data; so are texts where there are many.
_LARGEST, _MOST = 2_000_000, 50
# What a sentence that names the score says besides. The last are Korean: evaluation, formula, index, leaderboard.
_SCORES = re.compile(
    r"evaluat|scor(?:e|ing)|metric|ranked|judged|assess|\ud3c9\uac00|\uc0b0\uc2dd|\uc9c0\ud45c|\ub9ac\ub354\ubcf4\ub4dc",
    re.IGNORECASE,
)
# Phrases, the most special first, each with the metric of one label, of several tags, and of numbers; "" where there is
# none. Those in \u are Korean: accuracy; logarithmic loss; mean absolute and squared error.
PHRASES: tuple[tuple[str, str, str, str], ...] = (
    (r"quadratic(?:ally)?[ -]weighted|weighted kappa|\bqwk\b|cohen'?s? kappa", "quadratic_kappa", "", ""),
    (r"mean column-?wise (?:roc )?(?:auc|area)", "mean_column_auc", "mean_column_auc", ""),
    (r"weighted (?:roc )?auc", "weighted_auc", "", ""),
    (r"probabilistic f", "probabilistic_f1", "", ""),
    (r"(?:area under|\bauc\b|\bau-?roc\b|roc[ -]?curve|roc[ -_]auc)", "roc_auc", "mean_column_auc", ""),
    (r"\bm?ap ?@ ?(?P<top>\d+)|mean average precision (?:at|@) ?(?P<top2>\d+)", "map@{top}", "", ""),
    (r"top[ -]?(?P<top>\d+) (?:accuracy|error)", "top@{top}", "", ""),
    (r"log(?:arithmic)?[ -]?loss|cross[ -]?entropy|\ub85c\uadf8 ?\uc190\uc2e4", "log_loss", "log_loss", ""),
    (r"matthews|\bmcc\b", "mcc", "", ""),
    (r"balanced accuracy|mean (?:per[ -]class|class) accuracy|macro[ -]recall", "balanced_accuracy", "", ""),
    (r"macro[ -]?(?:averaged?[ -]?)?f", "macro_f1", "macro_f1", ""),
    (r"micro[ -]?(?:averaged?[ -]?)?f", "micro_f1", "micro_f1", ""),
    (r"(?:mean|sample[sd]?|average)[ -]?f-?1?(?:[ -]?score|[ -]?measure)?\b", "macro_f1", "samples_f1", ""),
    (r"\bf-?1\b|\bf1[ -]?score|f-measure", "macro_f1", "micro_f1", ""),
    (r"root mean squared?|\brmse\b", "", "", "rmse"),
    (r"mean absolute error|\bmae\b|\ud3c9\uade0 ?\uc808\ub300 ?\uc624\ucc28", "", "", "mae"),
    (r"mis-?classification|error rate|classification error", "error", "error", ""),
    (r"\baccuracy\b|\uc815\ud655\ub3c4", "accuracy", "accuracy", ""),
)


@dataclass(frozen=True)
class Said:
    """A sentence of a file that names a score, and the metrics that it may mean: of a label, of tags, of numbers."""

    file: str
    sentence: str
    metrics: tuple[str, str, str]

    def metric(self, *, tags: bool, numbers: bool) -> str:
        """The metric of one label, of several tags, or of numbers; "" for none."""
        single, multi, number = self.metrics
        if numbers:
            return number
        return multi if tags else single


def read_said(root: Path, files: Sequence[str]) -> Said | None:
    """Find the first sentence that says what is scored: in files that say so by their names, then in others."""
    texts = [
        path
        for path in files
        if path.lower().endswith(_ENDINGS) and path.count("/") <= 1 and (root / path).stat().st_size < _LARGEST
    ]
    texts.sort(key=lambda path: (not _SCORES.search(path), not re.search("descri|overview|read", path.lower()), path))
    found = (said for path in texts[:_MOST] for sentence in _sentences(root / path) if (said := _named(path, sentence)))
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
    if metric == guess.value:
        return Choice(guess.key, metric, quote)
    return Choice(
        guess.key, metric, f"{quote} By the form of the answers alone it would be {guess.value!r}.", said=True
    )


def _sentences(path: Path) -> Iterator[str]:
    """Give the sentences of a text; of a saved page without its code and tags. A heading belongs to what follows it."""
    text = path.read_text(encoding="utf-8", errors="replace")
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
    for phrase, single, multi, number in PHRASES:
        if match := re.search(phrase, sentence, re.IGNORECASE):
            top = next((value for value in match.groupdict().values() if value), "")
            found = tuple(name.format(top=top) for name in (single, multi, number))
            if top and int(top) < 2:
                continue
            return Said(file, sentence, (found[0], found[1], found[2]))
    return None
