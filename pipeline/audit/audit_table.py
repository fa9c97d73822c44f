"""The audit: a row for each image, what it is and whether it can be read."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.competition.tables.csv_table import counted
from pipeline.competition.tables.table import Samples
from pipeline.config import Config
from pipeline.files import InputError, atomic_write
from pipeline.images.cache import Images
from pipeline.log import log
from pipeline.paths import run_dir

AUDIT = ("split", "id", "path", "format", "mode", "width", "height", "bad", "sha256", "duplicates")
# Images that cannot be read are said by so many reasons, the commonest first.
_MOST_REASONS = 3


def write_audit(
    path: Path,
    samples: Mapping[str, Samples],
    images: Mapping[str, Images],
    duplicates: Mapping[str, Sequence[str]],
) -> None:
    """Write a row for each image.

    Args:
        path: the table.
        samples: by split, the images' ids and paths.
        images: by split, in their order, with all that is known of each file.
        duplicates: by split, the name of each image's group of versions of one image, "" for none.
    """
    with atomic_write(path, "w", encoding="utf-8", newline="") as stream:
        # Quoted, as paths may hold line ends.
        writer = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL)
        writer.writerow(AUDIT)
        for split, rows in samples.items():
            columns = (images[split].table[name].to_pylist() for name in AUDIT[3:-1])
            for row in zip(rows.ids, rows.paths, *columns, duplicates[split], strict=True):
                writer.writerow([split, *row])


def must_be_readable(cfg: Config, samples: Mapping[str, Samples], images: Mapping[str, Images]) -> None:
    """Say which images cannot be read, and why.

    Raises:
        InputError: some cannot, and `data.bad_images` is `error`.
    """
    by_reason: dict[str, list[str]] = {}
    for split in samples:
        for index, reason in images[split].bad.items():
            by_reason.setdefault(reason, []).append(samples[split].paths[index])
    if not by_reason:
        return
    reasons = sorted(by_reason, key=lambda reason: -len(by_reason[reason]))
    said = [f"{counted('images cannot be read', by_reason[reason])}: {reason}" for reason in reasons[:_MOST_REASONS]]
    more = sum(len(by_reason[reason]) for reason in reasons[_MOST_REASONS:])
    said += [f"{more:,} more for other reasons"] if more else []
    where = f"all are listed in {run_dir(cfg) / 'audit.csv'}"
    if cfg.data.bad_images == "error":
        raise InputError(
            f"{'; '.join(said)}; {where}. Mend them, or set data.bad_images = 'drop' to leave them out of training and "
            "give test images among them the class prior"
        )
    num_test = len(images["test"].bad)
    prior = f" but {num_test:,} test images, which get the class prior" if num_test else ""
    log.info("prepare: %s; left out%s; %s", "; ".join(said), prior, where)
