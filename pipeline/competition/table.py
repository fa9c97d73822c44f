"""Train and test tables -> samples: ids, image paths, labels, groups."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from pipeline.competition.csv_table import duplicates, require_columns, some
from pipeline.competition.json_table import read_frame
from pipeline.competition.templates import fields, fill, from_paths, with_extensions
from pipeline.config import Config
from pipeline.files import InputError, inside


@dataclass(frozen=True)
class Samples:
    """The images of one part of a competition, a row each: train images in the order of their ids, test images in the
    table's. `labels` holds the label columns as text; it is empty for test images.
    """

    ids: list[str]
    paths: list[str]
    labels: pd.DataFrame
    groups: list[str] | None = None
    folds: list[str] | None = None

    @cached_property
    def row(self) -> dict[str, int]:
        """Where each id is."""
        return {id_: row for row, id_ in enumerate(self.ids)}

    def __len__(self) -> int:
        return len(self.ids)


def read_train(cfg: Config, *, files: bool = False) -> Samples:
    """The labelled images.

    Args:
        cfg: the settings.
        files: also check that every image file is there.

    Raises:
        InputError: one message with all that is missing or wrong, with counts and the first five.
    """
    data = cfg.data
    extra = [name for name in (data.group, cfg.folds.column) if name]
    source, frame = _table(cfg, data.train, "data.train")
    if list(frame.columns).count(data.id) == 1:
        # In the order of their ids, so that nothing depends on the order of the table's rows.
        frame = frame.sort_values(data.id, kind="stable").reset_index(drop=True)
    samples = _samples(cfg, source, frame, data.id, data.image, [*data.labels, *extra], files, "data.image")
    return Samples(
        samples.ids,
        samples.paths,
        frame[list(data.labels)].set_axis(pd.Index(samples.ids, name="id"), axis=0),
        _groups(samples.ids, [str(cell) for cell in frame[data.group]]) if data.group else None,
        [str(cell) for cell in frame[cfg.folds.column]] if cfg.folds.column else None,
    )


def _groups(ids: list[str], cells: list[str]) -> list[str]:
    """Groups by name; an image without one is a group of its own."""
    return [f"group {cell}" if cell else f"image {id_}" for id_, cell in zip(ids, cells, strict=True)]


def read_test(cfg: Config, *, files: bool = False) -> Samples:
    """The images to predict, in the test table's order; see `read_train`."""
    source, frame = _table(cfg, cfg.data.test, "data.test")
    return _samples(cfg, source, frame, test_id(cfg), cfg.data.test_image, [], files, "data.test_image")


def test_id(cfg: Config) -> str:
    """The id column of the test table and the sample submission."""
    return cfg.data.test_id or cfg.data.id


def _table(cfg: Config, name: str, setting: str) -> tuple[str, pd.DataFrame]:
    if not cfg.root.is_dir():
        raise InputError(f"data.root {cfg.data.root} is not a folder. Put the competition's files there")
    if "{" in name:
        return f"{setting} = {name!r}", from_paths(cfg.root, name)
    path = inside(cfg.root, name, setting)
    if not path.is_file():
        raise InputError(f"{setting}: {path} does not exist")
    return str(path), read_frame(path)


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
    problems = require_columns(source, frame, [id_column, *wanted, *fields(template)])
    if problems:
        raise InputError("; ".join(problems))
    if not len(frame):
        raise InputError(f"{source} must have at least one row. Got a header only")
    ids = [str(cell) for cell in frame[id_column]]
    paths = with_extensions(cfg.root, fill(template, frame))
    problems = duplicates(source, ids)
    if empty := [number for number, id_ in enumerate(ids, 1) if not id_]:
        problems.append(f"{source}: {some(f'rows have no id in column {id_column!r}', empty)}")
    for path in paths:
        inside(cfg.root, path, setting)
    if files and (missing := [path for path in paths if not (cfg.root / path).is_file()]):
        problems.append(
            f"{setting} = {template!r}: {some('images are missing', missing)} under {cfg.root}, of {len(paths)} in "
            f"{source}"
        )
    if problems:
        raise InputError("; ".join(problems))
    return Samples(ids, paths, pd.DataFrame(index=pd.Index(ids, name="id")))
