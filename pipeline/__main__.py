"""Several stages in the order given, in one process: what all of them import (torch, timm) is imported once.

python -m pipeline STAGE... [--config configs/x.toml] [--set KEY=VALUE ...]

Where there are several GPUs, or `NUM_PROC` says so, several processes share the work: see `launch`.

Where `train`, `infer` and `ensemble` are the last but `report`, they take turns: there is a submission of the probe
before the first training, and another with every model that is trained, so that a run that is stopped leaves one.
"""

import importlib
import itertools
import sys
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from pipeline.dealing import dealt
from pipeline.launch import launch, num_processes
from pipeline.others import must_say
from pipeline.processes import alone

STAGES = ("detect", "prepare", "folds", "probe", "train", "infer", "ensemble", "report")
TURNS = ("train", "infer", "ensemble")


@dataclass(frozen=True)
class Step:
    """A stage to run.

    name: of the stage.
    options: as it takes them.
    is_own: whether this process runs it by itself, where there are several.
    """

    name: str
    options: list[str]
    is_own: bool = False


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
    try:
        number = num_processes()
    except ValueError as error:
        print(f"python -m pipeline: {error}", file=sys.stderr)
        return 2
    return launch(number, arguments) if number > 1 else _run_in_order(names, options)


def _run_in_order(names: tuple[str, ...], options: list[str]) -> int:
    """Run each stage, and those that take turns model by model."""
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
    return [Step(name, options) for name in names]


def _run(steps: Iterable[Step]) -> int:
    """Run stages; a stage is imported when it is its turn: a usage error or a finished job pays for no later one."""
    for step in steps:
        with alone() if step.is_own else nullcontext():
            status: int = importlib.import_module(f"pipeline.{step.name}").main(step.options)
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
        message = f"train: {error}"
        if must_say(message, 2):
            say(message, sys.stderr)
        return 2
    return 0


def _turns(options: list[str], *, after_probe: bool) -> list[Step]:
    """The steps that train, predict and submit, model by model where any is yet to be made; at first, `after_probe`,
    what that says is submitted.

    Of several processes each makes the models that it is dealt, and then all make the others together.
    """
    from pipeline.cli import load_target, parse
    from pipeline.config import ConfigError
    from pipeline.files import InputError
    from pipeline.freshness import has_probe, read_inputs, unpredicted
    from pipeline.paths import all_folds, fold_dir
    from pipeline.plan import is_trained, planned

    together = _with(options, TURNS)
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
    from pipeline.engine.resume import begun_by

    # Where there are models there is a submission, which stays until training has accepted them.
    is_first = after_probe and has_probe(cfg) and not is_trained(cfg)
    steps = [Step("ensemble", options)] if is_first else []
    try:
        own, rest = dealt(folds, due, lambda fold: begun_by(fold_dir(cfg, fold)), none_alone=cfg.train.shard)
    except InputError:
        return together  # training says what is wrong
    steps += [step for fold in own for step in _of_model(options, fold, is_own=True)]
    for fold in rest:
        steps += _of_model(options, fold, submits=fold in due or fold == folds[-1])
    if not rest:
        steps.append(Step("ensemble", options))  # with every process's models
    return steps


def _of_model(options: list[str], fold: int | str, *, submits: bool = True, is_own: bool = False) -> list[Step]:
    """The steps that make one model and its predictions, and a submission with it."""
    of_fold = [*options, "--fold", str(fold), "--in-turn"]
    steps = [Step("train", of_fold, is_own), Step("infer", of_fold, is_own)]
    return [*steps, Step("ensemble", options, is_own)] if submits else steps


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # before a stage is at work, or between two
        print("stopped; the same command goes on from here", file=sys.stderr)
        sys.exit(130)
