"""Sections of images: those that models are most wrong about, least sure of, and whose labels may be wrong."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.page.blocks import Block, Gallery, Picture, Section, Text
from pipeline.page.facts import Facts, in_words
from pipeline.page.pictures import shown

Array = np.ndarray[Any, Any]

_MOST = 12
# Groups of versions of one image, and versions of each, that are shown.
_MOST_GROUPS = 8
_MOST_VERSIONS = 3


def images_section(facts: Facts) -> Section:
    """Images with their id, label and prediction."""
    blocks: list[Block] = []
    if not facts.is_scored or facts.images is None:
        return Section("images", "Images to look at", blocks)
    for caption, rows in _chosen(facts):
        if len(rows):
            blocks.append(Gallery(caption, [picture(facts, int(row)) for row in rows]))
    if facts.doubts:
        place = {id_: row for row, id_ in enumerate(facts.oof.ids)} if facts.oof else {}
        doubted = dict.fromkeys(place[doubt["id"]] for doubt in facts.doubts if doubt["id"] in place)
        caption = f"Labels that may be wrong, of {len(facts.doubts):,} in doubts.csv, the most doubtful first"
        blocks.append(Gallery(caption, [picture(facts, row) for row in list(doubted)[:_MOST]]))
    elif facts.scores.get("doubts") == 0:
        blocks.append(Text("No label is in doubt."))
    return Section("images", "Images to look at", blocks)


def versions_section(facts: Facts) -> Section:
    """Versions of one image, and pairs that are alike to the probe's network, side by side, with the part that each
    is of.
    """
    groups: dict[str, list[tuple[str, str]]] = {}
    for row in facts.audit:
        if row.get("duplicates"):
            groups.setdefault(row["duplicates"], []).append((row["split"], row["id"]))
    versions = [(*member, "") for own in list(groups.values())[:_MOST_GROUPS] for member in own[:_MOST_VERSIONS]]
    caption = f"Versions of one image stand together: {min(len(groups), _MOST_GROUPS):,} of {len(groups):,} groups"
    blocks: list[Block] = []
    if pictures := _of_parts(facts, versions):
        blocks.append(Gallery(caption, pictures))
    nearest = facts.alike[:_MOST_GROUPS]
    pairs = [
        (row[f"{which}split"], row[which_id], f"cosine: {row['cosine']}")
        for row in nearest
        for which, which_id in (("", "id"), ("other_", "other"))
    ]
    caption = (
        f"Alike to the network, maybe of one thing, two by two: {len(nearest):,} of {len(facts.alike):,} in alike.csv"
    )
    if pictures := _of_parts(facts, pairs):
        blocks.append(Gallery(caption, pictures))
    return Section("versions", "Images that are there more than once", blocks)


def _of_parts(facts: Facts, asked: Sequence[tuple[str, str, str]]) -> list[Picture]:
    """Pictures of images by split and id, those that are here, with a last line of their own, or "" for none."""
    pixels = {
        (split, id_): found
        for split in ("train", "test")
        for id_, found in facts.pixels_of(split, [id_ for part, id_, _ in asked if part == split]).items()
    }
    labels = facts.labels_by_id if pixels else {}
    return [
        shown(
            pixels[split, id_],
            f"{split} image {id_}",
            (
                id_,
                split,
                *([f"label: {labels[id_]}"] if split == "train" and id_ in labels else []),
                *([line] if line else []),
            ),
        )
        for split, id_, line in asked
        if (split, id_) in pixels
    ]


def _chosen(facts: Facts) -> list[tuple[str, Array]]:
    """Captions, and the rows of the images below them."""
    if facts.task.kind == "number":
        away = np.abs(facts.targets[:, 0] - facts.probs.array[:, 0])
        return [("Furthest from the truth", np.argsort(-away, kind="stable")[:_MOST])]
    if facts.task.kind == "multi":
        wrong = np.abs((facts.targets > 0) - facts.probs.array.astype(np.float64))
        return [("The most confident errors", np.argsort(-wrong.max(1), kind="stable")[:_MOST])]
    best, said = facts.likeliest
    wrong_rows = np.flatnonzero(best[:, 0] != facts.targets)
    errors = wrong_rows[np.argsort(-said[wrong_rows, 0], kind="stable")[:_MOST]]
    unsure = np.argsort(said[:, 0] - said[:, -1], kind="stable")[:_MOST]
    return [("The most confident errors", errors), ("The least sure", unsure)]


def picture(facts: Facts, row: int) -> Picture:
    """A train image with its id, its label, and what is said of it."""
    assert facts.images is not None and facts.oof is not None
    pixels = facts.images.gather(facts.indices[[row]])[0]
    id_, label = facts.oof.ids[row], in_words(facts.task, facts.targets[row])
    said = said_in_words(facts, row)
    return shown(pixels, f"image {id_}, label {label}", (id_, f"label: {label}", f"said: {said}"))


def said_in_words(facts: Facts, row: int) -> str:
    """What is said of an image."""
    if facts.task.kind == "number":
        return f"{facts.probs.array[row, 0]:.5g}"
    if facts.task.kind == "multi":
        order: Sequence[int] = np.argsort(-facts.probs.array[row])[:3].tolist()
        return ", ".join(f"{facts.task.classes[index]} {facts.probs.array[row, index]:.2f}" for index in order)
    best = facts.probs[row : row + 1].best(1)
    return f"{facts.task.classes[int(best[0, 0])]} {float(facts.probs[row : row + 1].at(best)[0, 0]):.2f}"
