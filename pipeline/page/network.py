"""Sections on the network: where it looks, what its first layer answers to, what augmentation makes of images."""

from typing import Any

import numpy as np

from pipeline.engine.looks import augmented, first_filters, where_it_looks
from pipeline.engine.predictor import read_predictor
from pipeline.page.blocks import Block, Gallery, Section
from pipeline.page.facts import Facts
from pipeline.page.galleries import picture
from pipeline.page.pictures import heated, shown, tiled
from pipeline.paths import fold_dir

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


def _looks(facts: Facts) -> list[Block]:
    fold = next((name for name in facts.histories if name in facts.by_fold), None)
    path = fold_dir(facts.cfg, int(fold)) / "model.safetensors" if fold is not None else None
    if path is None or not path.is_file() or facts.images is None or fold is None:
        return []
    predictor = read_predictor(path)
    own = np.flatnonzero(np.isin(facts.indices, facts.by_fold[fold][0]) & facts.images.readable[facts.indices])
    right = facts.decided[own] == facts.targets[own]
    sure = facts.likeliest[1][own, 0]
    blocks: list[Block] = []
    for caption, is_right in (("right", True), ("wrong", False)):
        some = own[right == is_right]
        ordered = some[np.argsort(-sure[right == is_right], kind="stable")]
        # The surest of each class, before the second of any.
        firsts = np.sort(np.unique(facts.targets[ordered], return_index=True)[1])
        rows = np.concatenate([ordered[firsts], np.delete(ordered, firsts)])[:_NUM_LOOKS]
        if not len(rows):
            continue
        heat = where_it_looks(predictor, facts.images, facts.indices[rows], facts.decided[rows].astype(np.int64))
        if heat is None:
            break
        pixels = facts.images.gather(facts.indices[rows])
        looks = [
            shown(
                heated(own_pixels, own_heat),
                f"where the network looks in image {plain.lines[0]}",
                plain.lines,
            )
            for own_pixels, own_heat, plain in zip(
                pixels, heat, (picture(facts, int(row)) for row in rows), strict=True
            )
        ]
        blocks.append(Gallery(f"Where the model of fold {fold} looks: images that it gets {caption} (Grad-CAM)", looks))
    filters = first_filters(predictor)
    if filters is not None:
        sheet = shown(tiled(list(filters), 8), "filters of the first layer", side=_SHEET)
        blocks.append(Gallery("What its first layer answers to", [sheet], is_large=True))
    return blocks


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
