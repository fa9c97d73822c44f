"""Which columns of a sample submission are to be filled; what else stands in it is copied."""

from collections.abc import Sequence

import pandas as pd

# What stands in a sample's cell where no answer is given.
_NO_ANSWER = {"", "nan", "null", "none", "na", "n/a", "?", "-"}


def targets_of(
    sample: pd.DataFrame, id_column: str, test: pd.DataFrame | None = None, labels: Sequence[str] = ()
) -> list[str]:
    """List the columns to fill: all but the id and those that are copied.

    Copied are an unnamed column (an index that was written too), one that says in every row another text that is no
    number (a path), and one that stands in the test table with the same cells.

    Args:
        sample: the sample submission, cells as text.
        id_column: its id column.
        test: the test table, where it is another one.
        labels: the train table's label columns; where any of them is to be filled, other columns are not.
    """
    columns = [name for name in map(str, sample.columns) if name != id_column]
    asked = [name for name in columns if name in labels]
    filled = [name for name in columns if not _is_copied(sample, id_column, name, test)]
    # Answers may all differ, or stand in the test table too: where nothing else is to be filled, they are.
    return asked or filled or [name for name in columns if not _is_unnamed(name)]


def gives_an_answer(cell: str) -> bool:
    """Whether a sample's cell holds an answer, not a sign that there is none."""
    return cell.strip().casefold() not in _NO_ANSWER


def _is_unnamed(name: str) -> bool:
    return not name or name.startswith("Unnamed:")


def _is_copied(sample: pd.DataFrame, id_column: str, name: str, test: pd.DataFrame | None) -> bool:
    if _is_unnamed(name):
        return True
    cells = sample[name]
    if not isinstance(cells, pd.Series):
        return False  # two columns of this name, which is an error elsewhere
    if len(cells) > 2 and cells.is_unique and pd.to_numeric(cells, errors="coerce").isna().all():
        return True
    if test is None or not {name, id_column} <= set(map(str, test.columns)) or not cells.map(gives_an_answer).any():
        return False
    known = dict(zip(test[id_column].astype(str), test[name].astype(str), strict=True))
    return all(known.get(str(id_)) == str(cell) for id_, cell in zip(sample[id_column], cells, strict=True))
