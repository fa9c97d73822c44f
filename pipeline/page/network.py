"""Sections on the network: where it looks, what its first layer answers to, what augmentation makes of images."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.competition.answers.decide import decide
from pipeline.competition.answers.probs import Probs
from pipeline.competition.answers.scoring import fitted
from pipeline.engine.looks import augmented, first_filters, where_it_looks
from pipeline.engine.predictor import Predictor, read_predictor
from pipeline.page.blocks import Block, Gallery, Picture, Section
from pipeline.page.facts import Facts
from pipeline.page.galleries import lines_of
from pipeline.page.pictures import heated, shown, tiled
from pipeline.paths import fold_dir
from pipeline.scores.measure import said_of

Array = np.ndarray[Any, Any]

_NUM_LOOKS = 4
_NUM_AUGMENTED = 9
_NUM_EPOCHS = 3
# Side of what holds several images, in pixels.
_SHEET = 300


def network_section(facts: Facts) -> Section:
    """Grad-CAM of right and wrong images of the first trained fold, its first filters, nine augmented images."""
    blocks: list[Block] = []
    if facts.labelled is not None and facts.images is not None:
        blocks += _looks(facts) if facts.is_scored and facts.task.kind in ("single", "ordinal") else []
        blocks += _augmented(facts)
    return Section("network", "Network and augmentation", blocks)


@dataclass(frozen=True)
class _Said:
    """What the model of one fold says, alone, of the images that it has not seen.

    indices: int64 (num_images,), of those that can be read; probs: of them; decided: int64 (num_images,), as the score
    of the networks alone decides; is_cut: whether that cuts the expected grade.
    """

    fold: int
    indices: Array
    probs: Probs
    decided: Array
    is_cut: bool


def _said_by_one(facts: Facts) -> _Said | None:
    """What the first model says whose predictions are here; None where none are."""
    assert facts.labelled is not None and facts.images is not None
    whole = [
        int(fold)
        for fold in facts.histories
        if fold in facts.by_fold
        and all((fold_dir(facts.cfg, fold) / name).is_file() for name in ("model.safetensors", "oof.parquet"))
    ]
    if not whole:
        return None
    # Cuts are found on what the other models say.
    said = said_of(facts.cfg, facts.labelled, whole if facts.is_cut else whole[:1])
    decision = fitted(facts.task, facts.labelled.targets, said, str(whole[0]))
    indices, probs = said[str(whole[0])]
    readable = facts.images.readable[indices]
    probs = probs[readable]
    decided = decide(facts.task, probs, decision).astype(np.int64)
    return _Said(whole[0], indices[readable], probs, decided, bool(decision.cuts))


def _looks(facts: Facts) -> list[Block]:
    said = _said_by_one(facts)
    if said is None:
        return []
    predictor = read_predictor(fold_dir(facts.cfg, said.fold) / "model.safetensors")
    blocks: list[Block] = []
    for caption, is_right in (("right", True), ("wrong", False)):
        looks = _heated(facts, predictor, said, is_right=is_right)
        if looks:
            caption = f"Where the model of fold {said.fold} looks: images that it alone gets {caption} (Grad-CAM)"
            blocks.append(Gallery(caption, looks))
    filters = first_filters(predictor)
    if filters is not None:
        sheet = shown(tiled(list(filters), 8), "filters of the first layer", side=_SHEET)
        blocks.append(Gallery("What its first layer answers to", [sheet], is_large=True))
    return blocks


def _heated(facts: Facts, predictor: Predictor, said: _Said, *, is_right: bool) -> list[Picture]:
    """A few images that a model gets right, or wrong, under what it looks at; none where that is not known."""
    assert facts.labelled is not None and facts.images is not None
    targets = facts.labelled.targets[said.indices]
    some = np.flatnonzero((said.decided == targets) == is_right)
    ordered = some[np.argsort(-said.probs.at(said.decided)[some], kind="stable")]
    # The surest of each class, before the second of any.
    firsts = np.sort(np.unique(targets[ordered], return_index=True)[1])
    rows = np.concatenate([ordered[firsts], np.delete(ordered, firsts)])[:_NUM_LOOKS]
    indices = said.indices[rows]
    heat = where_it_looks(predictor, facts.images, indices, said.decided[rows]) if len(rows) else None
    if heat is None:
        return []
    pixels, ids = facts.images.gather(indices), facts.labelled.ids(indices)
    return [
        shown(
            heated(pixels[place], heat[place]),
            f"where the network looks in image {id_}",
            lines_of(facts.task, id_, targets[row], said.decided[row], said.probs[row : row + 1], is_cut=said.is_cut),
        )
        for place, (id_, row) in enumerate(zip(ids, rows, strict=True))
    ]


def _augmented(facts: Facts) -> list[Block]:
    assert facts.labelled is not None and facts.images is not None
    if facts.cfg.augment.albumentations:
        return []
    usable = np.flatnonzero(facts.images.readable)
    chosen = usable[np.linspace(0, len(usable) - 1, min(len(usable), _NUM_AUGMENTED)).astype(np.int64)]
    ids = facts.labelled.samples.ids
    seen = augmented(facts.cfg, facts.images, chosen, ids, _NUM_EPOCHS)
    plain = facts.images.gather(chosen)
    sheets = [
        shown(
            tiled([_as_large(plain[place], seen), *seen[:, place]], 4),
            f"augmented image {ids[index]}",
            (ids[index],),
            _SHEET,
        )
        for place, index in enumerate(chosen)
    ]
    return [Gallery("What training sees of nine images: as they are, then in three epochs", sheets, is_large=True)]


def _as_large(pixels: Array, seen: Array) -> Array:
    """An image in the size in which others are seen, by its nearest pixels."""
    height, width = seen.shape[2:4]
    rows = (np.arange(height) * pixels.shape[0] // height)[:, None]
    return pixels[rows, np.arange(width) * pixels.shape[1] // width]
