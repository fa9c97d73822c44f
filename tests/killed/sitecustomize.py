"""Python imports this at its start where the folder is on PYTHONPATH: it counts what a process does, and ends it.

JOURNAL  a file: a letter for each step that was computed (s), each state of a training that was handed over to be
         written (b), and each that is on the disk (c), in the same order
KILL_AT  POINT:NUMBER:WHO  at the NUMBERth time that POINT is reached WHO is killed: python, group (run.sh and python)
         or bash (run.sh alone, python goes on); or WHO is a signal that is sent: SIGTERM-bash, SIGINT-group
KILL_RANK  of several processes the one that is killed, the first time that it is started; all where it is not set
"""

import importlib.abc
import importlib.machinery
import importlib.util
import os
import signal
import sys
import types

POINTS = {
    "decode": ("pipeline.images.fill", "decode_file"),
    "index": ("pipeline.images.index", "write_index"),
    "look": ("importlib.metadata", "version"),
    "load": ("pipeline.config_file", "load"),
    "read": ("pipeline.competition.tables.table", "read_train"),
    "assign_folds": ("pipeline.competition.folds.splits", "assign_folds"),
    "write_folds": ("pipeline.competition.folds.fold_table", "write_folds"),
    "step": ("pipeline.engine.state", "TrainState.take_step"),
    "save": ("pipeline.engine.resume", "Store.save"),
    "written": ("pipeline.engine.resume", "Store.write"),
    "batch": ("pipeline.engine.predict", "Views.forward"),
    "predictions": ("pipeline.competition.answers.predictions", "write_predictions"),
    "score": ("pipeline.competition.answers.scoring", "cross_validation"),
    "fill": ("pipeline.competition.answers.submission", "fill"),
    "check": ("pipeline.competition.answers.submission", "check"),
    "fsync": ("os", "fsync"),
    "rename": ("os", "replace"),
}
JOURNALED = {"step": b"s", "save": b"b", "written": b"c"}


def _signal(name, to):
    """Send a signal that python gets through run.sh, or twice: in the midst of the call that has reached the point."""
    # However late the second comes, it is the first one passed on.
    sys.modules["pipeline.signals"].time = types.SimpleNamespace(monotonic=lambda: 0.0)
    came, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    number = signal.Signals[name]
    if to == "group":
        os.killpg(os.getpgid(0), number)
        os.read(came, 1)
    else:
        os.kill(os.getppid(), number)
    os.read(came, 1)
    signal.set_wakeup_fd(-1)


def _kill(who):
    if who.startswith("SIG"):
        _signal(*who.split("-"))
        return
    if who == "bash":
        os.kill(os.getppid(), signal.SIGKILL)
        return
    if who == "group":
        os.killpg(os.getpgid(0), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def _is_meant():
    rank, first = os.environ.get("KILL_RANK"), os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
    return rank is None or (first and os.environ.get("RANK") == rank)


def _watched(name, original, kill_at):
    reached = 0

    def watched(*arguments, **options):
        nonlocal reached
        reached += 1
        if kill_at and _is_meant() and (name, reached) == (kill_at[0], int(kill_at[1])):
            _kill(kill_at[2])
        result = original(*arguments, **options)
        if name in JOURNALED:
            os.write(journal, JOURNALED[name])
        return result

    return watched


def _watch(name, module, kill_at):
    *owners, last = POINTS[name][1].split(".")
    owner = getattr(module, owners[0]) if owners else module
    setattr(owner, last, _watched(name, getattr(owner, last), kill_at))


class _Finder(importlib.abc.MetaPathFinder):
    """Patches a module's functions once it is loaded, before others import them from it."""

    def __init__(self, names, kill_at):
        self.names = {POINTS[name][0]: [] for name in names}
        for name in names:
            self.names[POINTS[name][0]].append(name)
        self.kill_at = kill_at

    def find_spec(self, fullname, path, target=None):
        if fullname not in self.names:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            for name in self.names[fullname]:
                _watch(name, module, self.kill_at)

        spec.loader.exec_module = exec_module
        return spec


# run.sh looks whether a python has the packages, then runs the stages; of other processes training alone is watched.
if "JOURNAL" in os.environ and {"pipeline.environment", "prepare", "pipeline.train"} & set(sys.orig_argv):
    journal = os.open(os.environ["JOURNAL"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    chosen = os.environ.get("KILL_AT", "").split(":")
    chosen = chosen if len(chosen) == 3 else None
    names = {*JOURNALED, *(chosen[:1] if chosen else ())}
    loaded = {name for name in names if POINTS[name][0] in sys.modules}
    for name in loaded:
        _watch(name, sys.modules[POINTS[name][0]], chosen)
    sys.meta_path.insert(0, _Finder(names - loaded, chosen))
