"""Predictions on disk: parquet with ids and probabilities, joined by id and never by position."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.competition.answers.probs import Probs
from pipeline.competition.tables.csv_table import counted, duplicates
from pipeline.files import InputError, atomic_write

# Images of a table that are read at once.
BLOCK = 16_384


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


@dataclass(frozen=True)
class Stored:
    """Predictions in a file, read as they are asked for: of several models they may be more than memory holds.

    path: the file; made_by: the command that makes it, for messages; classes: their names.
    """

    path: Path
    made_by: str
    classes: tuple[str, ...]

    def read(self) -> Predictions:
        """Read all of them.

        Raises:
            InputError: the file is broken, or holds what no prediction may.
        """
        ids = self._ids()
        if problems := duplicates(str(self.path), ids):
            raise InputError("; ".join(problems))
        return Predictions(ids, self.classes, Probs.gathered(self._blocks(), len(ids)))

    def aligned(self, ids: list[str]) -> Probs:
        """Read what is said of these ids, in their order.

        Raises:
            InputError: the file is broken, or of other ids.
        """
        return self.read().aligned(ids, str(self.path), f"Delete it and run: {self.made_by}")

    def blocks_of(self, ids: list[str]) -> Iterator[Probs]:
        """Give what is said of these ids, in blocks of `BLOCK`: from the file where it has them in this order; else all
        of it is read, and joined by id.

        Raises:
            InputError: the file is broken, or of other ids.
        """
        if self._ids() == ids:
            yield from self._blocks()
        else:
            probs = self.aligned(ids)
            yield from (probs[start : start + BLOCK] for start in range(0, max(1, len(ids)), BLOCK))

    def _ids(self) -> list[str]:
        with _whole(self.path, self.made_by), pq.ParquetFile(self.path) as file:
            ids: list[str] = file.read(["id"])["id"].to_pylist()
            return ids

    def _blocks(self) -> Iterator[Probs]:
        """Give all rows in blocks; that some are not finite is known, and said, behind the last."""
        bad: list[str] = []
        with _whole(self.path, self.made_by), pq.ParquetFile(self.path) as file:
            for table in _in_blocks(file):
                probs = Probs.from_arrow(table, len(self.classes))
                bad += table["id"].filter(pa.array(~probs.are_finite())).to_pylist()
                yield probs
        if bad:
            raise InputError(
                f"{self.path}: {counted('images have values that are no finite numbers', bad)}. Delete "
                f"{self.path.parent} and train again with a lower train.lr"
            )


def stored_predictions(path: Path, made_by: str) -> Stored:
    """Look at a file of predictions, without reading them.

    Args:
        path: the file.
        made_by: the command that makes it, for the message.

    Raises:
        InputError: it is missing or broken.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist. It is made by: {made_by}")
    with _whole(path, made_by):
        return Stored(path, made_by, tuple(json.loads(pq.read_schema(path).metadata[b"classes"])))


def read_predictions(path: Path, made_by: str) -> Predictions:
    """Read predictions and check them: ids unique, values finite.

    Args:
        path: the file.
        made_by: the command that makes it, for the message.

    Raises:
        InputError: it is missing, broken, or holds what no prediction may.
    """
    return stored_predictions(path, made_by).read()


def _in_blocks(file: pq.ParquetFile) -> Iterator[pa.Table]:
    """Give the rows of a file in tables of `BLOCK`, whatever its row groups; one without rows where it has none."""
    rest = file.schema_arrow.empty_table()
    for batch in file.iter_batches(BLOCK):
        rest = pa.concat_tables([rest, pa.Table.from_batches([batch])])
        while len(rest) > BLOCK:
            yield rest[:BLOCK]
            rest = rest[BLOCK:]
    yield rest


@contextlib.contextmanager
def _whole(path: Path, made_by: str) -> Iterator[None]:
    """Say of a file that cannot be read what to do."""
    try:
        yield
    except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not whole ({error}). Delete it and run: {made_by}") from None
