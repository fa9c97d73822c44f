"""Sections on the score: what it is, how sure, against what, and how the models came to it."""

from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from pipeline.competition.answers import metrics
from pipeline.competition.answers.scoring import prior_score
from pipeline.page import charts
from pipeline.page.blocks import Block, Chart, Section, Table, Text
from pipeline.page.facts import Facts

Array = np.ndarray[Any, Any]

_NUM_BINS = 15
_MOST_POINTS = 200
_MOST_SHOWN = 2000
_MOST_CURVES = 6


def score_section(facts: Facts) -> Section:
    """The CV score with its interval, against saying always the same; by fold; probe, networks, ensemble."""
    scores, metric = facts.scores, facts.task.metric
    blocks: list[Block] = [Text(line, is_warning=True) for line in scores.get("warnings", [])]
    if not facts.is_scored or scores.get("cv") is None:
        blocks.append(
            Text("No score is known yet: no model has said anything of images with labels that it has not seen.")
        )
        return Section("score", "Score", blocks)
    low, high = scores.get("interval", (None, None))
    rows: dict[str, tuple[float, float | None, float | None]] = {"this run": (scores["cv"], low, high)}
    for name, value in scores.get("probe", {}).get("cv", {}).items():
        if value is not None and name != "both":
            rows[f"{name} alone"] = (value, None, None)
    rows |= {f"fold {fold}": (value, None, None) for fold, value in scores["folds"].items() if value is not None}
    way = "higher is better" if metrics.get(metric).higher_is_better else "lower is better"
    blocks.append(
        Chart(f"CV {metric}; {way}", charts.dots(rows, metric), f"CV {metric} of this run {scores['cv']:.5f}")
    )
    table = [(name, value, low, high) for name, (value, low, high) in rows.items()]
    # No part of the chart: beside it all others would lie on one spot.
    prior = prior_score(facts.task, _all_targets(facts), facts.by_fold)
    if prior is not None:
        table.append(("always the same answer", prior, None, None))
    blocks.append(Table("In numbers", ("of what", metric, "95 % from", "to"), table))
    blocks += [Text(f"Next: {step}") for step in scores.get("next", [])]
    return Section("score", "Score", blocks)


def training_section(facts: Facts) -> Section:
    """Loss and score of every model, epoch by epoch."""
    blocks: list[Block] = []
    if facts.histories:
        for title, key in (
            *(("train loss", "train_loss"), ("validation loss", "valid_loss")),
            (f"validation {facts.task.metric}", "valid_score"),
        ):
            named = {f"fold {fold}": [_number(row[key]) for row in rows] for fold, rows in facts.histories.items()}
            if any(value is not None for values in named.values() for value in values):
                blocks.append(Chart(f"By epoch: {title}", charts.curves(named, "epoch", title), f"{title} by epoch"))
        last = [
            (
                f"fold {fold}",
                len(rows),
                *(_number(rows[-1][key]) for key in ("train_loss", "valid_loss", "train_score", "valid_score")),
            )
            for fold, rows in facts.histories.items()
        ]
        columns = ("model", "epochs", "train loss", "validation loss", "train score", "validation score")
        blocks.append(Table("After the last epoch", columns, last))
    return Section("training", "Training", blocks)


def sureness_section(facts: Facts) -> Section:
    """Whether probabilities are what they say, and how well classes are ranked; numbers against the true ones."""
    blocks: list[Block] = []
    if not facts.is_scored:
        return Section("sureness", "How sure the models are", blocks)
    if facts.task.kind == "number":
        return Section("sureness", "Predicted against true", [_against_true(facts)])
    if facts.task.kind != "multi":
        edges, confidence, accuracy, shares = reliability(facts)
        error = expected_calibration_error(facts)
        said = (
            "they are surer than they are right"
            if (shares * (confidence - accuracy)).sum() > 0
            else "they are right more often than they say"
        )
        blocks.append(
            Chart(
                f"Reliability: expected calibration error {error:.4f}, over {_NUM_BINS} bins; on average {said}",
                charts.reliability(edges, confidence, accuracy, shares),
                f"reliability diagram, expected calibration error {error:.4f}",
            )
        )
    if facts.is_cut:
        blocks.append(Text("This is of the likeliest grade. What is said is cut from the expected grade, see Classes."))
    if facts.task.kind == "multi" or len(facts.task.classes) == 2:
        blocks += _ranking(facts)
    if facts.task.kind == "ordinal":
        blocks.append(_against_true(facts))
    return Section("sureness", "How sure the models are", blocks)


