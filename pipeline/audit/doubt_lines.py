"""What must be known of labels in doubt, in lines; imports nothing heavy."""

from collections.abc import Mapping
from typing import Any

# Three times what was found wrong on average in ten well-known test sets, 3.3 % (Northcutt, Athalye and Mueller 2021,
# "Pervasive Label Errors in Test Sets Destabilize Machine Learning Benchmarks").
_USUAL = 0.1


def qualified(scores: Mapping[str, Any]) -> list[str]:
    """Say how far the doubts of a run can be trusted; nothing where nothing speaks against them.

    Args:
        scores: as scores.json holds them, with the counts of labels in doubt (`doubts`), judged (`judged`) and all
            (`labels`), which older ones do not have.
    """
    if not {"doubts", "judged", "labels"} <= set(scores):
        return []
    found, judged, labels, lines = scores["doubts"], scores["judged"], scores["labels"], []
    if judged < labels:
        lines.append(
            f"{labels - judged:,} of {labels:,} labels are not judged: no other fold has their class, or models take "
            "more of its images for another than for it, or know too little of all"
        )
    if found > _USUAL * judged:
        lines.append(
            f"{found / judged:.0%} of the labels that are judged are in doubt: so many are hardly wrong, most will be "
            "errors of the models"
        )
    return lines
