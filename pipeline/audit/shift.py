"""Whether test images differ from train images: how well a classifier tells them apart that has not seen them.

Adversarial validation: an AUC of 0.5 says that nothing tells them apart, and so that the CV score may be believed; 1.0
that everything does. Its interval is DeLong's (DeLong, DeLong and Clarke-Pearson 1988, "Comparing the Areas under Two
or More Correlated Receiver Operating Characteristic Curves"; by ranks, Sun and Xu 2014).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from pipeline.files import write_json
from pipeline.log import log

Array = np.ndarray[Any, Any]

# From here on a CV score says little of the test images.
WARN_FROM = 0.7
# Images of each part that are looked at: the interval is then about 0.01 wide.
MOST = 5000
_NUM_FOLDS = 5
# Of fewer images of a part nothing is said.
FEWEST = 2 * _NUM_FOLDS
# Of the linear classifier, whose features are more than its images may be.
_STRENGTH = 1e-3


@dataclass(frozen=True)
class Shift:
    """How well train and test images are told apart, each value in [0, 1].

    auc: of a classifier of all features; low, high: its 95 % interval.
    by_feature: the AUC of each feature by itself, the one that tells most first; empty where features have no names.
    """

    auc: float
    low: float
    high: float
    by_feature: Mapping[str, float]

    @property
    def is_grave(self) -> bool:
        """Whether it is to be warned of: not where the interval leaves it open."""
        return self.auc >= WARN_FROM and self.low > 0.5


def find_shift(train: Array, test: Array, seed: int, names: tuple[str, ...] = ()) -> Shift | None:
    """Tell train from test images by their features; None where there are too few to say anything.

    Args:
        train: float (num_train, num_features), finite.
        test: float (num_test, num_features).
        seed: of the images that are chosen where there are many, and of the splits.
        names: of the features, where each says something by itself; the classifier is then one of trees, which
            takes them as they are, else a linear one.
    """
    if min(len(train), len(test)) < FEWEST:
        return None
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    generator = np.random.default_rng(seed)
    parts = [part[np.sort(generator.permutation(len(part))[:MOST])].astype(np.float32) for part in (train, test)]
    features, is_test = np.concatenate(parts), np.repeat([0, 1], [len(part) for part in parts])
    splits = StratifiedKFold(_NUM_FOLDS, shuffle=True, random_state=seed)
    said = cross_val_predict(_classifier(seed, bool(names)), features, is_test, cv=splits, method="predict_proba")[:, 1]
    auc, error = auc_and_error(said[is_test == 1], said[is_test == 0])
    low, high = (float(np.clip(auc + sign * stats.norm.ppf(0.975) * error, 0, 1)) for sign in (-1, 1))
    alone = {name: _alone(features[:, index], is_test) for index, name in enumerate(names)}
    return Shift(auc, low, high, dict(sorted(alone.items(), key=lambda item: -item[1])))


def auc_and_error(positive: Array, negative: Array) -> tuple[float, float]:
    """The area under the ROC curve and its standard error by DeLong.

    Args:
        positive: float (num_positive,), the scores of those that ought to score higher.
        negative: float (num_negative,), at least two of each.
    """
    num_positive, num_negative = len(positive), len(negative)
    ranks = stats.rankdata(np.concatenate([positive, negative]))
    # For each positive the share of negatives below it, for each negative that of positives above.
    below = (ranks[:num_positive] - stats.rankdata(positive)) / num_negative
    above = 1 - (ranks[num_positive:] - stats.rankdata(negative)) / num_positive
    error = np.sqrt(below.var(ddof=1) / num_positive + above.var(ddof=1) / num_negative)
    return float(below.mean()), float(error)


def _classifier(seed: int, by_trees: bool) -> Any:
    if by_trees:
        from sklearn.ensemble import HistGradientBoostingClassifier

        return HistGradientBoostingClassifier(max_iter=50, max_leaf_nodes=8, random_state=seed)
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=_STRENGTH, max_iter=500))


def _alone(values: Array, is_test: Array) -> float:
    """The AUC of a feature by itself, whichever way round."""
    auc, _ = auc_and_error(values[is_test == 1], values[is_test == 0])
    return max(auc, 1 - auc)


def tell_shift(shift: Shift | None, path: Path, stage: str, by: str) -> None:
    """Write down how well train and test images are told apart, and warn where that is too well.

    Args:
        shift: what was found; None where there are too few images.
        path: the file.
        stage: who says so.
        by: by what they are told apart, in words.
    """
    if shift is None:
        path.unlink(missing_ok=True)
        return
    write_json(path, {"by": by, **asdict(shift)})
    if not shift.is_grave:
        return
    most = next(iter(shift.by_feature), "")
    log.warning(
        "%s: warning: test images are unlike train images: %s tell them apart with an AUC of %.2f (%.2f to %.2f)%s; "
        "the CV score may say little of them, unless folds are made as the test images were (data.group, folds.column)",
        stage,
        by,
        shift.auc,
        shift.low,
        shift.high,
        f", {most!r} most" if most else "",
    )
