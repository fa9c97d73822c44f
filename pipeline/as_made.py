"""A run as it was made, by its stamps: the settings that its products have, and what has changed since."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.config import Config
from pipeline.config_file import check
from pipeline.freshness import (
    Inputs,
    audited,
    ensemble_stamp,
    ensembled_from,
    folds_from,
    folds_stamp,
    has_probe,
    infer_stamp,
    inferred_from,
    prepared_from,
    probe_stamp,
    probed_from,
    train_stamp,
    trained_from,
)
from pipeline.paths import all_folds, folds_path, prepare_stamp, run_dir
from pipeline.stamps import changes, made_from, stamped


def changed_since(cfg: Config, inputs: Inputs) -> list[str]:
    """What of a run was made from something else than is here now, and what differs; a line for each difference.

    What is not made yet, or is missing, is none: a page is made of whatever is there.
    """
    products: dict[str, list[str]] = {}
    for product, stamp, now in _products(cfg, inputs):
        if made := made_from(stamp):
            # Folds that are named and not made yet say nothing of the labels' kind.
            now = {**now, "kind": made.get("kind")} if now.get("kind", "") is None else now
            for name in changes(made, now):
                products.setdefault(name, []).append(product)
    return [f"{', '.join(own)}: {name} changed since" for name, own in products.items()]


def settings_as_made(cfg: Config) -> Config:
    """The settings that a run's products were made with, whatever its config says by now; its own for what no stamp
    holds.

    Raises:
        ConfigError: the stamps hold what no settings can be.
    """
    values, folds = cfg.model_dump(mode="json"), all_folds(cfg)
    stamps = [prepare_stamp(cfg), _made_folds(cfg), ensemble_stamp(cfg)]
    stamps += [stamp(cfg, fold) for stamp in (infer_stamp, train_stamp) for fold in folds]
    for stamp in stamps:
        for section, made in made_from(stamp).items():
            if section in values and isinstance(made, Mapping):
                values[section] |= {key: value for key, value in made.items() if key in values[section]}
    # The ensemble's stamp keeps the table of folds under the name of their section.
    values["folds"]["num_folds"] = made_from(ensemble_stamp(cfg)).get("num_folds", cfg.folds.num_folds)
    named = {"name": cfg.name, "path": cfg.path, "overrides": cfg.overrides, "planned": cfg.planned}
    return check({**values, **named, "asked_image": cfg.asked_image}, f"the stamps of {run_dir(cfg)}")


def _made_folds(cfg: Config) -> Path:
    """The stamp of the folds that the run's models had: they are shared, and its config may name others by now."""
    made = [made_from(stamp) for stamp in (ensemble_stamp(cfg), *(train_stamp(cfg, fold) for fold in all_folds(cfg)))]
    had = {values["folds"] for values in made if isinstance(values.get("folds"), str)}
    named, own = folds_path(cfg), folds_stamp(cfg)
    for table in [named, *sorted(named.parent.glob("*.csv"))]:
        if stamped(table.with_suffix(own.suffix), table.name) in had:
            return table.with_suffix(own.suffix)
    return own


def _products(cfg: Config, inputs: Inputs) -> Iterator[tuple[str, Path, Mapping[str, Any]]]:
    """Each product of a run, its stamp, and what it must be made from now."""
    yield "images", prepare_stamp(cfg), prepared_from(cfg, [path for (path,) in audited(cfg, "path")])
    if inputs.has_train:
        yield "folds", folds_stamp(cfg), folds_from(cfg)
    if has_probe(cfg):
        yield "probe", probe_stamp(cfg), probed_from(cfg, inputs)
    for fold in all_folds(cfg):
        yield f"model {fold}", train_stamp(cfg, fold), trained_from(cfg, fold, inputs)
    for fold in all_folds(cfg):
        yield f"predictions {fold}", infer_stamp(cfg, fold), inferred_from(cfg, fold, inputs)
    # Of the models that it was made of: that there are more by now changes nothing in it.
    made = made_from(ensemble_stamp(cfg))
    yield "ensemble", ensemble_stamp(cfg), ensembled_from(cfg, made.get("parts", ()), probed="probe" in made)
