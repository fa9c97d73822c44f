"""Where a flip changes what an image says: by the names of the classes, and by what models take for one another."""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from pipeline.competition.answers import metrics
from pipeline.competition.answers.probs import Probs
from pipeline.competition.answers.scoring import Folds
from pipeline.competition.answers.task import Task
from pipeline.config import Config
from pipeline.quoting import shown

Array = np.ndarray[Any, Any]

# Words whose meaning a left-right flip turns into the other's.
_SIDES = (
    ("left", "right"),
    ("l", "r"),
    ("lt", "rt"),
    ("east", "west"),
    ("clockwise", "counterclockwise"),
    ("clockwise", "anticlockwise"),
    ("cw", "ccw"),
    # Korean: left and right, as a word, a sign, a side and a turn.
    ("\uc67c\ucabd", "\uc624\ub978\ucabd"),
    ("\uc88c", "\uc6b0"),
    ("\uc88c\uce21", "\uc6b0\uce21"),
    ("\uc88c\ud68c\uc804", "\uc6b0\ud68c\uc804"),
    # Arrows.
    ("\u2190", "\u2192"),
)
# These say by themselves that sides matter, whatever the other classes are.
_SURE = ("left", "\uc67c\ucabd", "\uc88c\uce21", "\uc88c\ud68c\uc804", "\u2190", "\u2192")
# 10 stands for 0 in the labels of street numbers.
_DIGITS = (frozenset("0123456789"), frozenset((*"123456789", "10")))
_DIGIT_WORDS = frozenset(("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"))
# So many single letters are an alphabet; a few may be grades or kinds.
_ALPHABET = 10
# Of a pair of classes that is looked at: images of each at least, and the part that is taken for one of the two.
_FEWEST, _KNOWN = 20, 0.9


def against_hflip(classes: Collection[str], *, named: bool = False) -> str:
    """Why a left-right flip would make other classes' images, by the names of the classes; "" where none says so.

    Args:
        classes: their names.
        named: whether a file says what they stand for, so that digits are numbers and no pictures of digits.
    """
    words = {name: tuple(_words(name)) for name in sorted(classes)}
    known = {words[name]: name for name in classes}
    for name, parts in words.items():
        for left, right in _SIDES:
            swap = {left: right, right: left}
            swapped = tuple(swap.get(part, part) for part in parts)
            if swapped != parts and (other := known.get(swapped)):
                return f"{shown(name)} and {shown(other)} are mirror images by their names"
        if set(parts) & set(_SURE):
            return f"{shown(name)} is a side by its name"
    letters = {name.strip() for name in classes if len(name.strip()) == 1 and name.strip().isalpha()}
    if {"b", "d"} <= letters or {"p", "q"} <= letters:
        return "b and d, p and q are mirror images"
    if len(letters) >= _ALPHABET and 2 * len(letters) > len(classes):
        return f"{len(letters)} classes are single letters"
    lower = {name.strip().casefold() for name in classes}
    if lower == _DIGIT_WORDS or (frozenset(lower) in _DIGITS and not named):
        return "the classes are the ten digits"
    return ""


def _words(name: str) -> list[str]:
    """The words, numbers and arrows of a name: `turnLeft_2` is turn, left, 2."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", unicodedata.normalize("NFC", name))
    parted = re.sub(r"(?i)\b(counter|anti)[-_ ](?=clockwise)", r"\1", parted)
    return re.findall(r"[^\W\d_]+|\d+|[\u2190-\u21ff]", parted.casefold())


def doubts_of_flips(
    cfg: Config, task: Task, targets: Array, oof: Folds, by_view: Mapping[str, Mapping[str, Any] | None]
) -> list[str]:
    """What out-of-fold predictions say against flips, a sentence each: views that lower the score of every fold, and
    classes that flips may have made one.

    Args:
        cfg: views and augmentation.
        task: kind, classes and metric.
        targets: of every train image.
        oof: for each fold the indices of its images and their probabilities, by all views.
        by_view: for each fold the score, by which `metric`, by `all views` and by the `first view` alone; None where it
            is not known.
    """
    doubts = []
    if len(oof) > 1 and len(cfg.infer.views) > 1 and cfg.infer.views[0] == "identity":
        sign = 1 if metrics.get(task.metric).higher_is_better else -1
        known = [scores for fold in oof if (scores := by_view.get(fold)) and scores.get("metric") == task.metric]
        pairs = [(scores["all views"], scores["first view"]) for scores in known]
        pairs = [(all_views, first) for all_views, first in pairs if all_views is not None and first is not None]
        if len(pairs) == len(oof) and all(sign * (all_views - first) < 0 for all_views, first in pairs):
            together, alone = (float(np.mean(scores)) for scores in zip(*pairs, strict=True))
            doubts.append(
                f"infer.views = {list(cfg.infer.views)} make the {task.metric} of every fold worse: on average "
                f"{together:.5f}, and {alone:.5f} without; set infer.views = ['identity']"
            )
    flips = cfg.augment.hflip or cfg.augment.vflip or any("flip" in view for view in cfg.infer.views)
    if oof and flips and task.kind in ("single", "ordinal"):
        indices, probs = zip(*oof.values(), strict=True)
        for first, second, right in told_apart_by_chance(targets[np.concatenate(indices)], Probs.stack(probs)):
            both = f"{shown(task.classes[first])} and {shown(task.classes[second])}"
            doubts.append(
                f"{both} are told from all others, but no better than by chance from each other ({right:.2f}). If one "
                "is the other's mirror image, set augment.hflip = 0, augment.vflip = 0 and infer.views = ['identity']"
            )
    return doubts


def told_apart_by_chance(targets: Array, probs: Probs) -> list[tuple[int, int, float]]:
    """Pairs of classes that are known from all others, and not from each other: as are those that flips turn round.

    Args:
        targets: int64 (num_images,), the classes.
        probs: of models that have not seen these images.

    Returns:
        The two classes, and the share of their images that got the right one of the two: within two standard errors of
        one half.
    """
    said = probs.best(1)[:, 0]
    counts = np.bincount(targets, minlength=probs.num_outputs)
    wrong = Counter(
        (min(true, other), max(true, other))
        for true, other in zip(targets.tolist(), said.tolist(), strict=True)
        if true != other
    )
    found = []
    for (first, second), num_wrong in sorted(wrong.items()):
        if min(counts[first], counts[second]) < _FEWEST or num_wrong < _FEWEST / 2:
            continue
        own = np.isin(targets, (first, second))
        within = own & np.isin(said, (first, second))
        right = float((targets[within] == said[within]).mean())
        if within.sum() >= _KNOWN * own.sum() and abs(right - 0.5) <= 1 / np.sqrt(within.sum()):
            found.append((first, second, right))
    return found
