"""A JSON description of images as a table of text cells: COCO's lists of images and annotations, or one list.

COCO data format (cocodataset.org): an annotation names its image by the image's id, and its category. Other names of
the lists and keys are recognised by what refers to what.
"""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.competition.tables.cells import BETWEEN
from pipeline.competition.tables.csv_table import read_csv
from pipeline.competition.tables.other_tables import LISTS, READERS, read_list
from pipeline.files import InputError


def read_frame(path: Path, encoding: str = "", tag_separator: str = "", *, headerless: bool = False) -> pd.DataFrame:
    """Read a table as text cells, by the file's extension: csv, json, xlsx, parquet, JSON lines, or a list (txt).

    Args:
        path: the file.
        encoding: of a csv or a list, see `encoding`.
        tag_separator: of a csv, as `read_csv` takes it.
        headerless: a csv's first line is a row.

    Raises:
        InputError: it cannot be read, or a json holds no list of records.
    """
    suffix = path.suffix.lower()
    if suffix == ".json":
        return read_json(path)
    if suffix in LISTS:
        return read_list(path, encoding)
    if suffix in READERS:
        return READERS[suffix](path)
    frame = read_csv(path, encoding, tag_separator, headerless=headerless).frame
    # A space behind each separator is no part of the cells.
    spaced = [name for name in frame if frame.columns.tolist().count(name) == 1 and _begin_with_a_space(frame[name])]
    return frame.assign(**{name: frame[name].str.removeprefix(" ") for name in spaced}) if spaced else frame


def read_json(path: Path) -> pd.DataFrame:
    """Read the images of a JSON file, a row each, every cell as text.

    Where another list refers to the images, its columns are joined to them (of several rows for an image the first).
    Lists of four numbers (boxes) become four columns, lists of texts cells as those of a csv, other nested values are
    left out.

    Raises:
        InputError: it is not JSON in UTF-8, or holds no list of records.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{path} must be JSON in UTF-8. Got: {error}") from None
    lists = value if isinstance(value, dict) else {"": value}
    frames = {name: _frame(records) for name, records in lists.items() if _are_records(records)}
    if not frames:
        raise InputError(f"{path} must hold a list of images. Got no list of records")
    main = max(frames, key=lambda name: (_has_files(frames[name]), len(frames[name])))
    images = frames[main]
    for name, frame in frames.items():
        id_ = _key(images)
        link = next((column for column in frame if name != main and id_ and _refers(frame[column], images[id_])), None)
        if link is not None:
            notes = frame.drop_duplicates(link).set_index(link)
            notes = notes[[column for column in notes if column not in images]]
            return images.join(notes, on=id_, how="inner").reset_index(drop=True)
    return images


def _begin_with_a_space(cells: "pd.Series[str]") -> bool:
    return len(cells) > 0 and bool(cells.str.startswith(" ").all())


def _are_records(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(isinstance(record, dict) for record in value)


def _frame(records: list[dict[str, Any]]) -> pd.DataFrame:
    rows: list[dict[str, str]] = []
    for record in records:
        row: dict[str, str] = {}
        for key, value in record.items():
            if isinstance(value, list) and len(value) == 4 and all(isinstance(item, (int, float)) for item in value):
                row |= {f"{key}_{place}": str(item) for place, item in enumerate(value)}
            elif isinstance(value, list) and value and all(isinstance(item, str) for item in value):
                row[key] = BETWEEN.join(value)
            elif not isinstance(value, (dict, list)):
                row[key] = "" if value is None else str(value)
        rows.append(row)
    return pd.DataFrame(rows, dtype=str).fillna("")


def _key(frame: pd.DataFrame) -> str | None:
    """Find the column that names the rows: `id`, else the first without empty or repeated cells that says so."""
    named = [column for column in frame if "id" in str(column).lower() and frame[column].is_unique]
    return "id" if "id" in named else next(iter(named), None)


def _refers(cells: "pd.Series[str]", ids: "pd.Series[str]") -> bool:
    """Whether cells are ids of another list, and of many of its rows: small numbers are ids of anything."""
    distinct = set(cells)
    return distinct <= set(ids) and 2 * len(distinct) > len(ids)


def _has_files(frame: pd.DataFrame) -> bool:
    """Whether a column holds names of files."""
    return any(frame[column].str.contains(r"\.[A-Za-z0-9]{2,4}$").all() for column in frame)
