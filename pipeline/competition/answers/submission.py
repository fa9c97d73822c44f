"""Writing `submission.csv` as the sample submission shows it, and refusing to write one that would not be accepted."""

import codecs
import csv
import io
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

from pipeline.competition.answers import metrics
from pipeline.competition.answers.decide import PLAIN, Decision, decide
from pipeline.competition.answers.form import Form
from pipeline.competition.answers.probs import Probs
from pipeline.competition.answers.spelling import same
from pipeline.competition.answers.task import Task
from pipeline.competition.tables.csv_table import Table, counted, parse_csv
from pipeline.files import InputError, atomic_write
from pipeline.quoting import cut, shown

Array = np.ndarray[Any, Any]

# Cells that are text at once, which take a hundred bytes each.
CELLS = 1_000_000


def fill(form: Form, task: Task, ids: list[str], probs: Probs, decision: Decision = PLAIN) -> Iterator[pd.DataFrame]:
    """The submission as text cells, in the sample's order of rows and columns, some rows after the other.

    Args:
        form: what is asked for.
        task: kind and classes.
        ids: of the predicted images.
        probs: a row for each id.
        decision: thresholds or cuts, where labels are asked for.
    """
    row = {id_: index for index, id_ in enumerate(ids)}
    indices = np.array([row[id_] for id_ in form.ids])
    step = max(1, CELLS // len(form.columns)) if form.long is None else len(indices)
    for start in range(0, len(indices), step):
        rows = slice(start, start + step)
        yield _filled(form.of_rows(rows), task, probs[indices[rows]], decision)


def _filled(form: Form, task: Task, probs: Probs, decision: Decision) -> pd.DataFrame:
    """The rows of a form: probs of its images."""
    cells_of, ids = _cells(form, task, probs, decision), form.ids
    if form.long is not None:
        row = {id_: index for index, id_ in enumerate(ids)}
        cells_of = {form.long.column: [cells_of[name][row[image]] for image, name in form.long.pairs]}
        ids = form.long.ids
    frame = pd.DataFrame({form.id: ids}, dtype=object)
    for name, cells in {**form.copied, **cells_of}.items():
        frame[name] = cells
    return frame[list(form.columns)]


def one_answer(form: Form, frames: Iterable[pd.DataFrame]) -> str | None:
    """What every row of a submission says; None where they differ, or there are not two.

    Args:
        form: what is asked for.
        frames: its rows, some after the other; no more are looked at than it takes.
    """
    names, known, num_rows = list(form.targets if form.long is None else (form.long.column,)), None, 0
    for frame in frames:
        answers = frame[names].drop_duplicates()
        first = tuple(answers.iloc[0]) if len(answers) else known
        if len(answers) > 1 or known not in (None, first):
            return None
        known, num_rows = first, num_rows + len(frame)
    return ", ".join(shown(cell) for cell in known[:5]) if known and num_rows > 1 else None


def _cells(form: Form, task: Task, probs: Probs, decision: Decision) -> dict[str, list[str]]:
    target = form.targets[0]
    if form.answer == "columns":
        indices = {name: task.classes.index(form.class_of[name]) for name in form.targets}
        if metrics.get(task.metric).needs in ("labels", "grades"):
            answers = decide(task, probs, decision)
            flags = answers if answers.ndim == 2 else np.eye(len(task.classes))[answers]
            return {name: [str(int(flag)) for flag in flags[:, index]] for name, index in indices.items()}
        values = probs.full()
        if _rows_sum_to_one(task):
            values = values / values.sum(1, keepdims=True)
        return {name: _format(values[:, index]) for name, index in indices.items()}
    if form.answer == "probability":
        return {target: _format(probs.array[:, 1])}
    if form.answer == "number":
        return {target: _format(probs.array[:, 0])}
    names = np.array([form.spelling.get(name, name) for name in task.classes], dtype=object)
    if form.answer == "ranks":
        return {target: [" ".join(names[indices]) for indices in probs.best(form.top)]}
    answers = decide(task, probs, decision)
    if form.answer == "tags":
        return {target: [form.separator.join(names[flags > 0]) for flags in answers]}
    return {target: [names[index] for index in answers]}


def _rows_sum_to_one(task: Task) -> bool:
    """Whether columns are the probabilities of one class of many. Where the order of the images is all that is scored,
    they may be ranks, which scaling the rows would put into another order.
    """
    return task.kind != "multi" and task.metric not in metrics.OF_ORDER


def _format(values: Array) -> list[str]:
    """Ten digits: 120 columns so rounded still sum to 1 within 1e-8; a row of 1/120 with six decimals fails graders."""
    return [f"{value:.10g}" for value in values.tolist()]


def check(form: Form, task: Task, table: Table) -> list[str]:
    """Every reason for which the competition would refuse a written submission; an empty list means none is known."""
    columns = [str(column) for column in table.frame.columns]
    if columns != list(form.columns) or (form.header and table.header != form.header):
        return [f"the header must be {cut(','.join(form.columns))}. Got {cut(','.join(columns))}"]
    if problem := _about_rows(form, table):
        return [problem]
    problems = []
    if any(table.column(name) != cells for name, cells in form.copied.items()):
        problems.append("columns that are not filled must be the sample's")
    cells = _cells_by_target(form, table)
    may_be_empty = form.answer == "tags" and task.may_be_empty
    if not may_be_empty and any(cell == "" for column in cells.values() for cell in column):
        problems.append("no cell may be empty")
    if form.answer in ("columns", "probability", "number"):
        return problems + _check_numbers(form, task, cells)
    classes = {form.spelling.get(name, name) for name in task.classes}
    asked = {same(name) for name in form.answers}
    for cell in dict.fromkeys(cells[form.targets[0]]):
        names = form.labels_in(cell)
        if form.answer == "ranks" and len(set(names)) != min(form.top, len(classes)):
            problems.append(f"{form.top} different labels are asked for. Got {shown(cell)}")
        if unknown := [name for name in names if name not in classes]:
            problems.append(f"{counted('labels are no train class', unknown)}")
        if otherwise := [name for name in names if name not in form.answers and same(name) in asked]:
            problems.append(f"{counted('labels are written in another way than in the sample', otherwise)}")
    return problems[:5]


def _about_rows(form: Form, table: Table) -> str:
    """What is wrong with the separator or the ids of a table, with counts; "" for nothing."""
    separator, asked, ids = table.dialect.separator, form.long.ids if form.long else form.ids, table.column(form.id)
    if len(table.frame.columns) > 1 and separator != form.dialect.separator:
        return f"cells must have {form.dialect.separator!r} between them. Got {separator!r}"
    if ids == asked:
        return ""
    known, given = set(asked), set(ids)
    parts = {
        "are missing": [id_ for id_ in asked if id_ not in given],
        "are not in the sample": [id_ for id_ in ids if id_ not in known],
        "appear more than once": [id_ for id_, count in Counter(ids).items() if count > 1],
    }
    found = ", ".join(counted(what, wrong) for what, wrong in parts.items() if wrong)
    return f"the ids must be the sample's, in its order. Of {len(ids):,}, {found or 'some are in another order'}"


def _cells_by_target(form: Form, table: Table) -> dict[str, list[str]]:
    """The written cells of each target, in the order of the images."""
    if form.long is None:
        return {name: table.column(name) for name in form.targets}
    values = dict(zip(form.long.pairs, table.column(form.long.column), strict=True))
    return {name: [values[id_, name] for id_ in form.ids] for name in form.targets}


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _check_numbers(form: Form, task: Task, cells: dict[str, list[str]]) -> list[str]:
    columns = [cells[name] for name in form.targets]
    try:
        values = np.array([list(map(float, column)) for column in columns]).T
    except ValueError:
        wrong = [cell for cell in dict.fromkeys(cell for column in columns for cell in column) if not _is_number(cell)]
        return [f"every value must be a number. {counted('are none', wrong)}"]
    if not np.isfinite(values).all():
        return ["every value must be finite"]
    if form.answer == "number":
        return []
    problems = []
    if (values < 0).any() or (values > 1).any():
        problems.append("probabilities must lie in [0, 1]")
    if form.answer == "columns" and _rows_sum_to_one(task) and (np.abs(values.sum(1) - 1) > 1e-6).any():
        problems.append("the probabilities of each row must sum to 1 within 1e-6")
    return problems


def write(path: Path, form: Form, task: Task, frames: Iterable[pd.DataFrame]) -> None:
    """Write a submission, some rows after the other, read it back, check it, and only then give it its name.

    Raises:
        InputError: it would be refused; no file of this name is left, an older one neither.
    """
    candidate = path.with_name(f".{path.name}.checking")
    try:
        with atomic_write(candidate) as stream:
            parts = _write_parts(stream, form, frames)
        problems = _check_parts(candidate, form, task, parts)
        if not problems:
            os.replace(candidate, path)
    except UnicodeEncodeError as error:
        problems = [f"its labels cannot be written in the sample's encoding: {error}"]
    finally:
        candidate.unlink(missing_ok=True)
    if problems:
        path.unlink(missing_ok=True)
        raise InputError(f"{path} is not written, the competition would refuse it: {'; '.join(problems)}")


def _write_parts(stream: IO[bytes], form: Form, frames: Iterable[pd.DataFrame]) -> list[tuple[int, int]]:
    """Write rows, some after the other; how many rows and bytes each part has, the first with the header."""
    encoder, header = codecs.getincrementalencoder(form.dialect.encoding)(), _header(form)
    parts: list[tuple[int, int]] = []
    for frame in frames:
        rows = _text(form, zip(*_as_written(form, frame), strict=True))
        parts.append((len(frame), stream.write(encoder.encode(rows if parts else header + rows))))
    return parts


def _check_parts(path: Path, form: Form, task: Task, parts: Sequence[tuple[int, int]]) -> list[str]:
    """Read a submission back, part by part as it was written: what is wrong with the first that would be refused."""
    decoder, header, start = codecs.getincrementaldecoder(form.dialect.encoding)(), _header(form), 0
    with path.open("rb") as stream:
        for number, (num_rows, num_bytes) in enumerate(parts):
            rows = decoder.decode(stream.read(num_bytes))
            table = parse_csv(path, header + rows if number else rows, form.dialect.encoding, like=form.dialect)
            stop = start + num_rows if number < len(parts) - 1 else None
            if problems := check(form.of_rows(slice(start, stop)), task, table):
                return problems
            start += num_rows
    return []


def _header(form: Form) -> str:
    return _text(form, [form.header or form.columns]) if form.dialect.has_header else ""


def _text(form: Form, rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(
        text,
        delimiter=form.dialect.separator,
        quoting=form.dialect.quoting,  # type: ignore[arg-type]
        lineterminator=form.dialect.newline,
    )
    writer.writerows(rows)
    return text.getvalue()


def _as_written(form: Form, frame: pd.DataFrame) -> list[list[Any]]:
    """The cells of each column as the sample writes them."""
    filled = form.targets if form.long is None else (form.long.column,)
    numeric = form.answer in ("columns", "probability", "number") and form.dialect.quoting == csv.QUOTE_NONNUMERIC
    columns: list[list[Any]] = []
    for name in frame:
        cells: list[Any] = frame[name].tolist()
        if writing := form.dialect.writings.get(str(name)):
            cells = [writing.write(cell) for cell in cells]
        elif numeric and name in filled:
            cells = [float(cell) for cell in cells]
        columns.append(cells)
    return columns
