"""Writing `submission.csv` as the sample submission shows it, and refusing to write one that would not be accepted."""

import csv
import io
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from pipeline.competition import metrics
from pipeline.competition.csv_table import Dialect, Table, duplicates, read_csv, require_columns, some
from pipeline.competition.decide import PLAIN, Decision, decide
from pipeline.competition.json_table import read_frame
from pipeline.competition.likeliest import Probs, best, dense
from pipeline.competition.long_table import is_long, split_ids, widen
from pipeline.competition.sample import targets_of
from pipeline.competition.table import test_id
from pipeline.competition.task import Task, split_tags
from pipeline.config import Config
from pipeline.files import InputError, atomic_write, data_dir, inside

Array = np.ndarray[Any, Any]
Answer = Literal["label", "probability", "columns", "tags", "ranks", "number"]


@dataclass(frozen=True)
class Long:
    """A submission with a row for each image and class: its ids, image and class of each, and the column to fill."""

    ids: list[str]
    pairs: list[tuple[str, str]]
    column: str


@dataclass(frozen=True)
class Form:
    """What the sample submission asks for.

    label: a class name; probability: of the second of two classes; columns: a probability (or, for metrics on labels, a
    0 or 1) for each class; tags: class names; ranks: the `top` likeliest class names; number. `copied` are the cells
    of columns that are not filled. With `long`, `ids` and `targets` are images and classes, not rows and columns.
    `header` are the columns as the sample writes them, with the spaces around them.
    """

    columns: tuple[str, ...]
    id: str
    targets: tuple[str, ...]
    ids: list[str]
    answer: Answer
    dialect: Dialect
    top: int = 1
    copied: dict[str, list[str]] = field(default_factory=dict)
    long: Long | None = None
    header: tuple[str, ...] = ()


def read_form(cfg: Config, task: Task, test_ids: list[str]) -> Form:
    """What to write: by the sample submission; without one an id column and the label columns.

    Raises:
        InputError: the sample does not fit the test images or the classes; which ids or columns, and how many.
    """
    top = metrics.get(task.metric).top
    if not cfg.data.sample_submission:
        answer = _answer(task, list(cfg.data.labels), "data.labels")
        return Form((test_id(cfg), *cfg.data.labels), test_id(cfg), cfg.data.labels, test_ids, answer, Dialect(), top)
    sample = read_csv(inside(data_dir(cfg), cfg.data.sample_submission, "data.sample_submission"))
    columns = [str(column) for column in sample.frame.columns]
    id_column = test_id(cfg) if test_id(cfg) in columns else columns[0]
    ids = sample.column(id_column)
    long, targets = None, []
    if cfg.data.rows and is_long(ids, cfg.data.rows, task.classes):
        wide = widen(sample.frame, id_column, cfg.data.rows, task.classes, str(sample.path))
        (value,) = targets_of(sample.frame, id_column)
        long = Long(ids, split_ids(ids, cfg.data.rows, task.classes, str(sample.path)), value)
        ids, targets = list(wide[id_column]), [name for name in wide if name != id_column]
    if problems := [*require_columns(str(sample.path), sample.frame, columns), *_compare(sample, ids, test_ids)]:
        raise InputError("; ".join(problems))
    other = cfg.data.test not in ("", cfg.data.sample_submission) and "{" not in cfg.data.test
    test = read_frame(inside(data_dir(cfg), cfg.data.test, "data.test")) if other else None
    targets = targets or targets_of(sample.frame, id_column, test, cfg.data.labels)
    if not targets:
        raise InputError(f"{sample.path} must have a column to fill beside {id_column!r}. It has none")
    answer = _answer(task, targets, str(sample.path))
    filled = targets if long is None else [long.column]
    copied = {name: sample.column(name) for name in columns if name not in (id_column, *filled)}
    return Form(
        tuple(columns), id_column, tuple(targets), ids, answer, sample.dialect, top, copied, long, sample.header
    )


