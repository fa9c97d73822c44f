"""Predictions on disk: parquet with ids and probabilities, joined by id and never by position."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.competition.answers.probs import Probs
from pipeline.competition.tables.csv_table import counted, duplicates
from pipeline.files import InputError, atomic_write


@dataclass(frozen=True)
class Predictions:
    """Ids of images, names of classes, and the probabilities (or numbers) of the images, float32."""

    ids: list[str]
    classes: tuple[str, ...]
    probs: Probs

    def aligned(self, ids: list[str], source: str, advice: str) -> Probs:
        """The probabilities of these ids, in their order; `source` and `advice` are for the message.

        Raises:
            InputError: ids that are not there, or others than these.
        """
        row = {id_: index for index, id_ in enumerate(self.ids)}
        wanted = set(ids)
        problems = []
        if missing := [id_ for id_ in ids if id_ not in row]:
            problems.append(counted("ids are missing", missing))
        if extra := [id_ for id_ in self.ids if id_ not in wanted]:
            problems.append(counted("ids are of no such image", extra))
        if problems:
            raise InputError(f"{source}: {'; '.join(problems)}. {advice}")
        return self.probs[np.array([row[id_] for id_ in ids], np.int64)]


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write `id` and the columns of the probabilities, see `Probs.to_arrow`; equal predictions are equal bytes."""
    table = pa.table({"id": pa.array(predictions.ids, pa.string()), **predictions.probs.to_arrow()})
    table = table.replace_schema_metadata({"classes": json.dumps(predictions.classes, ensure_ascii=False)})
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
        probs = Probs.from_arrow(table, len(classes))
    except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not whole ({error}). Delete it and run: {made_by}") from None
    problems = duplicates(str(path), ids)
    finite = probs.are_finite()
    if not finite.all():
        bad = [ids[index] for index in np.flatnonzero(~finite)]
        problems.append(
            f"{path}: {counted('images have values that are no finite numbers', bad)}. Delete {path.parent} and train "
            "again with a lower train.lr"
        )
    if problems:
        raise InputError("; ".join(problems))
    return Predictions(ids, classes, probs)
