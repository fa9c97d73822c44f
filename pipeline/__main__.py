"""Several stages in the order given, in one process: what all of them import (torch, timm) is imported once.

python -m pipeline STAGE... [--config configs/x.toml] [--set KEY=VALUE ...]

Where `train`, `infer` and `ensemble` are the last but `report`, they take turns: there is a submission of the probe
before the first training, and another with every model that is trained, so that a run that is stopped leaves one.
"""

import importlib
import itertools
import sys
from collections.abc import Iterable, Sequence

STAGES = ("detect", "prepare", "folds", "probe", "train", "infer", "ensemble", "report")
TURNS = ("train", "infer", "ensemble")
# A stage and its options.
Step = tuple[str, list[str]]


def main(argv: Sequence[str] | None = None) -> int:
    """Run each stage; the first that fails ends the run with its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    names = tuple(itertools.takewhile(lambda argument: not argument.startswith("-"), arguments))
    options = arguments[len(names) :]
    unknown = [name for name in names if name not in STAGES]
    if unknown or not names:
        got = repr(unknown[0]) if unknown else "none"
        print(f"python -m pipeline: name stages, of {', '.join(STAGES)}, then --config. Got {got}", file=sys.stderr)
        return 2
    if names[0] == "detect":  # it may make the config, which says what training needs
        if status := _run(_with(options, names[:1])):
            return status
        names = names[1:]
    if "train" in names and (status := _lacks_packages(options)):
        return status
    after = names[-1:] if names[-1:] == ("report",) else ()
    before = names[: len(names) - len(after)]
    if before[-len(TURNS) :] != TURNS:
        return _run(_with(options, names))
    # The turns depend on the config, which the stages before may make.
    return (
        _run(_with(options, before[: -len(TURNS)]))
        or _run(_turns(options, after_probe="probe" in names))
        or _run(_with(options, after))
    )


def _with(options: list[str], names: Sequence[str]) -> list[Step]:
    return [(name, options) for name in names]


def _run(steps: Iterable[Step]) -> int:
    """Run stages; a stage is imported when it is its turn: a usage error or a finished job pays for no later one."""
    for name, options in steps:
        status: int = importlib.import_module(f"pipeline.{name}").main(options)
        if status:
            return status
    return 0


def _lacks_packages(options: list[str]) -> int:
    """Say which package a training would lack before the stages that come first, which may take hours: 2; else 0."""
    from pipeline.cli import load_target, parse
    from pipeline.config import ConfigError
    from pipeline.engine.board import must_be_installed
    from pipeline.log import say

    arguments = parse("train", "", options, fold=True)
    try:
        cfg = load_target(arguments.config, arguments.set)
    except ConfigError:
        return 0  # the first of the stages says what is wrong
    try:
        must_be_installed(cfg)
    except ConfigError as error:
        say(f"train: {error}", sys.stderr)
        return 2
    return 0


def _turns(options: list[str], *, after_probe: bool) -> list[Step]:
    """The steps that train, predict and submit, model by model where any is yet to be made; at first, `after_probe`,
    what that says is submitted.
    """
    from pipeline.cli import load_target, parse
    from pipeline.config import ConfigError
    from pipeline.files import InputError
    from pipeline.freshness import has_probe, read_inputs, unpredicted
    from pipeline.paths import all_folds
    from pipeline.plan import is_trained, planned

    together = [(name, options) for name in TURNS]
    arguments = parse("train", "", options)
    try:
        cfg = planned(load_target(arguments.config, arguments.set))
    except (ConfigError, InputError):
        return together  # the first of the stages says what is wrong
    inputs = read_inputs(cfg)
    folds = all_folds(cfg)
    due = [fold for fold in folds if unpredicted(cfg, fold, inputs)] if inputs.has_train else []
    if not due:
        return together
    # Where there are models there is a submission, which stays until training has accepted them.
    is_first = after_probe and has_probe(cfg) and not is_trained(cfg)
    steps: list[Step] = [("ensemble", options)] if is_first else []
    for fold in folds:
        of_fold = [*options, "--fold", str(fold), "--in-turn"]
        steps += [("train", of_fold), ("infer", of_fold)]
        if fold in due or fold == folds[-1]:
            steps.append(("ensemble", options))
    return steps


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # before a stage is at work, or between two
        print("stopped; the same command goes on from here", file=sys.stderr)
        sys.exit(130)