def _compare(sample: Table, ids: list[str], test_ids: list[str]) -> list[str]:
    problems = duplicates(str(sample.path), ids)
    known, asked = set(test_ids), set(ids)
    if unknown := [id_ for id_ in ids if id_ not in known]:
        problems.append(f"{sample.path}: {some('ids have no test image', unknown)} of {len(ids):,}")
    if extra := [id_ for id_ in test_ids if id_ not in asked]:
        problems.append(f"{sample.path}: {some('test images are not asked for', extra)} of {len(test_ids):,}")
    return problems


def _answer(task: Task, targets: list[str], source: str) -> Answer:
    """What the target columns want, by their number and names, the task's kind and the metric's need."""
    if len(targets) > 1 and set(targets) == set(task.classes):
        return "columns"
    if len(targets) > 1:
        missing = [name for name in task.classes if name not in targets]
        extra = [name for name in targets if name not in task.classes]
        raise InputError(
            f"{source}: with several columns to fill, these must be the classes. "
            f"{some('columns are no class', extra)}; {some('classes have no column', missing)}"
        )
    if task.kind == "number":
        return "number"
    if task.kind == "multi":
        return "columns" if set(targets) == set(task.classes) else "tags"
    metric = metrics.get(task.metric)
    if metric.top > 1:
        return "ranks"
    if metric.needs == "probs" and len(task.classes) > 2:
        raise InputError(
            f"{source} must have a column for each of the {len(task.classes):,} classes, as {metric.name} scores "
            f"probabilities. It has {targets[0]!r} alone; set task.metric to one that scores labels"
        )
    return "probability" if metric.needs == "probs" else "label"


def fill(form: Form, task: Task, ids: list[str], probs: Probs, decision: Decision = PLAIN) -> pd.DataFrame:
    """The submission as text cells, in the sample's order of rows and columns.

    Args:
        form: what is asked for.
        task: kind and classes.
        ids: of the predicted images.
        probs: float (num_images, num_outputs), a row for each id; of many classes the likeliest alone.
        decision: thresholds or cuts, where labels are asked for.
    """
    row = {id_: number for number, id_ in enumerate(ids)}
    probs = probs[np.array([row[id_] for id_ in form.ids])].astype(np.float64)
    cells_of = _cells(form, task, probs, decision)
    ids = form.ids
    if form.long is not None:
        place = {id_: number for number, id_ in enumerate(ids)}
        cells_of = {form.long.column: [cells_of[name][place[image]] for image, name in form.long.pairs]}
        ids = form.long.ids
    frame = pd.DataFrame({form.id: ids}, dtype=object)
    for name, cells in {**form.copied, **cells_of}.items():
        frame[name] = cells
    return frame[list(form.columns)]


def _cells(form: Form, task: Task, probs: Probs, decision: Decision) -> dict[str, list[str]]:
    target = form.targets[0]
    if form.answer == "columns":
        if metrics.get(task.metric).needs == "labels":
            answers = decide(task, probs, decision)
            flags = answers if answers.ndim == 2 else np.eye(len(task.classes))[answers]
            return {name: [str(int(flag)) for flag in flags[:, task.classes.index(name)]] for name in form.targets}
        probs = dense(probs)
        if task.kind != "multi":
            probs = probs / probs.sum(1, keepdims=True)
        return {name: _format(probs[:, task.classes.index(name)]) for name in form.targets}
    if form.answer == "probability":
        return {target: _format(probs[:, 1])}
    if form.answer == "number":
        return {target: _format(probs[:, 0])}
    if form.answer == "ranks":
        classes = np.array(task.classes, dtype=object)
        return {target: [" ".join(classes[numbers]) for numbers in best(probs, form.top)]}
    answers = decide(task, probs, decision)
    if form.answer == "tags":
        separator = task.tag_separator or " "
        names = np.array(task.classes, dtype=object)
        return {target: [separator.join(names[flags > 0]) for flags in answers]}
    return {target: [task.classes[number] for number in answers]}


def _format(values: Array) -> list[str]:
    """Ten digits: 120 columns so rounded still sum to 1 within 1e-8; a row of 1/120 with six decimals fails graders."""
    return [f"{value:.10g}" for value in values.tolist()]


