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
from pipeline.competition.tables.image_list import must_name_rows, read_names
from pipeline.competition.tables.json_table import read_frame
from pipeline.competition.tables.long_table import is_long, widen
from pipeline.competition.tables.other_case import in_other_case
from pipeline.competition.tables.rows import known_flags, one_row_each
from pipeline.competition.tables.rows_by_id import rows_by_id
from pipeline.competition.tables.templates import fields, paths_from_rows, resolve_wildcards, rows_from_paths
from pipeline.config import Config
from pipeline.files import InputError, inside, is_file
from pipeline.paths import data_dir
from pipeline.quoting import cut, shown
from pipeline.roots import is_address


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
    """Read the labelled images to train on: without conflicts, where `data.conflicts` says so.

    Args:
        cfg: the settings.
        files: also check that every image file is there.

    Raises:
        InputError: one message with all that is missing or wrong, with counts and the first five.
    """
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
    parts = [_read_labelled(cfg, table, image, files) for table, image in cfg.data.labelled]
    ids = [id_ for _, samples in parts for id_ in samples.ids]
    if problems := duplicates(" and ".join(table for table, _ in cfg.data.labelled), ids):
        raise InputError("; ".join(problems))
    frame = pd.concat([frame for frame, _ in parts], ignore_index=True)
    paths = [path for _, samples in parts for path in samples.paths]
    return Samples(
        ids,
        paths,
        _labels(cfg, frame).set_axis(pd.Index(ids, name="id"), axis=0),
        [box for _, samples in parts for box in samples.boxes or ()] if cfg.data.box else None,
        _groups(ids, _group_cells(cfg, frame)) if cfg.data.group else _of_one_image(paths),
        [str(cell) for cell in frame[cfg.folds.column]] if cfg.folds.column else None,
        tuple(note for _, samples in parts for note in samples.notes),
    )


def _read_labelled(cfg: Config, table: str, image: str, files: bool) -> tuple[pd.DataFrame, Samples]:
    """Read one labelled table: the columns that train images need, and the images, in the order of their ids."""
    data, is_train = cfg.data, table == cfg.data.train
    setting, image_setting = ("data.train", "data.image") if is_train else ("data.extra", "data.extra")
    # Templates may fit both: an image that is to be predicted is no train image.
    without = set(read_test(cfg).paths) if "{" in table and not (is_train and _is_of_both(cfg)) else ()
    source, frame = _read_table(cfg, table, setting, without)
    notes: list[str] = []
    if data.split and is_train:
        of_test = _of_test(cfg, source, frame, image)
        count = f"{int(of_test.sum()):,} of {len(frame):,} rows"
        notes = [f"{source}: {count} are to be predicted by data.split = {data.split!r}, and not trained on"]
        frame = frame[~of_test]
    if data.bad_images == "drop" and len(data.labels) == 1 and list(frame.columns).count(data.labels[0]) == 1:
        # With tags an empty cell is an answer.
        frame = frame if data.tag_separator else frame[frame[data.labels[0]] != ""]
    group = data.group if ":" not in data.group or data.group in frame.columns else ""
    if group and not is_train and group not in frame.columns:
        frame = frame.assign(**{group: ""})
    extra = [name for name in (group, cfg.folds.column) if name]
    wanted = [*data.labels, *extra]
    # An extra table's ids may be those of other train rows; a file is known by its path.
    id_column = "path" if "{" in table and not is_train else data.id
    frame, made_one = one_row_each(cfg, source, frame, id_column, [*fields(image), *extra, *data.box])
    frame, unknown = known_flags(cfg, source, frame)
    notes += [*made_one, *unknown]
    if list(frame.columns).count(id_column) == 1:
        # In the order of their ids, so that nothing depends on the order of the table's rows.
        frame = frame.sort_values(id_column, kind="stable").reset_index(drop=True)
    samples = _samples(cfg, source, frame, id_column, image, wanted, files, image_setting)
    ids = samples.ids if is_train or "{" in table else [f"{table}:{id_}" for id_ in samples.ids]
    needed = frame[list(dict.fromkeys(wanted))].assign(**{data.id: samples.ids})
    return needed, replace(samples, ids=ids, notes=tuple(notes))


def _labels(cfg: Config, frame: pd.DataFrame) -> pd.DataFrame:
    """Take the label columns; with `data.negative`, that label as 0 and every other as 1."""
    source = " and ".join(table for table, _ in cfg.data.labelled)
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


