"""What the folds' certificate says that is not as it should be, in lines; imports nothing heavy."""

from collections.abc import Collection
from pathlib import Path

from pipeline.quoting import cut
from pipeline.stamps import note


def lines_of(certificate: Path, *, are_dropped: bool) -> list[str]:
    """Say what is not as it should be, in a line each; nothing where all is.

    Args:
        certificate: its path.
        are_dropped: whether versions of one image with different labels are left out.
    """
    said = []
    conflicts = note(certificate, "conflicts") or {}
    num_images = sum(map(len, conflicts.values()))
    # Where most images are such, labels tell the versions apart: something faint was added to them.
    if conflicts and 2 * num_images <= sum(fold["images"] for fold in note(certificate, "contents").values()):
        way_out = "they are left out" if are_dropped else "data.conflicts = 'drop' leaves them out"
        said.append(
            f"{num_images:,} train images, versions of {len(conflicts):,}, have different labels "
            f"({_first(conflicts)}); {way_out}"
        )
    for name, what in (("groups", "groups"), ("duplicates", "images with several versions")):
        split = note(certificate, name)
        if split and split["across"]:
            said.append(
                f"{split['across']:,} {what} lie in several folds, {split['images']:,} images "
                f"({_first(split['named'])}): the CV score may be too good"
            )
    return said


def _first(names: Collection[str]) -> str:
    """The first few of some names."""
    return ", ".join(map(cut, list(names)[:3])) + (", ..." if len(names) > 3 else "")
