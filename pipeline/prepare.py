"""tables, images, archives -> output/cache/... (copied, unpacked, every image decoded once), output/<run>/audit.csv.

Where there are trained models and none of the images that they were trained on, as on another machine, the test images
alone are prepared: the stages after it then need nothing else.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.cli import run_stage
from pipeline.config import Config
from pipeline.files import InputError, inside, lock
from pipeline.freshness import audited, prepared_from, read_inputs, train_stamp, unprepared
from pipeline.log import log
from pipeline.paths import all_folds, data_dir, decoding_path, known_duplicates, prepare_stamp, run_dir
from pipeline.processes import team
from pipeline.roots import is_address
from pipeline.stamps import made_from, note, write_stamp


def prepare_together(cfg: Config) -> None:
    """Prepare the images; of several processes the first does, and all of them decode."""
    if team().size == 1:
        prepare(cfg)
        return
    from pipeline.images.fill import decoded, help_decode

    if team().is_first:
        prepare(cfg)
        decoded()
    else:
        help_decode(cfg)


def prepare(cfg: Config) -> None:
    """Decode what is not decoded yet and list every image, bad ones first of all.

    Raises:
        InputError: files are missing, or some cannot be read and `data.bad_images` is `error`.
    """
    from pipeline.competition.archives.opened import open_folder

    if is_address(cfg.data.root):
        from pipeline.competition.remote.copies import copy_root

        copy_root(cfg.data.root)
    open_folder(cfg.root, cfg.data.unpack_limit)
    stamp = prepare_stamp(cfg)
    if unprepared(cfg) is None and read_inputs(cfg).has_train:
        log.info("prepare: up to date")
        return
    from pipeline.audit.audit_table import must_be_readable, write_audit
    from pipeline.audit.duplicates import find_duplicates
    from pipeline.audit.plain_features import find_plain_shift
    from pipeline.audit.shift import tell_shift
    from pipeline.competition.tables.table import read_all_train, read_test
    from pipeline.images.cache import cache_dir
    from pipeline.images.decoding import Decoding, write_decoding
    from pipeline.images.fill import decode_missing
    from pipeline.images.grey import choose_range

    with lock(run_dir(cfg) / "prepare.lock", f"the audit of {cfg.name}", ("audit.csv", "prepare.json")):
        # What is changed while it is read counts as changed since.
        tables = prepared_from(cfg, ())["tables"]
        samples = {"test": read_test(cfg, files=True)}
        if _trained_folds(cfg) and not _train_images_are_here(cfg):
            log.info("prepare: the models are here and their train images are not; test images alone are prepared")
        else:
            samples = {"train": read_all_train(cfg, files=True), **samples}
        for note_ in (note_ for split in samples.values() for note_ in split.notes):
            log.info("prepare: %s", note_)
        made_of = prepared_from(cfg, [path for split in samples.values() for path in split.paths]) | {"tables": tables}
        grey = choose_range(cfg, data_dir(cfg), samples["train"].paths if "train" in samples else ())
        if not grey.is_full:
            log.info(
                "prepare: of the 65,536 values of 16-bit images the train images use %s to %s, which become 0 to 255, "
                "in test images too",
                f"{grey.low:,}",
                f"{grey.high:,}",
            )
        _announce(cfg, sum(len(split) for split in samples.values()), cache_dir(cfg, "train", grey).parent)
        decodings = {split: Decoding() for split in samples}
        images = {split: decode_missing(cfg, split, samples[split].keys, grey, decodings[split]) for split in samples}
        write_decoding(decoding_path(cfg), decodings)
        before = _identities(cfg)
        folders = {split: cache_dir(cfg, split, grey) for split in samples}
        duplicates = find_duplicates(images, {split: samples[split].ids for split in samples}, folders)
        write_audit(run_dir(cfg) / "audit.csv", samples, images, duplicates.names)
        must_be_readable(cfg, samples, images)
        if "train" in images:
            shift = find_plain_shift(images["train"], images["test"], cfg.folds.seed)
            tell_shift(shift, run_dir(cfg) / "shift.json", "prepare", "sizes, bytes and colours")
        identity = {split: images[split].identity(range(len(images[split])), samples[split].ids) for split in samples}
        shards = {name: size for split in images for name, size in images[split].files(folders[split]).items()}
        _tell_changes(cfg, identity.get("train"), before)
        if said := duplicates.describe():
            log.info("prepare: %s (column duplicates of %s)", said, run_dir(cfg) / "audit.csv")
        # Without train images the folds stay those that were made with them.
        known = {"duplicates": duplicates.identity if "train" in samples else known_duplicates(cfg)}
        write_stamp(stamp, made_of, [run_dir(cfg) / "audit.csv"], shards=shards, **identity, **grey.notes, **known)


def _trained_folds(cfg: Config) -> list[int | str]:
    return [fold for fold in all_folds(cfg) if train_stamp(cfg, fold).is_file()]


def _train_images_are_here(cfg: Config) -> bool:
    """Whether any of them is; a table that cannot be read is an error of its own."""
    from pipeline.competition.tables.table import read_all_train

    root, data = data_dir(cfg), made_from(prepare_stamp(cfg)).get("data", {})
    asked = {"train": cfg.data.train, "extra": [*cfg.data.extra], "image": cfg.data.image}
    if any(data.get(key, value) != value for key, value in asked.items()):
        return True  # a setting was changed: what it does not find is missing
    if "{" not in cfg.data.train:
        if not inside(root, cfg.data.train, "data.train").is_file():
            return False
        return any((root / path).is_file() for path in read_all_train(cfg).paths)
    try:
        return len(read_all_train(cfg)) > 0
    except InputError:  # no file fits the template
        return False


def _identities(cfg: Config) -> dict[str, str]:
    """The hash of each train image that the audit lists, by its path."""
    return {path: sha256 for split, path, sha256 in audited(cfg, "split", "path", "sha256") if split == "train"}


def _tell_changes(cfg: Config, identity: str | None, before: dict[str, str]) -> None:
    """Say which train images are others than those that this run's models were trained with."""
    known = note(prepare_stamp(cfg), "train")
    if identity is None or known is None or identity == known:
        return
    from pipeline.competition.tables.csv_table import counted

    now = _identities(cfg)
    changed = [path for path in now if before.get(path, now[path]) != now[path]]
    seen = [fold for fold in _trained_folds(cfg) if made_from(train_stamp(cfg, fold)).get("train images") == known]
    if changed:
        models = f"; models that saw the old ones: {', '.join(map(str, seen))}" if seen else ""
        log.info("prepare: %s%s", counted("train images have changed", changed), models)


def _announce(cfg: Config, num_images: int, folder: Path) -> None:
    """Say how much will be on the disk before it is written."""
    size = num_images * cfg.image.stored**2 * cfg.image.channels
    log.info("prepare: %s images, %s of pixels in %s", f"{num_images:,}", _megabytes(size), folder)


def _megabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage."""
    return run_stage("prepare", __doc__ or "", lambda cfg, fold: prepare_together(cfg), argv, together=True)


if __name__ == "__main__":
    sys.exit(main())
