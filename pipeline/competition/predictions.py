"""Predictions on disk: parquet with ids and probabilities, joined by id and never by position."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.competition.csv_table import duplicates, some
from pipeline.files import InputError, atomic_write

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Predictions:
    """Probabilities (or numbers) of images: ids, class names, float32 (num_images, num_outputs)."""

    ids: list[str]
    classes: tuple[str, ...]
    probs: Array


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write `id` and one fixed-size-list column `probs`; equal predictions are equal bytes."""
    num_outputs = predictions.probs.shape[1]
    flat = np.ascontiguousarray(predictions.probs, dtype=np.float32).reshape(-1)
    table = pa.table(
        {
            "id": pa.array(predictions.ids, pa.string()),
            "probs": pa.FixedSizeListArray.from_arrays(pa.array(flat), num_outputs),
        }
    ).replace_schema_metadata({"classes": json.dumps(predictions.classes, ensure_ascii=False)})
    with atomic_write(path) as stream:
        pq.write_table(table, stream, row_group_size=65_536)


def read_predictions(path: Path, made_by: str) -> Predictions:
    """Read predictions and check them: ids unique, values finite.

    Args:
        path: the file.
        made_by: the command that makes it, for the message.

    Raises:
        InputError: it is missing, broken, or holds what no prediction may.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist. It is made by: {made_by}")
    try:
        table = pq.read_table(path)
        classes = tuple(json.loads(table.schema.metadata[b"classes"]))
        ids = table["id"].to_pylist()
        column = table["probs"].combine_chunks()
        probs = column.flatten().to_numpy(zero_copy_only=False).reshape(len(ids), column.type.list_size)
    except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not whole ({error}). Delete it and run: {made_by}") from None
    problems = duplicates(str(path), ids)
    if not np.isfinite(probs).all():
        bad = [ids[row] for row in np.flatnonzero(~np.isfinite(probs).all(1))]
        problems.append(f"{path}: {some('images have values that are no finite numbers', bad)}")
    if problems:
        raise InputError("; ".join(problems))
    return Predictions(ids, classes, probs)


def in_order(predictions: Predictions, ids: list[str], source: str, advice: str) -> Array:
    """The probabilities of these ids, in their order; `source` and `advice` are for the message.

    Raises:
        InputError: ids that are not there, or others than these.
    """
    row = {id_: number for number, id_ in enumerate(predictions.ids)}
    wanted = set(ids)
    problems = []
    if missing := [id_ for id_ in ids if id_ not in row]:
        problems.append(some("ids are missing", missing))
    if extra := [id_ for id_ in predictions.ids if id_ not in wanted]:
        problems.append(some("ids are of no such image", extra))
    if problems:
        raise InputError(f"{source}: {'; '.join(problems)}. {advice}")
    return predictions.probs[[row[id_] for id_ in ids]]
