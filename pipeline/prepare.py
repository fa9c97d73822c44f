"""tables, images, archives -> output/cache/... (unpacked, every image decoded once), output/<run>/audit.csv."""

import csv
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.cli import log, run_stage
from pipeline.config import Config
from pipeline.files import InputError, atomic_write, cache_dir, lock, run_dir
from pipeline.freshness import prepare_stamp, prepared_from, unprepared, write_stamp

if TYPE_CHECKING:
    from pipeline.competition.table import Samples
    from pipeline.images.cache import Images

AUDIT = ("part", "id", "path", "format", "mode", "width", "height", "bad")


def prepare(cfg: Config) -> None:
    """Decode what is not decoded yet and list every image, bad ones first of all.

    Raises:
        InputError: files are missing, or some cannot be read and `data.bad_images` is `error`.
    """
    from pipeline.competition.opened import open_folder

    open_folder(cfg.root, cfg.data.unpack_limit)
    stamp = prepare_stamp(cfg)
    if unprepared(cfg) is None:
        log.info("prepare: up to date")
        return
    from pipeline.competition.table import read_test, read_train
    from pipeline.images.fill import fill

    with lock(run_dir(cfg) / "prepare.lock", f"the audit of {cfg.name}"):
        samples = {"train": read_train(cfg, files=True), "test": read_test(cfg, files=True)}
        _announce(cfg, sum(len(part) for part in samples.values()))
        images = {part: fill(cfg, part, samples[part].keys) for part in samples}
        _write_audit(cfg, samples, images)
        _refuse_bad(cfg, samples, images)
        identity = {part: images[part].identity(range(len(images[part])), samples[part].ids) for part in samples}
        shards = {name: size for part in images.values() for name, size in part.files().items()}
        paths = [path for part in samples.values() for path in part.paths]
        write_stamp(stamp, prepared_from(cfg, paths), [run_dir(cfg) / "audit.csv"], shards=shards, **identity)


def _announce(cfg: Config, num_images: int) -> None:
    """Say how much will be on the disk before it is written."""
    size = num_images * cfg.image.stored**2 * cfg.image.channels
    folder = cache_dir(cfg, "train").parent
    log.info("prepare: %s images, %s of pixels in %s", f"{num_images:,}", _megabytes(size), folder)


def _megabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _write_audit(cfg: Config, samples: "dict[str, Samples]", images: "dict[str, Images]") -> None:
    with atomic_write(run_dir(cfg) / "audit.csv", "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(AUDIT)
        for part, rows in samples.items():
            columns = (images[part].table[name].to_pylist() for name in AUDIT[3:])
            for row in zip(rows.ids, rows.paths, *columns, strict=True):
                writer.writerow([part, *row])


def _refuse_bad(cfg: Config, samples: "dict[str, Samples]", images: "dict[str, Images]") -> None:
    bad = [
        f"{samples[part].paths[number]} ({reason})" for part in samples for number, reason in images[part].bad.items()
    ]
    if not bad:
        return
    from pipeline.competition.csv_table import some

    where = f"all are listed in {run_dir(cfg) / 'audit.csv'}"
    if cfg.data.bad_images == "error":
        raise InputError(
            f"{some('images cannot be read', bad)}; {where}. Mend them, or set data.bad_images = 'drop' to leave them "
            "out of training and give test images among them the class prior"
        )
    log.info("prepare: %s, left out; %s", some("images cannot be read", bad), where)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage."""
    return run_stage("prepare", __doc__ or "", lambda cfg, fold: prepare(cfg), argv)


if __name__ == "__main__":
    sys.exit(main())
