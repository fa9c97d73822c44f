"""Train and test tables -> samples: ids, image paths, labels, groups."""

import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.competition.tables.conflicts import conflicting, duplicates_of
from pipeline.competition.tables.csv_table import counted, duplicates, require_columns
from pipeline.competition.tables.json_table import read_frame
from pipeline.competition.tables.long_table import is_long, widen
from pipeline.competition.tables.other_case import in_other_case
from pipeline.competition.tables.rows import known_flags, one_row_each
from pipeline.competition.tables.templates import fields, paths_from_rows, resolve_wildcards, rows_from_paths
from pipeline.config import Config
from pipeline.files import InputError, inside, is_file
from pipeline.paths import data_dir
from pipeline.quoting import shown


@dataclass(frozen=True)
class Samples:
    """The images of one split of a competition, a row each: train images in the order of their ids, test images in the
    table's. `labels` holds the label columns as text; it is empty for test images. `boxes` are what images are cropped
    to: `left top right bottom` in pixels. `notes` say what was made of rows that are not one for each image, or lack
    flags.
    """

    ids: list[str]
    paths: list[str]
    labels: pd.DataFrame
    boxes: list[str] | None = None
    groups: list[str] | None = None
    folds: list[str] | None = None
    notes: tuple[str, ...] = ()

    @property
    def keys(self) -> list[str]:
        """What the cache knows the images by: the path; with a box the path, NUL (no path has one) and the box."""
        if self.boxes is None:
            return self.paths
        return [f"{path}\0{box}" for path, box in zip(self.paths, self.boxes, strict=True)]

    def __len__(self) -> int:
        return len(self.ids)

    def without(self, is_left_out: "np.ndarray[Any, Any]") -> "Samples":
        """Leave some images out: bool (num_images,)."""
        rows = np.flatnonzero(~is_left_out).tolist()

        def some(cells: list[str] | None) -> list[str] | None:
            return None if cells is None else [cells[row] for row in rows]

        return replace(
            self,
            ids=[self.ids[row] for row in rows],
            paths=[self.paths[row] for row in rows],
            labels=self.labels.iloc[rows],
            boxes=some(self.boxes),
            groups=some(self.groups),
            folds=some(self.folds),
        )


def read_train(cfg: Config, *, files: bool = False) -> Samples:
    """Read the labelled images to train on: without conflicts, where `data.conflicts` says so; see `read_all_train`."""
    samples = read_all_train(cfg, files=files)
    return samples if cfg.data.conflicts == "keep" else without_conflicts(cfg, samples, duplicates_of(cfg, samples.ids))


def without_conflicts(cfg: Config, samples: Samples, duplicates: Mapping[str, str]) -> Samples:
    """Leave out versions of one image whose labels differ, where `data.conflicts` says so.

    Args:
        cfg: the settings.
        samples: the train images.
        duplicates: as `conflicts.duplicates_of` gives them.
    """
    if cfg.data.conflicts == "keep":
        return samples
    return samples.without(conflicting(samples.labels, duplicates, cfg.data.tag_separator))


def read_all_train(cfg: Config, *, files: bool = False) -> Samples:
    """Read every labelled image.

    Args:
        cfg: the settings.
        files: also check that every image file is there.

    Raises:
        InputError: one message with all that is missing or wrong, with counts and the first five.
    """
    data = cfg.data
    # Templates may fit both: an image that is to be predicted is no train image.
    without = set(read_test(cfg).paths) if "{" in data.train else ()
    source, frame = _read_table(cfg, data.train, "data.train", without)
    if data.split:
        frame = frame[~_of_test(source, frame, data.split)]
    if data.bad_images == "drop" and len(data.labels) == 1 and list(frame.columns).count(data.labels[0]) == 1:
        # With tags an empty cell is an answer.
        frame = frame if data.tag_separator else frame[frame[data.labels[0]] != ""]
    elsewhere = ":" in data.group and data.group not in frame.columns
    extra = [name for name in ("" if elsewhere else data.group, cfg.folds.column) if name]
    wanted = [*data.labels, *extra]
    frame, notes = one_row_each(cfg, source, frame, data.id, [*fields(data.image), *extra, *data.box])
    frame, unknown = known_flags(cfg, source, frame)
    if list(frame.columns).count(data.id) == 1:
        # In the order of their ids, so that nothing depends on the order of the table's rows.
        frame = frame.sort_values(data.id, kind="stable").reset_index(drop=True)
    samples = _samples(cfg, source, frame, data.id, data.image, wanted, files, "data.image")
    return Samples(
        samples.ids,
        samples.paths,
        _labels(cfg, source, frame).set_axis(pd.Index(samples.ids, name="id"), axis=0),
        samples.boxes,
        _groups(samples.ids, _group_cells(cfg, frame, samples.ids)) if data.group else _of_one_image(samples.paths),
        [str(cell) for cell in frame[cfg.folds.column]] if cfg.folds.column else None,
        (*notes, *unknown),
    )


