"""Predictions on disk: parquet with ids and probabilities, joined by id and never by position."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import sparse

from pipeline.competition.answers.likeliest import Probs
from pipeline.competition.tables.csv_table import counted, duplicates
from pipeline.files import InputError, atomic_write

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Predictions:
    """Probabilities (or numbers) of images: ids, class names, float32 (num_images, num_outputs); of many classes the
    likeliest alone.
    """

    ids: list[str]
    classes: tuple[str, ...]
    probs: Probs


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write `id` and one fixed-size-list column `probs`; equal predictions are equal bytes.

    Of many classes, `probs` and `kept` are lists of any length: the probabilities that are kept, and whose they are.
    """
    probs = predictions.probs
    columns: dict[str, pa.Array] = {"id": pa.array(predictions.ids, pa.string())}
    if sparse.issparse(probs):
        bounds = pa.array(probs.indptr.astype(np.int32))
        columns["kept"] = pa.ListArray.from_arrays(bounds, pa.array(probs.indices.astype(np.int32)))
        columns["probs"] = pa.ListArray.from_arrays(bounds, pa.array(probs.data.astype(np.float32)))
    else:
        flat = np.ascontiguousarray(probs, dtype=np.float32).reshape(-1)
        columns["probs"] = pa.FixedSizeListArray.from_arrays(pa.array(flat), probs.shape[1])
    table = pa.table(columns).replace_schema_metadata({"classes": json.dumps(predictions.classes, ensure_ascii=False)})
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
        values = column.flatten().to_numpy(zero_copy_only=False)
        probs: Probs
        if "kept" in table.column_names:
            kept = table["kept"].combine_chunks()
            bounds = np.concatenate([[0], kept.value_lengths().to_numpy(zero_copy_only=False).cumsum()])
            probs = sparse.csr_array((values, kept.flatten().to_numpy(), bounds), shape=(len(ids), len(classes)))
        else:
            probs = values.reshape(len(ids), column.type.list_size)
    except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not whole ({error}). Delete it and run: {made_by}") from None
    problems = duplicates(str(path), ids)
    if not np.isfinite(values).all():
        known = probs.sum(1) if sparse.issparse(probs) else probs.sum(1, dtype=np.float64)
        bad = [ids[row] for row in np.flatnonzero(~np.isfinite(known))]
        problems.append(
            f"{path}: {counted('images have values that are no finite numbers', bad)}. Delete {path.parent} and train "
            "again with a lower train.lr"
        )
    if problems:
        raise InputError("; ".join(problems))
    return Predictions(ids, classes, probs)


def in_order(predictions: Predictions, ids: list[str], source: str, advice: str) -> Probs:
    """The probabilities of these ids, in their order; `source` and `advice` are for the message.

    Raises:
        InputError: ids that are not there, or others than these.
    """
    row = {id_: number for number, id_ in enumerate(predictions.ids)}
    wanted = set(ids)
    problems = []
    if missing := [id_ for id_ in ids if id_ not in row]:
        problems.append(counted("ids are missing", missing))
    if extra := [id_ for id_ in predictions.ids if id_ not in wanted]:
        problems.append(counted("ids are of no such image", extra))
    if problems:
        raise InputError(f"{source}: {'; '.join(problems)}. {advice}")
    return predictions.probs[np.array([row[id_] for id_ in ids], np.int64)]
