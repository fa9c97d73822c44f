"""Probabilities of images: of all classes or, where there are many, of each image's likeliest alone.

Twenty thousand classes and a million images would be 80 GB. What is not kept counts as 0; equal probabilities are in
the order of the classes, as where all are kept.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy import sparse

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]
Bools = npt.NDArray[np.bool_]

# Images that are sorted, or whose mean over models is taken where the likeliest are kept, at once.
_BLOCK = 4096


@dataclass(frozen=True, eq=False)
class Probs:
    """Probabilities (or numbers) of images, a row each: all, made by `dense`, or the likeliest alone, made by `top`."""

    # An array (num_images, num_outputs), or scipy's csr_array of this shape, which has no types yet.
    _rows: Any

    @classmethod
    def dense(cls, values: Floats) -> "Probs":
        """All of them: float (num_images, num_outputs)."""
        return cls(values)

    @classmethod
    def top(cls, values: Floats, classes: Ints, num_classes: int) -> "Probs":
        """The likeliest alone.

        Args:
            values: float32 (num_images, num_kept).
            classes: int (num_images, num_kept), the class of each; where a class is there twice, its first value
                counts.
            num_classes: how many classes there are.
        """
        order = np.argsort(classes, axis=1, kind="stable")
        values, classes = np.take_along_axis(values, order, 1), np.take_along_axis(classes, order, 1)
        first = np.ones(classes.shape, np.bool_)
        first[:, 1:] = classes[:, 1:] != classes[:, :-1]
        bounds = np.concatenate([[0], first.sum(1).cumsum()])
        flat = values[first].astype(np.float32), classes[first].astype(np.int32), bounds
        return cls(sparse.csr_array(flat, shape=(len(values), num_classes)))

    @classmethod
    def stack(cls, parts: Sequence["Probs"]) -> "Probs":
        """Rows below rows; all parts are of one kind."""
        if _all_dense(parts):
            return cls.dense(np.concatenate([part.array for part in parts]))
        return cls(sparse.csr_array(sparse.vstack([part._rows for part in parts], format="csr")))

    @classmethod
    def gathered(cls, blocks: Iterable["Probs"], num_images: int) -> "Probs":
        """Rows below rows of blocks that come one after the other: of dense ones none is held twice.

        Args:
            blocks: all of one kind, at least one.
            num_images: of all of them.
        """
        blocks = iter(blocks)
        first = next(blocks)
        if not first.is_dense:
            return cls.stack([first, *blocks])
        rows, stop = np.empty((num_images, first.num_outputs), first.array.dtype), len(first)
        rows[:stop] = first.array
        for block in blocks:
            start, stop = stop, stop + len(block)
            rows[start:stop] = block.array
        assert stop == num_images, "the blocks are of all images"
        return cls.dense(rows)

    @classmethod
    def mean(cls, parts: Sequence["Probs"], keep: int, shares: Sequence[float] = ()) -> "Probs":
        """The mean over models, taken in float64, as float32; all parts are of one kind.

        Args:
            parts: of each model, for the same images.
            keep: how many classes of each image are kept where the parts have the likeliest alone.
            shares: of each in the mean, 1 in all; by default equal ones.
        """
        if _all_dense(parts):
            return cls.dense(_mean([part.array for part in parts], shares).astype(np.float32))
        blocks = []
        for start in range(0, len(parts[0]), _BLOCK):
            block = cls(sparse.csr_array(_mean([part._rows[start : start + _BLOCK] for part in parts], shares)))
            classes = block.best(keep)
            blocks.append(cls.top(block.at(classes), classes, block.num_outputs))
        return cls.stack(blocks)

    @classmethod
    def from_arrow(cls, table: pa.Table, num_classes: int) -> "Probs":
        """From the columns that `to_arrow` gives.

        Raises:
            KeyError, ValueError: they are not there, or do not fit each other.
        """
        column = table["probs"].combine_chunks()
        values = column.flatten().to_numpy(zero_copy_only=False)
        if "kept" not in table.column_names:
            return cls.dense(values.reshape(len(table), column.type.list_size))
        kept = table["kept"].combine_chunks()
        bounds = np.concatenate([[0], kept.value_lengths().to_numpy(zero_copy_only=False).cumsum()])
        return cls(sparse.csr_array((values, kept.flatten().to_numpy(), bounds), shape=(len(table), num_classes)))

    def to_arrow(self) -> dict[str, pa.Array]:
        """The columns of a file: `probs`, a fixed-size list of float32 for each image.

        Of the likeliest alone, `kept` and `probs` are lists of any length: whose the probabilities are, and they.
        """
        if self.is_dense:
            flat = np.ascontiguousarray(self.array, dtype=np.float32).reshape(-1)
            return {"probs": pa.FixedSizeListArray.from_arrays(pa.array(flat), self.num_outputs)}
        bounds = pa.array(self._rows.indptr.astype(np.int32))
        classes, values = self._rows.indices.astype(np.int32), self._rows.data.astype(np.float32)
        return {
            "kept": pa.ListArray.from_arrays(bounds, pa.array(classes)),
            "probs": pa.ListArray.from_arrays(bounds, pa.array(values)),
        }

    def __len__(self) -> int:
        """The number of images."""
        return int(self._rows.shape[0])

    def __getitem__(self, rows: slice | Ints | Bools) -> "Probs":
        """Some images' alone, or in another order."""
        return Probs(self._rows[rows])

    @property
    def num_outputs(self) -> int:
        """The number of classes; 1 for numbers."""
        return int(self._rows.shape[1])

    @property
    def is_dense(self) -> bool:
        """Whether those of all classes are here, not of the likeliest alone."""
        return not sparse.issparse(self._rows)

    @property
    def array(self) -> Floats:
        """All of them, float (num_images, num_outputs), as they were given."""
        assert self.is_dense, "of many classes the likeliest alone are kept: `full` fills in the others"
        values: Floats = self._rows
        return values

    def are_finite(self) -> Bools:
        """Whether every value of an image is a finite number: (num_images,)."""
        if self.is_dense:
            return np.asarray(np.isfinite(self.array).all(1))
        bad = np.flatnonzero(~np.isfinite(self._rows.data))
        finite = np.ones(len(self), np.bool_)
        finite[np.searchsorted(self._rows.indptr, bad, "right") - 1] = False
        return finite

    def full(self) -> npt.NDArray[np.float64]:
        """Those of all classes, float64; what the kept ones leave of 1 is spread evenly over the others."""
        if self.is_dense:
            return self.array.astype(np.float64)
        values = self._rows.toarray().astype(np.float64)
        num_left = values.shape[1] - (values > 0).sum(1)
        share = np.clip(1 - values.sum(1), 0, None) / np.maximum(num_left, 1)
        return np.where(values > 0, values, share[:, None])

    def by_class(self) -> Iterator[Floats]:
        """Each class's probabilities, float (num_images,), one class after the other."""
        if self.is_dense:
            yield from self.array.T
        else:
            columns = self._rows.tocsc()
            for index in range(self.num_outputs):
                yield columns[:, [index]].toarray()[:, 0]

    def expected(self, values: Floats) -> npt.NDArray[np.float64]:
        """The mean of the classes' values (num_outputs,) by the probabilities of each image: float64 (num_images,)."""
        rows = self._rows.astype(np.float64)
        return np.asarray(rows @ values / rows.sum(1))

    def best(self, top: int) -> npt.NDArray[np.int64]:
        """The `top` likeliest classes, int64 (num_images, top), likeliest first; of equals the first."""
        if self.is_dense:
            if top == 1:  # the same without sorting
                return self.array.argmax(1)[:, None]
            blocks = (self.array[start : start + _BLOCK] for start in range(0, max(1, len(self)), _BLOCK))
            return np.concatenate([np.argsort(-block, axis=1, kind="stable")[:, :top].copy() for block in blocks])
        top = min(top, self.num_outputs)
        counts = np.diff(self._rows.indptr)
        rows = np.repeat(np.arange(len(self)), counts)
        order = np.lexsort((self._rows.indices, -self._rows.data, rows))
        place = np.arange(len(rows)) - np.repeat(self._rows.indptr[:-1], counts)
        wanted = place < top
        found = np.empty((len(self), top), np.int64)
        found[rows[wanted], place[wanted]] = self._rows.indices[order][wanted]
        few = np.flatnonzero(counts < top)
        if len(few):
            # Fewer are kept than asked for: behind them the first of the others, which all count as 0.
            behind = np.arange(top) - counts[few, None]
            others = np.take_along_axis(_first_not_kept(self._rows[few], top), np.maximum(behind, 0), 1)
            found[few] = np.where(behind < 0, found[few], others)
        return found

    def at(self, classes: Ints) -> Floats:
        """The probabilities of some classes of each image: classes int (num_images,) or (num_images, count)."""
        columns = classes if classes.ndim == 2 else classes[:, None]
        if self.is_dense:
            values = np.take_along_axis(self.array, columns, 1)
        else:
            rows = np.repeat(np.arange(len(columns)), columns.shape[1])
            values = np.asarray(self._rows[rows, columns.reshape(-1)]).reshape(columns.shape)
        return values if classes.ndim == 2 else values[:, 0]

    def places(self, classes: Ints) -> npt.NDArray[np.int64]:
        """How many classes stand before one class of each image: int64 (num_images,); ties as in `best`."""
        own = self.at(classes)
        if self.is_dense:
            earlier = (self.array == own[:, None]) & (np.arange(self.num_outputs) < classes[:, None])
            return np.asarray(((self.array > own[:, None]) | earlier).sum(1))
        values, kept = self._rows.data, self._rows.indices
        rows = np.repeat(np.arange(len(self)), np.diff(self._rows.indptr))
        before = (values > own[rows]) | ((values == own[rows]) & (kept < classes[rows]))
        counts = np.bincount(rows, before, len(self)).astype(np.int64)
        # Where the class is not kept, it stands behind the others of probability 0 that come before it.
        num_kept = np.bincount(rows, kept < classes[rows], len(self)).astype(np.int64)
        return counts + np.where(own == 0, classes - num_kept, 0)

    def filled(self, prior: Floats, usable: Bools, keep: int) -> "Probs":
        """Those of all images, where these are of the usable ones: the others get the prior.

        Args:
            prior: float32 (num_outputs,), the shares of the train classes.
            usable: (num_images,), whose rows these are, in their order.
            keep: how many classes an image without a row of its own keeps where these are the likeliest alone: the
                largest of the prior, of equals the first.
        """
        if self.is_dense:
            rows = np.tile(prior, (len(usable), 1))
            rows[usable] = self.array
            return Probs.dense(rows)
        classes = np.argsort(-prior, kind="stable")[None, :keep]
        one = Probs.top(prior[classes], classes, self.num_outputs)
        index = np.full(len(usable), len(self))
        index[usable] = np.arange(len(self))
        return Probs.stack([self, one])[index]


def _all_dense(parts: Sequence[Probs]) -> bool:
    kinds = {part.is_dense for part in parts}
    assert len(kinds) == 1, "of all images the likeliest alone are kept, or of none"
    return kinds.pop()


def _mean(parts: Sequence[Any], shares: Sequence[float]) -> Any:
    """The mean of arrays, or of csr_arrays, in float64."""
    if shares:
        return sum(share * part.astype(np.float64) for share, part in zip(shares, parts, strict=True))
    return sum(part.astype(np.float64) for part in parts) / len(parts)


def _first_not_kept(rows: Any, num: int) -> npt.NDArray[np.int64]:
    """The first classes of each row of a csr_array that are not in it, int64 (num_images, num), as if no class were
    the last.
    """
    rows.sort_indices()
    counts = np.diff(rows.indptr)
    # How many that are not kept stand before each that is.
    before = rows.indices - (np.arange(rows.nnz) - np.repeat(rows.indptr[:-1], counts))
    flat = np.repeat(np.arange(len(counts)), counts) * num + before
    num_kept = np.bincount(flat[before < num], minlength=len(counts) * num).reshape(len(counts), num).cumsum(1)
    return np.arange(num) + num_kept