def _labels(cfg: Config, source: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Take the label columns; with `data.negative`, that label as 0 and every other as 1."""
    labels = frame[list(cfg.data.labels)]
    if cfg.data.label_pattern:
        labels = labels.map(lambda cell: label_within(cell, cfg.data.label_pattern))
        if not (labels != "").to_numpy().any():
            raise InputError(f"{source}: data.label_pattern = {cfg.data.label_pattern!r} finds no label in any cell")
    negative = cfg.data.negative
    if not negative:
        return labels
    if len(cfg.data.labels) > 1 or not (labels == negative).to_numpy().any():
        found = dict.fromkeys(str(cell) for cell in labels.iloc[:, 0])
        raise InputError(
            f"data.negative must be one of the labels in one column. Got {negative!r}; {source} has "
            f"{counted('labels', list(found))}"
        )
    return (labels != negative).astype(int).astype(str)


def label_within(cell: str, pattern: str) -> str:
    """Find the label in a cell by `data.label_pattern`: its first group, or all that it fits; "" where it does not."""
    match = re.search(pattern, cell)
    return "" if match is None else match[1 if match.re.groups else 0]


def _of_one_image(paths: list[str]) -> list[str] | None:
    """Group the rows of one image, such as its boxes, which must share a fold; None where each has its own."""
    return [f"image {path}" for path in paths] if len(set(paths)) < len(paths) else None


def _group_cells(cfg: Config, frame: pd.DataFrame, ids: list[str]) -> list[str]:
    """Take the column of groups; with `TABLE:COLUMN` that of another table, by the ids."""
    if cfg.data.group in frame.columns:
        return [str(cell) for cell in frame[cfg.data.group]]
    name, _, column = cfg.data.group.rpartition(":")
    path = inside(data_dir(cfg), name, "data.group")
    if not path.is_file():
        raise InputError(f"data.group must be a column, or TABLE:COLUMN. {path} does not exist")
    other = wide_frame(cfg, path)
    if problems := require_columns(str(path), other, [cfg.data.id, column]):
        raise InputError("; ".join(problems))
    groups = dict(zip(map(str, other[cfg.data.id]), map(str, other[column]), strict=True))
    return [groups.get(id_, "") for id_ in ids]


def _groups(ids: list[str], cells: list[str]) -> list[str]:
    """Group images by name; an image without one is a group of its own."""
    return [f"group {cell}" if cell else f"image {id_}" for id_, cell in zip(ids, cells, strict=True)]


def read_test(cfg: Config, *, files: bool = False) -> Samples:
    """Read the images to predict, in the test table's order; see `read_train`."""
    source, frame = _read_table(cfg, cfg.data.test, "data.test")
    if cfg.data.split and cfg.data.test == cfg.data.train:
        frame = frame[_of_test(source, frame, cfg.data.split)]
    frame, notes = one_row_each(cfg, source, frame, test_id(cfg))
    frame = frame.reset_index(drop=True)
    samples = _samples(cfg, source, frame, test_id(cfg), cfg.data.test_image, [], files, "data.test_image")
    return replace(samples, notes=tuple(notes))


def _of_test(source: str, frame: pd.DataFrame, column: str) -> "pd.Series[bool]":
    """Mark the rows of a table of both splits that are to be predicted.

    Raises:
        InputError: it has no such column, or no row of either split.
    """
    if problems := require_columns(source, frame, [column]):
        raise InputError("; ".join(problems))
    marked = frame[column].map(is_test)
    if marked.all() or not marked.any():
        raise InputError(
            f"{source}: data.split = {column!r} must begin with test in some rows and not in others. Got "
            f"{counted('values', list(dict.fromkeys(frame[column])))}"
        )
    return marked


def is_test(cell: str) -> bool:
    """Whether a cell of `data.split` says that its row is to be predicted."""
    return cell.strip().casefold().startswith("test")


def test_id(cfg: Config) -> str:
    """Name the id column of the test table and the sample submission."""
    return cfg.data.test_id or cfg.data.id


def _read_table(cfg: Config, name: str, setting: str, without: Container[str] = ()) -> tuple[str, pd.DataFrame]:
    if not cfg.root.is_dir():
        raise InputError(f"data.root {cfg.data.root} is not a folder. Put the competition's files there")
    if "{" in name:
        return f"{setting} = {name!r}", rows_from_paths(data_dir(cfg), name, without)
    path = inside(data_dir(cfg), name, setting)
    if not path.is_file():
        raise InputError(f"{setting}: {path} does not exist")
    return str(path), wide_frame(cfg, path)


def frame_of(cfg: Config, path: Path) -> pd.DataFrame:
    """Read a table as text cells, by what the settings say of its encoding, cells and header."""
    headerless = any(path == data_dir(cfg) / name for name in cfg.data.headerless)
    return read_frame(path, cfg.data.encoding, cfg.data.tag_separator, headerless=headerless)


def wide_frame(cfg: Config, path: Path) -> pd.DataFrame:
    """Read a table with a row for each image: as it is, or by `data.rows` from a row for each image and class."""
    frame = frame_of(cfg, path)
    id_column = next((name for name in (test_id(cfg), cfg.data.id) if name in frame.columns), "")
    ids = [str(cell) for cell in frame[id_column]] if cfg.data.rows and id_column else []
    if not ids or not is_long(ids, cfg.data.rows, cfg.data.labels):
        return frame
    return widen(frame, id_column, cfg.data.rows, cfg.data.labels, str(path))


def _samples(
    cfg: Config,
    source: str,
    frame: pd.DataFrame,
    id_column: str,
    template: str,
    wanted: Sequence[str],
    files: bool,
    setting: str,
) -> Samples:
    problems = require_columns(source, frame, [id_column, *wanted, *fields(template), *cfg.data.box])
    if problems:
        own = "data.id, data.labels" if wanted else "data.test_id"
        raise InputError(f"{'; '.join(problems)}. Set {own} or {setting} to those that are meant")
    if not len(frame):
        raise InputError(f"{source} must have at least one row. Got a header only")
    ids = [str(cell) for cell in frame[id_column]]
    root = data_dir(cfg)
    paths = resolve_wildcards(root, paths_from_rows(template, frame))
    problems = duplicates(source, ids)
    if problems and wanted and not cfg.data.tag_separator:
        problems[0] += "; where each row is a tag of its image, set data.tag_separator to what is to stand between two"
    if empty := [number for number, id_ in enumerate(ids, 1) if not id_]:
        problems.append(f"{source}: {counted(f'rows have no id in column {shown(id_column)}', empty)}")
    for path in paths:
        inside(root, path, setting)
    paths = in_other_case(root, paths) if cfg.data.any_case else paths
    missing = [path for path in paths if not is_file(root / path)] if files else []
    if missing and (cfg.data.bad_images == "error" or len(missing) == len(paths)):
        way_out = (
            "; set data.bad_images = 'drop' to leave them out of training and give test images among them the class "
            "prior"
        )
        problems.append(
            f"{setting} = {template!r}: {counted('images are missing', missing)} under {cfg.root}, of {len(paths)} in "
            f"{source}{way_out if len(missing) < len(paths) else ''}"
        )
    if problems:
        raise InputError("; ".join(problems))
    boxes = _boxes(cfg, source, frame, ids) if cfg.data.box else None
    return Samples(ids, paths, pd.DataFrame(index=pd.Index(ids, name="id")), boxes)


def _boxes(cfg: Config, source: str, frame: pd.DataFrame, ids: list[str]) -> list[str]:
    """Read the boxes of a table's rows, to whole pixels.

    Raises:
        InputError: cells that are no numbers, or boxes without an area.
    """
    sides = frame[list(cfg.data.box)].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64, copy=True)
    if cfg.data.box_has_size:
        sides[:, 2:] += sides[:, :2]
    whole = np.nan_to_num(np.round(sides), nan=0.0, posinf=0.0, neginf=0.0).astype(np.int64)
    if wrong := [ids[row] for row in np.flatnonzero((whole[:, 2:] <= whole[:, :2]).any(1))]:
        raise InputError(
            f"{source}: data.box must name columns of numbers, left < right and top < bottom. "
            f"{counted('rows have others', wrong)}; set data.box_has_size where the last two are width and height"
        )
    return [f"{left} {top} {right} {bottom}" for left, top, right, bottom in whole.tolist()]