def check(form: Form, task: Task, table: Table) -> list[str]:
    """Every reason for which the competition would refuse a written submission; an empty list means none is known."""
    columns = [str(column) for column in table.frame.columns]
    if columns != list(form.columns) or (form.header and table.header != form.header):
        return [f"the header must be {','.join(form.columns)}. Got {','.join(columns)}"]
    problems = []
    if table.column(form.id) != (form.long.ids if form.long else form.ids):
        problems.append("the ids must be the sample's, in its order")
    if any(table.column(name) != cells for name, cells in form.copied.items()):
        problems.append("columns that are not filled must be the sample's")
    cells = _cells_by_target(form, table)
    if any(cell == "" for column in cells.values() for cell in column):
        problems.append("no cell may be empty")
    if form.answer in ("columns", "probability", "number"):
        return problems + _check_numbers(form, task, cells)
    classes = set(task.classes)
    for cell in dict.fromkeys(cells[form.targets[0]]):
        names = [cell]
        if form.answer == "tags":
            names = split_tags(cell, task.tag_separator)
        elif form.answer == "ranks":
            names = cell.split(" ")
            if len(set(names)) != min(form.top, len(classes)):
                problems.append(f"{form.top} different labels are asked for. Got {cell!r}")
        if unknown := [name for name in names if name not in classes]:
            problems.append(f"{some('labels are no train class', unknown)}")
    return problems[:5]


def _cells_by_target(form: Form, table: Table) -> dict[str, list[str]]:
    """The written cells of each target, in the order of the images."""
    if form.long is None:
        return {name: table.column(name) for name in form.targets}
    values = dict(zip(form.long.pairs, table.column(form.long.column), strict=True))
    return {name: [values[id_, name] for id_ in form.ids] for name in form.targets}


def _check_numbers(form: Form, task: Task, cells: dict[str, list[str]]) -> list[str]:
    try:
        values = np.array([[float(cell) for cell in cells[name]] for name in form.targets]).T
    except ValueError as error:
        return [f"every value must be a number: {error}"]
    if not np.isfinite(values).all():
        return ["every value must be finite"]
    if form.answer == "number":
        return []
    problems = []
    if (values < 0).any() or (values > 1).any():
        problems.append("probabilities must lie in [0, 1]")
    if form.answer == "columns" and task.kind != "multi" and (np.abs(values.sum(1) - 1) > 1e-6).any():
        problems.append("the probabilities of each row must sum to 1 within 1e-6")
    return problems


def write(path: Path, form: Form, task: Task, frame: pd.DataFrame) -> None:
    """Write a submission, read it back, check it, and only then give it its name.

    Raises:
        InputError: it would be refused; no file of this name is left, an older one neither.
    """
    path.unlink(missing_ok=True)
    candidate = path.with_name(f".{path.name}.checking")
    text = io.StringIO()
    writer = csv.writer(
        text,
        delimiter=form.dialect.separator,
        quoting=form.dialect.quoting,  # type: ignore[arg-type]
        lineterminator=form.dialect.newline,
    )
    writer.writerow(form.header or frame.columns)
    filled = form.targets if form.long is None else (form.long.column,)
    numeric = form.answer in ("columns", "probability", "number") and form.dialect.quoting == csv.QUOTE_NONNUMERIC
    for row in frame.itertuples(index=False):
        writer.writerow(
            [float(cell) if numeric and name in filled else cell for name, cell in zip(frame, row, strict=True)]
        )
    try:
        with atomic_write(candidate) as stream:
            stream.write(text.getvalue().encode(form.dialect.encoding))
        problems = check(form, task, read_csv(candidate))
        if not problems:
            os.replace(candidate, path)
    except UnicodeEncodeError as error:
        problems = [f"its labels cannot be written in the sample's encoding: {error}"]
    finally:
        candidate.unlink(missing_ok=True)
    if problems:
        raise InputError(f"{path} is not written, the competition would refuse it: {'; '.join(problems)}")