def _group_cells(cfg: Config, frame: pd.DataFrame) -> list[str]:
    """Take the column of groups; with `TABLE:COLUMN` that of another table, by the ids, see `rows_by_id`."""
    if cfg.data.group in frame.columns:
        return [str(cell) for cell in frame[cfg.data.group]]
    name, _, column = cfg.data.group.rpartition(":")
    path = inside(data_dir(cfg), name, "data.group")
    if not path.is_file():
        raise InputError(f"data.group must be a column, or TABLE:COLUMN. {path} does not exist")
    other = wide_frame(cfg, path)
    if problems := require_columns(str(path), other, [column]):
        raise InputError("; ".join(problems))
    names = [str(name) for name in other.columns]
    columns = {name: [str(cell) for cell in other[name]] for name in names if names.count(name) == 1}
    ids = [str(id_) for id_ in frame[cfg.data.id]]
    key, rows = rows_by_id(columns, ids, cfg.data.id)
    if not key and cfg.data.id not in columns:
        have = ", ".join(map(cut, names[:20]))
        raise InputError(f"{path} must have a column of ids, such as {', '.join(map(shown, ids[:1]))}. It has: {have}")
    return ["" if row is None else columns[column][row] for row in rows]


def _groups(ids: list[str], cells: list[str]) -> list[str]:
    """Group images by name; an image without one is a group of its own."""
    return [f"group {cell}" if cell else f"image {id_}" for id_, cell in zip(ids, cells, strict=True)]


def read_test(cfg: Config, *, files: bool = False) -> Samples:
    """Read the images to predict, in the test table's order; see `read_train`."""
    source, frame = _read_table(cfg, cfg.data.test, "data.test")
    if _is_of_both(cfg):
        frame = frame[_of_test(cfg, source, frame, cfg.data.test_image)]
    frame, notes = one_row_each(cfg, source, frame, test_id(cfg))
    frame = frame.reset_index(drop=True)
    samples = _samples(cfg, source, frame, test_id(cfg), cfg.data.test_image, [], files, "data.test_image")
    return replace(samples, notes=tuple(notes))


def _is_of_both(cfg: Config) -> bool:
    """Whether train and test rows stand in one table."""
    return bool(cfg.data.split) and cfg.data.test == cfg.data.train


def _of_test(cfg: Config, source: str, frame: pd.DataFrame, image: str) -> "pd.Series[bool]":
    """Mark the rows of a table of both splits that are to be predicted: by a column, or by a list of their images.

    Raises:
        InputError: there is no such column or list, or no row of either split.
    """
    split = cfg.data.split
    path = inside(data_dir(cfg), split, "data.split")
    if split not in frame.columns and path.is_file():
        if problems := require_columns(source, frame, fields(image)):
            raise InputError("; ".join(problems))
        paths = resolve_wildcards(data_dir(cfg), paths_from_rows(image, frame))
        paths = in_other_case(data_dir(cfg), paths) if cfg.data.any_case else paths
        rows = must_name_rows(str(path), read_names(path, cfg.data.encoding), paths)
        return pd.Series([row in rows for row in range(len(frame))], index=frame.index)
    if problems := require_columns(source, frame, [split]):
        raise InputError("; ".join(problems))
    marked = frame[split].map(is_test)
    if marked.all() or not marked.any():
        raise InputError(
            f"{source}: data.split = {split!r} must begin with test in some rows and not in others. Got "
            f"{counted('values', list(dict.fromkeys(frame[split])))}"
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
        if is_address(cfg.data.root):
            raise InputError(
                f"the files of data.root {cfg.data.root} must be copied first: python -m pipeline.prepare {cfg.options}"
            )
        raise InputError(f"data.root {cfg.data.root} is not a folder. Put the competition's files there")
    if "{" in name:
        return f"{setting} = {name!r}", rows_from_paths(data_dir(cfg), name, without)
    path = inside(data_dir(cfg), name, setting)
    if not path.is_file():
        raise InputError(f"{setting}: {path} does not exist")
    return str(path), wide_frame(cfg, path)


def frame_of(cfg: Config, path: Path) -> pd.DataFrame:
    """Read a table as text cells, by what the settings say of its encoding, cells and header."""
    return read_frame(path, cfg.data.encoding, cfg.data.tag_separator, headerless=is_headerless(cfg, path))


def is_headerless(cfg: Config, path: Path) -> bool:
    """Whether a table's first line is a row, by the settings."""
    return any(path == data_dir(cfg) / name for name in cfg.data.headerless)


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
