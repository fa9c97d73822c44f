"""What is to be predicted: kind, classes, and the only code that turns labels into numbers and back."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from pipeline.competition.answers import metrics
from pipeline.competition.answers.spelling import as_number
from pipeline.competition.tables.csv_table import counted
from pipeline.competition.tables.rows import UNKNOWN_FLAGS
from pipeline.competition.tables.table import Samples
from pipeline.config import Config, ConfigError
from pipeline.files import InputError
from pipeline.quoting import shown

# Of more classes than these (one of many for each image) the likeliest of each image alone are kept.
MANY = 1000
Kind = Literal["single", "multi", "ordinal", "number"]
# What float32 may lose of numbers, in standard deviations.
_FINEST = 1e-3
# What a cell of a label column with flags can hold.
FLAGS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "False": 0, "True": 1, "false": 0, "true": 1}
# And where nobody has said whether the tag is there, which counts as not there.
FLAGS_OR_UNKNOWN = {**FLAGS, **dict.fromkeys(UNKNOWN_FLAGS, 0)}


@dataclass(frozen=True)
class Task:
    """Kind and classes of a competition's labels.

    kind `single`: one class of many; `multi`: any number of tags; `ordinal`: a grade, classes in order; `number`: a
    number, with the train labels' mean and standard deviation, in which networks learn it. `may_be_empty`: whether
    there are train images without any tag.
    """

    kind: Kind
    classes: tuple[str, ...]
    metric: str
    labels: tuple[str, ...]
    tag_separator: str = ""
    mean: float = 0.0
    std: float = 1.0
    may_be_empty: bool = False

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Task":
        """The task of `dataclasses.asdict` after a way through JSON."""
        return cls(**{**values, "classes": tuple(values["classes"]), "labels": tuple(values["labels"])})

    @property
    def num_outputs(self) -> int:
        """Outputs of a network: one for each class; one for a number."""
        return 1 if self.kind == "number" else len(self.classes)

    @property
    def grades(self) -> np.ndarray[Any, Any]:
        """The value of each class where classes are grades, float64 (num_classes,), rising: of numbers their own (with
        another sign where they fall), of names their places from 0 on.
        """
        values = [as_number(name) for name in self.classes]
        numbers = np.array([math.nan if value is None else float(value) for value in values])
        steps = np.diff(numbers)
        if (steps > 0).all() or (steps < 0).all():
            return numbers * np.sign(steps[:1])
        return np.arange(len(values), dtype=np.float64)

    @property
    def is_many(self) -> bool:
        """Whether there are so many classes that of each image the likeliest alone are kept."""
        return self.activation == "softmax" and self.num_outputs > MANY

    @property
    def activation(self) -> Literal["softmax", "sigmoid", "identity"]:
        """What turns logits into probabilities; the identity for (standardised) numbers."""
        if self.kind in ("single", "ordinal"):
            return "softmax"
        return "sigmoid" if self.kind == "multi" else "identity"

    def encode(self, labels: pd.DataFrame, source: str = "the train table") -> np.ndarray[Any, Any]:
        """Text labels -> targets.

        Args:
            labels: (num_images, num_columns) text.
            source: what to call the table in a message.

        Returns:
            int64 (num_images,) class indices for `single` and `ordinal`; float32 (num_images, num_classes) of 0 and 1
            for `multi`; float32 (num_images, 1) in the label's own unit for `number`.

        Raises:
            InputError: labels that are no class, with counts and the first five.
        """
        if self.kind == "number":
            return _numbers(labels[self.labels[0]], source).astype(np.float32)[:, None]
        if len(self.labels) > 1:
            flags = _flags(labels, self.labels, source)
            if self.kind == "multi":
                return flags.astype(np.float32)
            if wrong := [labels.index[row] for row in np.flatnonzero(flags.sum(1) != 1)]:
                raise InputError(f"{source}: {counted('rows have not exactly one 1 in the label columns', wrong)}")
            return np.array([self.classes.index(name) for name in self.labels])[flags.argmax(1)]
        column = labels[self.labels[0]]
        index_of = {name: index for index, name in enumerate(self.classes)}
        if self.kind == "multi":
            return self._encode_tags(column, index_of, source)
        codes = column.map(index_of)
        if codes.isna().any():
            unknown = list(dict.fromkeys(column[codes.isna()]))
            raise InputError(
                f"{source}, column {shown(self.labels[0])}: {counted('labels are no train class', unknown)}"
            )
        return codes.to_numpy(np.int64)

    def unknown(self, labels: pd.DataFrame) -> list[list[str]]:
        """Of each row of text labels those, or the tags, that are no class: `encode` takes rows without any."""
        if self.kind == "number" or len(self.labels) > 1:
            return [[] for _ in range(len(labels))]
        column, classes = labels[self.labels[0]], set(self.classes)
        rows = [split_tags(cell, self.tag_separator) if self.kind == "multi" else [cell] for cell in column]
        return [[name for name in row if name not in classes] for row in rows]

    def _encode_tags(self, column: "pd.Series[str]", index_of: dict[str, int], source: str) -> np.ndarray[Any, Any]:
        targets = np.zeros((len(column), len(self.classes)), np.float32)
        rows = [split_tags(cell, self.tag_separator) for cell in column]
        unknown = list(dict.fromkeys(tag for tags in rows for tag in tags if tag not in index_of))
        if unknown:
            raise InputError(f"{source}, column {shown(self.labels[0])}: {counted('tags are no train class', unknown)}")
        for row, tags in enumerate(rows):
            targets[row, [index_of[tag] for tag in tags]] = 1
        return targets


def make_task(cfg: Config, samples: Samples) -> Task:
    """Decide the kind, by rule from the settings and the labels, and the order of the classes.

    Raises:
        ConfigError: kind and metric do not fit the labels.
        InputError: labels that cannot be read as this kind.
    """
    metric = metrics.get(cfg.task.metric)
    metrics.must_allow(cfg.ensemble.method, metric)
    kind = cfg.task.kind if cfg.task.kind != "auto" else _auto_kind(cfg, samples, metric)
    must_score(metric.name, kind)
    if cfg.task.order and kind not in ("single", "ordinal"):
        raise ConfigError(f"task.order must be [] for labels of kind {kind}, which have no order. Got {cfg.task.order}")
    task = Task(kind, (), metric.name, cfg.data.labels, cfg.data.tag_separator)
    if kind == "number":
        return _of_numbers(task, cfg, samples)
    return _of_flags(task, cfg, samples) if len(task.labels) > 1 else _of_names(task, cfg, samples)


def _of_numbers(task: Task, cfg: Config, samples: Samples) -> Task:
    """The task with the mean and the standard deviation of a column of numbers."""
    if len(task.labels) != 1:
        raise ConfigError(f"task.kind = 'number' needs one label column. Got {len(task.labels)} in data.labels")
    column = task.labels[0]
    numbers = _numbers(samples.labels[column], cfg.data.train)
    mean, std = float(numbers.mean()), float(numbers.std()) or 1.0
    if len(set(numbers)) > 1 and np.spacing(np.float32(np.abs(numbers).max())) > _FINEST * std:
        raise InputError(
            f"{cfg.data.train}, column {shown(column)}: numbers must differ by more than float32 tells apart, as "
            f"networks compute in it. Got {mean:.10g} on average and a standard deviation of {std:.3g}; subtract a "
            "constant from them, and add it to the submission's"
        )
    return replace(task, mean=mean, std=std)


def _of_flags(task: Task, cfg: Config, samples: Samples) -> Task:
    """The task whose classes are the columns, which hold 0 and 1."""
    columns, metric = task.labels, metrics.get(task.metric)
    if task.kind == "multi":
        flags = _flags(samples.labels, columns, cfg.data.train)
        return replace(task, classes=columns, may_be_empty=bool((flags.sum(1) == 0).any()))
    if metric.needs == "grades" and task.kind != "ordinal":
        raise ConfigError(f"task.kind must be auto or ordinal where columns are grades. Got {task.kind!r}")
    # Not the table's order of columns: grades have one of their own.
    ordered = _ordered(cfg, metric, columns) if cfg.task.order or task.kind == "ordinal" else columns
    return _scorable(replace(task, classes=ordered, labels=tuple(name for name in ordered if name in columns)))


def _of_names(task: Task, cfg: Config, samples: Samples) -> Task:
    """The task whose classes are what the cells of a column name."""
    column = task.labels[0]
    names = list(dict.fromkeys(samples.labels[column]))
    may_be_empty = False
    if task.kind == "multi":
        rows = [split_tags(cell, task.tag_separator) for cell in names]
        may_be_empty = not all(rows)
        names = list(dict.fromkeys(tag for tags in rows for tag in tags))
    elif "" in names:
        empty = [id_ for id_, cell in zip(samples.ids, samples.labels[column], strict=True) if not cell]
        raise InputError(
            f"{cfg.data.train}: {counted('labels are empty', empty)} of {len(samples):,} in column {shown(column)}. "
            "Fill them in, or set data.bad_images = 'drop' to leave these rows out"
        )
    if len(names) < 2 - (task.kind == "multi"):
        got = f"Got {shown(names[0])} in every row" if names else "Got none"
        raise InputError(
            f"{cfg.data.train}: column {shown(column)} must have at least two classes to tell apart. {got}; "
            "set data.labels to the column that has them"
        )
    ordered = _ordered(cfg, metrics.get(task.metric), names)
    return _scorable(replace(task, classes=ordered, may_be_empty=may_be_empty))


def must_score(name: str, kind: Kind) -> None:
    """Refuse a metric for labels that it does not score.

    Raises:
        ConfigError: what it scores.
    """
    metric = metrics.get(name)
    if kind not in metric.kinds:
        raise ConfigError(
            f"task.metric = {metric.name!r} scores {' or '.join(metric.kinds)} labels. Got kind {kind!r}; "
            f"set task.kind or task.metric"
        )


def _scorable(task: Task) -> Task:
    two = ("roc_auc", "weighted_auc", "probabilistic_f1")
    if task.metric in two and task.kind == "single" and len(task.classes) != 2:
        raise ConfigError(
            f"task.metric = {task.metric!r} scores two classes. Got {len(task.classes)}; 'mean_column_auc' takes any "
            "number"
        )
    return task


def sorted_classes(names: Sequence[str]) -> list[str]:
    """Class names in order: by value where all are numbers, else as text."""
    values = {name: as_number(name) for name in names}
    if None in values.values():
        return sorted(names)
    return sorted(names, key=lambda name: (values[name], name))


def _ordered(cfg: Config, metric: metrics.Metric, names: Sequence[str]) -> tuple[str, ...]:
    """The classes in their order: as `task.order` says; by value where they are numbers, else as text.

    Raises:
        ConfigError: grades that are scored by how far they are apart, and whose order is not known.
    """
    if cfg.task.order:
        if unknown := [name for name in names if name not in cfg.task.order]:
            raise ConfigError(
                f"task.order must have every label of {cfg.data.train}, from the lowest to the highest. Of "
                f"{len(names):,}, {counted('are not in it', unknown)}"
            )
        return cfg.task.order
    ordered = sorted_classes(names)
    if metric.needs == "grades":
        _must_be_numbers(ordered, metric, cfg.data.train)
    return tuple(ordered)


def scored_by(task: Task, metric_name: str, order: Sequence[str]) -> Task:
    """The task of a trained model, scored by another metric.

    Args:
        task: what the model predicts.
        metric_name: `task.metric`.
        order: `task.order`.

    Raises:
        ConfigError: the metric does not score its labels, or scores how far apart grades are whose order is not known.
    """
    must_score(metric_name, task.kind)
    metric = metrics.get(metric_name)
    if order and tuple(order) != task.classes:
        raise ConfigError(f"task.order must be that of the trained models, {list(task.classes)}. Got {list(order)}")
    if metric.needs == "grades" and not order:
        _must_be_numbers(task.classes, metric, "the trained models")
    return _scorable(replace(task, metric=metric_name))


def _must_be_numbers(ordered: Sequence[str], metric: metrics.Metric, source: str) -> None:
    """Refuse grades that are names, whose order is not known, and two names of one grade.

    Raises:
        ConfigError: what to set.
    """
    values = [as_number(name) for name in ordered]
    if None in values:
        names = json.dumps(list(ordered), ensure_ascii=False)
        raise ConfigError(
            f"task.order must name the grades from the lowest to the highest: {metric.name} scores how far they are "
            f"apart, which their names do not say. Got none; set task.order = {names} in the right order"
        )
    if twice := [name for name, value, other in zip(ordered[1:], values[1:], values, strict=False) if value == other]:
        raise ConfigError(
            f"labels of {source} must be different grades where {metric.name} scores them. Got {list(ordered)}, of "
            f"which {counted('have the value of another', twice)}; write each grade in one way"
        )


def split_tags(cell: str, separator: str) -> list[str]:
    """The tags in one cell; an empty cell has none."""
    tags = cell.split() if separator in ("", " ") else [tag.strip() for tag in cell.split(separator)]
    return [tag for tag in dict.fromkeys(tags) if tag]


def _auto_kind(cfg: Config, samples: Samples, metric: metrics.Metric) -> Kind:
    """One column: what the metric scores, else one class; several: one class where each row has exactly one 1."""
    if len(cfg.data.labels) > 1:
        flags = _flags(samples.labels, cfg.data.labels, cfg.data.train)
        exclusive = bool((flags.sum(1) == 1).all()) and "single" in metric.kinds
        if exclusive:
            return "ordinal" if metric.needs == "grades" else "single"
        return "multi"
    if cfg.data.tag_separator:
        return "multi"
    return metric.kinds[0]


def _flags(labels: pd.DataFrame, columns: Sequence[str], source: str) -> np.ndarray[Any, Any]:
    """Columns of 0 and 1 -> int64 (num_images, num_columns); what is not known counts as not there."""
    values = labels[list(columns)].apply(lambda column: column.map(FLAGS_OR_UNKNOWN))
    if values.isna().to_numpy().any():
        wrong = list(dict.fromkeys(labels[list(columns)].to_numpy()[values.isna().to_numpy()]))
        raise InputError(
            f"{source}: columns of labels must hold 0 or 1. Got {counted('other values', wrong)}; set data.labels to "
            "those that do"
        )
    return values.to_numpy(np.int64)


def _numbers(column: "pd.Series[str]", source: str) -> np.ndarray[Any, Any]:
    """A text column of finite numbers -> float64 (num_images,)."""
    values = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
    if not np.isfinite(values).all():
        wrong = list(dict.fromkeys(column[~np.isfinite(values)]))
        raise InputError(
            f"{source}, column {shown(column.name)}: {counted('labels are no finite numbers', wrong)}; "
            "set data.labels to a column of numbers, or task.metric to one that scores classes"
        )
    if large := list(dict.fromkeys(column[np.abs(values) > np.finfo(np.float32).max])):
        raise InputError(
            f"{source}, column {shown(column.name)}: numbers must lie within 3.4e38, as networks compute in float32. "
            f"{counted('are larger', large)}; write them in another unit"
        )
    return values
