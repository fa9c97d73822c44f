"""folds, cache, published weights -> output/<run>/probe/{oof,test}.parquet, by a classifier on the frozen network, and
alike.csv, the images that are alike to it.
"""

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path

from pipeline.cli import run_stage
from pipeline.config import Config
from pipeline.files import lock
from pipeline.freshness import (
    Inputs,
    has_probe,
    must_be_probed,
    must_be_ready,
    probe_stamp,
    probed_from,
    read_inputs,
    train_stamp,
    unprobed,
)
from pipeline.log import log
from pipeline.model.chosen import chosen_weights
from pipeline.paths import alike_path, all_folds, head_path, probe_dir
from pipeline.plan import plan_is_due
from pipeline.processes import team
from pipeline.stamps import stamped, write_stamp


def probe(cfg: Config) -> None:
    """Fit a linear classifier for each fold on what the network, as it starts, gives of the images; predict with them.

    Raises:
        InputError: a stage before is missing, or weights cannot be had.
    """
    if not has_probe(cfg):
        if cfg.train.head == "probe" and not all(train_stamp(cfg, fold).is_file() for fold in all_folds(cfg)):
            must_be_probed(cfg, read_inputs(cfg))  # which training would ask for
        log.info(
            "probe: none, as %s", "the network starts at random" if cfg.probe.enabled else "probe.enabled is false"
        )
        return
    members = team()
    inputs = replace(read_inputs(cfg), weights=members.first(lambda: chosen_weights(cfg.model)))
    must_be_ready(cfg, inputs)
    if members.first(lambda: inputs.has_train and plan_is_due(cfg)):  # which counts the time that the probe takes
        from pipeline.engine.planning import make_plan

        make_plan(cfg)
    cfg = cfg.of_probe
    if members.first(lambda: unprobed(cfg, inputs) is None):
        log.info("probe: up to date")
        return
    if not inputs.has_train and not all(head_path(cfg, fold).is_file() for fold in all_folds(cfg)):
        log.info("probe: none, as there are no train images to fit it on")
        return
    with lock(probe_dir(cfg) / "lock", f"the probe of {cfg.name}") if members.is_first else nullcontext():
        if members.first(lambda: unprobed(cfg, inputs) is not None):  # by now another process may just have made it
            _probe(cfg, inputs)
        members.meet()


def _probe(cfg: Config, inputs: Inputs) -> None:
    """Make the probe; without train images predict with the classifiers that are there.

    Of several processes, which share the images, the first fits and writes.
    """
    from pipeline.audit.alike_table import tell_alike
    from pipeline.audit.shift import find_shift, tell_shift
    from pipeline.competition.answers.form import read_form
    from pipeline.competition.folds.fold_table import read_labelled
    from pipeline.competition.tables.table import read_test
    from pipeline.engine.probing import fit, fitted_before, predict_test
    from pipeline.engine.start import try_start
    from pipeline.images.cache import open_images
    from pipeline.scores.measure import known_task

    labelled, members = read_labelled(cfg) if inputs.has_train else None, team()
    task, test = labelled.task if labelled else known_task(cfg), read_test(cfg)
    # A sample that these labels cannot fill is said before the hours of training, not after.
    read_form(cfg, task, test.ids)
    seen = f"{len(labelled.samples):,} train and " if labelled else ""
    log.info("probe: %s at %s px, %s%s test images", cfg.model.name, cfg.image.size, seen, f"{len(test):,}")
    if labelled:
        images = open_images(cfg, "train", labelled.samples.keys)
        members.first(lambda: try_start(cfg, labelled, images))
        # Which that has fetched where they were not here.
        inputs = replace(inputs, weights=members.first(lambda: chosen_weights(cfg.model)))
        frozen, fitted, train = fit(cfg, labelled, inputs.train or "")
        products = [probe_dir(cfg) / "oof.parquet"] if cfg.folds.num_folds else []
    else:
        known = fitted_before(cfg, task)
        if known is None:
            return
        frozen, fitted = known
        products = _measured_before(cfg)
    of_test = predict_test(cfg, frozen, fitted, inputs.test)
    if not members.is_first:
        return
    if labelled:
        shift = find_shift(train.features, of_test.features, cfg.folds.seed)
        tell_shift(shift, probe_dir(cfg) / "shift.json", "probe", "the network's features")
        ids = {"train": train.ids, "test": of_test.ids}
        tell_alike(cfg, alike_path(cfg), labelled, ids, {"train": train.features, "test": of_test.features})
        products.append(alike_path(cfg))
    made_from = probed_from(cfg, inputs)
    heads = [head_path(cfg, fold) for fold in fitted]
    write_stamp(probe_stamp(cfg), made_from, [*heads, *products, probe_dir(cfg) / "test.parquet"], task=asdict(task))


def _measured_before(cfg: Config) -> list[Path]:
    """Without train images: what was said of the folds where these are."""
    path = probe_dir(cfg) / "oof.parquet"
    return [path] if path.is_file() and stamped(probe_stamp(cfg), path.name) else []


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage."""
    return run_stage("probe", __doc__ or "", lambda cfg, fold: probe(cfg), argv, together=True)


if __name__ == "__main__":
    sys.exit(main())