def reliability(facts: Facts) -> tuple[Array, Array, Array, Array]:
    """Of each bin that holds images: its lower and upper edge (num_bins, 2), the mean probability of the likeliest
    class, how often that is right, and its share of all images.
    """
    best, said = (columns[:, 0] for columns in facts.likeliest)
    right = best == facts.targets
    bins = np.clip(np.ceil(said * _NUM_BINS) - 1, 0, _NUM_BINS - 1).astype(np.int64)
    counts = np.bincount(bins, minlength=_NUM_BINS)
    own = counts > 0
    means = [np.bincount(bins, values, _NUM_BINS)[own] / counts[own] for values in (said, right)]
    lower = np.flatnonzero(own)
    edges = np.stack([lower, lower + 1], 1) / _NUM_BINS
    return edges, means[0], means[1], counts[own] / counts.sum()


def expected_calibration_error(facts: Facts) -> float:
    """The mean distance between how sure and how often right, over bins of equal width (Guo et al. 2017)."""
    _, confidence, accuracy, shares = reliability(facts)
    return float((shares * np.abs(confidence - accuracy)).sum())


def _ranking(facts: Facts) -> list[Block]:
    """ROC, and precision against recall, of the second of two classes, or of the tags that are ranked worst."""
    names, columns = facts.task.classes, list(facts.probs.by_class())
    is_there = (
        facts.targets > 0 if facts.task.kind == "multi" else np.stack([facts.targets == 0, facts.targets == 1], 1)
    )
    own = range(len(names)) if facts.task.kind == "multi" else [1]
    rows = [
        (
            names[index],
            int(is_there[:, index].sum()),
            roc_auc_score(is_there[:, index], columns[index]),
            average_precision_score(is_there[:, index], columns[index]),
        )
        for index in own
        if 0 < is_there[:, index].sum() < len(is_there)
    ]
    if not rows:
        return []
    worst = sorted(rows, key=lambda row: row[2])[:_MOST_CURVES]
    roc, recall = {}, {}
    for name, *_ in worst:
        index = names.index(name)
        false, true, _ = roc_curve(is_there[:, index], columns[index])
        roc[name] = _thinned(false, true)
        precision, found, _ = precision_recall_curve(is_there[:, index], columns[index])
        recall[name] = _thinned(found, precision)
    what = "the tags that are ranked worst" if len(rows) > _MOST_CURVES else "by class"
    return [
        Chart(f"ROC, {what}", charts.lines(roc, "false positives", "true positives"), "ROC curves"),
        Chart(f"Precision against recall, {what}", charts.lines(recall, "recall", "precision"), "precision by recall"),
        Table("Ranking", ("class", "images", "ROC AUC", "average precision"), rows),
    ]


def _against_true(facts: Facts) -> Chart:
    if facts.task.kind == "number":
        true, said = facts.targets[:, 0], facts.probs.array[:, 0]
    else:
        true, said = facts.task.grades[facts.targets], facts.probs.expected(facts.task.grades)
    chosen = np.linspace(0, len(true) - 1, min(len(true), _MOST_SHOWN)).astype(np.int64)
    caption = "Predicted against true" + (
        "" if len(chosen) == len(true) else f", {len(chosen):,} of {len(true):,} images"
    )
    return Chart(caption, charts.scatter(true[chosen], said[chosen], "true", "predicted"), caption)


def _all_targets(facts: Facts) -> Array:
    assert facts.labelled is not None
    return facts.labelled.targets


def _thinned(x: Array, y: Array) -> tuple[Array, Array]:
    chosen = np.unique(np.linspace(0, len(x) - 1, _MOST_POINTS).astype(np.int64))
    return x[chosen], y[chosen]


def _number(cell: str) -> float | None:
    return float(cell) if cell else None
