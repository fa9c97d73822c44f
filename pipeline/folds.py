"""train table, audit -> folds/<competition>-<hash of settings>.csv (`id, labels, group, fold`), and its certificate."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline.audit.certificate_lines import lines_of
from pipeline.cli import run_stage
from pipeline.config import Config
from pipeline.files import InputError, lock
from pipeline.freshness import certificate_path, certified_from, folds_from, folds_stamp, read_inputs
from pipeline.log import log
from pipeline.paths import folds_path
from pipeline.quoting import cut, shown
from pipeline.stamps import stale, write_stamp

if TYPE_CHECKING:
    import numpy as np

    from pipeline.competition.answers.task import Task
    from pipeline.competition.tables.table import Samples


def make_folds(cfg: Config) -> None:
    """Split the train images and write the table; the same folds for every run that splits alike.

    Raises:
        InputError: the table or its labels cannot be split so.
    """
    if not read_inputs(cfg).has_train:
        log.info("folds: none are needed where there are models and no train images")
        return
    path, made_from = folds_path(cfg), folds_from(cfg)
    if stale(folds_stamp(cfg), made_from) is None and stale(certificate_path(cfg), certified_from(cfg)) is None:
        log.info("folds: up to date (%s)", path)
        _say_what_is_split(cfg)
        return
    from pipeline.audit.certificate import write_certificate
    from pipeline.competition.answers.task import make_task
    from pipeline.competition.folds.fold_table import read_folds, write_folds
    from pipeline.competition.folds.versions import with_versions
    from pipeline.competition.tables.conflicts import duplicates_of
    from pipeline.competition.tables.table import read_all_train, without_conflicts

    names = tuple(path.with_suffix(ending).name for ending in (".csv", ".json", ".certificate.json"))
    with lock(path.with_suffix(".lock"), str(path), names):
        every = read_all_train(cfg)
        duplicates = duplicates_of(cfg, every.ids)
        samples = without_conflicts(cfg, every, duplicates)
        task = make_task(cfg, samples)
        if stale(folds_stamp(cfg), made_from) is not None:
            if alike := _alike(task.classes):
                log.info(
                    "folds: classes differ in spaces, case or the form of a number alone (%s); are they one?", alike
                )
            grouped = with_versions(cfg, samples, duplicates)
            write_folds(path, grouped, _assign(cfg, grouped, task))
            write_stamp(folds_stamp(cfg), made_from, [path], kind=task.kind, num_classes=len(task.classes))
            log.info("folds: %s images, %s, written to %s", f"{len(samples):,}", describe(task), path)
        folds = read_folds(path, samples.ids, cfg.folds.num_folds, f"python -m pipeline.folds {cfg.options}")
        write_certificate(cfg, every, duplicates, task, dict(zip(samples.ids, folds.tolist(), strict=True)))
    _say_what_is_split(cfg)


def _say_what_is_split(cfg: Config) -> None:
    """Say what the folds' certificate holds that is not as it should be."""
    path = certificate_path(cfg)
    for line in lines_of(path, are_dropped=cfg.data.conflicts == "drop"):
        log.info("folds: warning: %s (%s)", line, path)


def _alike(classes: Sequence[str]) -> str:
    """Classes that may be one, in a few words; "" where there are none."""
    from pipeline.competition.answers.spelling import same

    known: dict[str, str] = {}
    pairs = ((name, known.setdefault(same(name), name)) for name in classes)
    return ", ".join(f"{shown(first)} and {shown(name)}" for name, first in pairs if name != first)[:200]


def describe(task: "Task") -> str:
    """Kind and number of classes in a few words."""
    return "numbers" if task.kind == "number" else f"{len(task.classes):,} classes ({task.kind})"


def _assign(cfg: Config, samples: "Samples", task: "Task") -> "np.ndarray[Any, Any]":
    """The fold of each image: int64 (num_images,); all 0 where there is no validation."""
    import numpy as np

    from pipeline.competition.folds.splits import assign_folds
    from pipeline.competition.tables.csv_table import counted

    num_folds = cfg.folds.num_folds
    if num_folds == 0:
        return np.zeros(len(samples), np.int64)
    if samples.folds is not None:
        return _own_folds(cfg, samples.folds)
    targets = task.encode(samples.labels)
    if task.kind == "multi":
        labels = targets > 0
    elif task.kind == "number":
        labels = targets[:, 0]
    else:
        labels = np.array(task.classes, dtype=object)[targets].astype(str)
    done = assign_folds(samples.ids, labels, task.kind, num_folds, cfg.folds.seed, samples.groups)
    log.info("folds: %s folds, %s", num_folds, done.method)
    if done.rare:
        names = task.classes if task.kind == "multi" else None
        rare = [f"{names[int(name)] if names else name}: {count}" for name, count in done.rare]
        log.info("folds: %s, so not every fold validates them", counted("classes have fewer images than folds", rare))
    return done.fold


def _own_folds(cfg: Config, cells: list[str]) -> "np.ndarray[Any, Any]":
    """The user's own fold column: `num_folds` different values, numbered in their order."""
    import numpy as np

    from pipeline.competition.answers.task import sorted_classes

    values = sorted_classes(list(dict.fromkeys(cells)))
    if len(values) != cfg.folds.num_folds:
        raise InputError(
            f"folds.num_folds must be the number of values in column {cfg.folds.column!r}, {len(values)} "
            f"({', '.join(map(cut, values[:5]))}). Got {cfg.folds.num_folds}"
        )
    numbers = {value: number for number, value in enumerate(values)}
    return np.array([numbers[cell] for cell in cells], np.int64)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage."""
    return run_stage("folds", __doc__ or "", lambda cfg, fold: make_folds(cfg), argv)


if __name__ == "__main__":
    sys.exit(main())
