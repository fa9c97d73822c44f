"""Rows that are not one for each image, and flags that are not known: what is made of them, by a rule in words."""

from collections.abc import Sequence

import pandas as pd

from pipeline.competition.tables.csv_table import counted
from pipeline.config import Config

# What stands among flags of 0 and 1 where nobody has said whether a tag is there.
UNKNOWN_FLAGS = ("", "-1", "-1.0", "nan", "NaN")


def one_row_each(
    cfg: Config, source: str, frame: pd.DataFrame, id_column: str, needed: Sequence[str] = ()
) -> tuple[pd.DataFrame, list[str]]:
    """Leave exact copies of rows out; with `data.tag_separator` and one label column make the rows of an id that differ
    in their tag one row with all of them.

    Args:
        cfg: the settings.
        source: what to call the table in a message.
        frame: the table.
        id_column: its ids.
        needed: other columns that an image needs one cell of; none for test images, which have no tags.

    Returns:
        The table, and what was done in words.
    """
    columns, label = list(frame.columns), cfg.data.labels[0]
    if columns.count(id_column) != 1 or not frame[id_column].duplicated().any():
        return frame, []
    copies = frame.duplicated()
    notes = [f"{source}: {counted('rows are copies of others', list(frame[id_column][copies]))}, and left out"]
    notes, frame = notes if copies.any() else [], frame[~copies]
    with_tags = bool(needed) and cfg.data.tag_separator and len(cfg.data.labels) == 1 and columns.count(label) == 1
    own = [id_column, *(name for name in needed if name in columns and name != label)]
    first = frame.drop_duplicates(own)
    if not with_tags or len(first) == len(frame) or first[id_column].duplicated().any():
        return frame, notes
    tags = frame.groupby(id_column, sort=False)[label].agg(
        lambda cells: cfg.data.tag_separator.join(filter(None, cells))
    )
    notes.append(f"{source}: {len(frame):,} rows, each a tag of its image, are those of {len(first):,} images")
    return first.assign(**{label: first[id_column].map(tags)}), notes


def known_flags(cfg: Config, source: str, frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Leave out rows whose flags are not all known, where `data.unknown_flags` says so; and what was done in words."""
    labels = list(cfg.data.labels)
    if len(labels) == 1 or not set(labels) <= set(frame.columns):
        return frame, []
    unknown = frame[labels].isin(UNKNOWN_FLAGS)
    rows = unknown.any(axis=1)
    if not rows.any():
        return frame, []
    said = f"{source}: {int(unknown.to_numpy().sum()):,} cells of label columns, in {int(rows.sum()):,} rows, are -1 or"
    if cfg.data.unknown_flags == "drop":
        return frame[~rows], [f"{said} empty; these rows are left out"]
    way_out = "data.unknown_flags = 'drop' leaves these rows out"
    return frame, [f"{said} empty: these tags count as not there; {way_out}"]
