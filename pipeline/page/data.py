"""Sections on the files: kinds, sizes, bad ones; and how folds and test images relate to the train images."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.audit.certificate_lines import lines_of
from pipeline.freshness import certificate_path
from pipeline.page import charts
from pipeline.page.blocks import Block, Cell, Chart, Section, Table, Text
from pipeline.page.facts import Facts, Row
from pipeline.stamps import note

_MOST = 20


def data_section(facts: Facts) -> Section:
    """What the images are, by part; those that cannot be read; those of odd sizes."""
    parts = {split: [row for row in facts.audit if row["split"] == split] for split in ("train", "test")}
    parts = {split: rows for split, rows in parts.items() if rows}
    if not parts:
        return Section("data", "Images")
    sizes = {
        split: [(int(row["width"]), int(row["height"])) for row in rows if not row["bad"]]
        for split, rows in parts.items()
    }
    rows: list[tuple[Cell, ...]] = []
    for split, own in parts.items():
        kinds = Counter(f"{row['format']} {row['mode']}" for row in own if not row["bad"])
        common = Counter(sizes[split]).most_common(1)
        size = f"{common[0][0][0]} x {common[0][0][1]} ({common[0][1] / len(own):.0%})" if common else None
        kind = ", ".join(f"{kind} {count:,}" for kind, count in kinds.most_common(4))
        rows.append((split, len(own), sum(bool(row["bad"]) for row in own), kind, len(set(sizes[split])), size))
    columns = ("part", "images", "cannot be read", "kinds", "sizes", "the commonest size")
    blocks: list[Block] = [Table("", columns, rows)]
    if any(len(set(own)) > 1 for own in sizes.values()):
        arrays = {split: np.array(own, float) for split, own in sizes.items() if own}
        sides = {split: own.max(1) for split, own in arrays.items()}
        aspects = {split: own[:, 0] / own[:, 1] for split, own in arrays.items()}
        blocks.append(Chart("Longer sides", charts.histogram(sides, "pixels"), "how longer sides are distributed"))
        blocks.append(Chart("Aspects", charts.histogram(aspects, "width / height"), "how aspects are distributed"))
    if bad := [(row["split"], row["path"], row["bad"]) for rows_ in parts.values() for row in rows_ if row["bad"]]:
        blocks.append(Table("Cannot be read", ("part", "file", "why"), bad[:_MOST]))
    if odd := _odd(parts):
        blocks.append(Table("Of odd sizes", ("part", "file", "width", "height"), odd))
    return Section("data", "Images", blocks)


def folds_section(facts: Facts) -> Section:
    """What each fold holds, and what lies in several: the certificate of the folds."""
    certificate = certificate_path(facts.cfg)
    contents = note(certificate, "contents")
    if not contents:
        return Section("folds", "Folds")
    lines = lines_of(certificate, are_dropped=facts.cfg.data.conflicts == "drop")
    blocks: list[Block] = [Text(line, is_warning=True) for line in lines]
    classes = [name for name in next(iter(contents.values())).get("classes", ())][:_MOST]
    means = any("mean" in own for own in contents.values())
    rows: list[tuple[Cell, ...]] = [
        (f"fold {fold}", own["images"], *([own["mean"]] if means else []), *(own["classes"][name] for name in classes))
        for fold, own in contents.items()
    ]
    blocks.append(Table("", ("fold", "images", *(["mean"] if means else []), *classes), rows))
    if not lines:
        blocks.append(
            Text("No group lies in several folds, nor do versions of one image; no two have different labels.")
        )
    return Section("folds", "Folds", blocks)


def shift_section(facts: Facts) -> Section:
    """How well test images are told from train images, and by what."""
    blocks: list[Block] = []
    if facts.shifts:
        rows = {f"by {shift['by']}": (shift["auc"], shift["low"], shift["high"]) for shift in facts.shifts}
        caption = "AUC of a classifier that tells them apart: 0.5 says that nothing does"
        blocks.append(Chart(caption, charts.dots(rows, "ROC AUC"), "how well test images are told from train images"))
        table: list[tuple[Cell, ...]] = [(name, *values) for name, values in rows.items()]
        alone = [(name, auc) for shift in facts.shifts for name, auc in shift["by_feature"].items()]
        table += [(name, auc, None, None) for name, auc in sorted(alone, key=lambda item: -item[1])]
        blocks.append(Table("", ("by what", "AUC", "95 % from", "to"), table))
    return Section("shift", "Test against train images", blocks)


def _odd(parts: Mapping[str, Sequence[Row]]) -> list[tuple[Cell, ...]]:
    """Images whose area or aspect is far from what is usual: by more than a factor of 4 from the median of all."""
    rows = [row for own in parts.values() for row in own if not row["bad"]]
    sides = np.array([(int(row["width"]), int(row["height"])) for row in rows], float)
    if not len(sides):
        return []
    measures = np.log(np.stack([sides.prod(1), sides[:, 0] / sides[:, 1]], 1))
    away = np.abs(measures - np.median(measures, axis=0)).max(1)
    order = np.argsort(-away, kind="stable")[:_MOST]
    return [
        (rows[index]["split"], rows[index]["path"], int(rows[index]["width"]), int(rows[index]["height"]))
        for index in order
        if away[index] > np.log(4)
    ]
