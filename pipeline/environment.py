"""The packages: whether this python has all that the pipeline needs, and the .venv that has. Standard library alone.

python -m pipeline.environment [EXTRA]       exit 0 if every package is there
python -m pipeline.environment make STAMP    make .venv; STAMP is written last, into .venv/ready
"""

import fcntl
import importlib.metadata
import re
import signal
import subprocess
import sys
import tomllib  # python 3.11 has it: an older one fails here, and is then not used
from pathlib import Path

PROJECT = Path(__file__).parent.parent
PYPROJECT = PROJECT / "pyproject.toml"


def needed(extra: str = "") -> list[str]:
    """The requirements of pyproject.toml, and those of an extra."""
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    return [*project["dependencies"], *(project["optional-dependencies"][extra] if extra else [])]


def look(requirements: list[str]) -> tuple[list[str], list[str]]:
    """Names of the packages that are missing, and `name version (wants range)` of those outside their range."""
    missing, outside = [], []
    for requirement in requirements:
        name, ranges = re.fullmatch(r"([\w.-]+)(.*)", requirement).groups()  # type: ignore[union-attr]
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
            continue
        if not all(_fits(version, part) for part in ranges.split(",") if part):
            outside.append(f"{name} {version} (tested: {ranges})")
    return missing, outside


def _fits(version: str, part: str) -> bool:
    """Whether a version is on the right side of one bound, by its leading numbers."""
    operator, bound = re.fullmatch(r"(>=|<=|==|<|>)\s*([\w.]+)", part.strip()).groups()  # type: ignore[union-attr]
    length = len(bound.split("."))
    ours, theirs = _numbers(version, length), _numbers(bound, length)
    return {">=": ours >= theirs, "<=": ours <= theirs, "==": ours == theirs, "<": ours < theirs, ">": ours > theirs}[
        operator
    ]


def _numbers(version: str, length: int) -> list[int]:
    numbers = [int(number) for number in re.findall(r"\d+", version.split("+")[0])[:length]]
    return numbers + [0] * (length - len(numbers))


def make(stamp: str) -> int:
    """Make `.venv` with the pinned packages, once however many calls there are at a time; returns an exit status.

    A `.venv` that is a link is left alone, as what it points to may be another's. The lock is inherited by the
    installers: where this process is killed and one of them lives on, the next call waits for it to end instead of
    installing beside it.
    """
    with (PROJECT / ".venv.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("run.sh: another call is making .venv; waiting for it", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        ready = PROJECT / ".venv" / "ready"
        if ready.is_file() and ready.read_text(encoding="utf-8").strip() == stamp:
            return 0
        own = PROJECT / ".venv"
        if own.is_symlink():
            print(
                "run.sh: .venv must be a folder of this project, as it is emptied before it is made. Got a link to "
                f"{own.readlink()}, which was not made for these packages: delete the link, or activate an environment "
                "that has them all",
                file=sys.stderr,
            )
            return 1
        print("run.sh: making .venv and installing packages, once", flush=True)
        ready.unlink(missing_ok=True)
        python = str(PROJECT / ".venv" / "bin" / "python")
        uv = [str(PROJECT / ".venv" / "bin" / "uv"), "pip", "install", "--quiet", "--python", python]
        if sys.dont_write_bytecode:
            # As in many containers: every start would compile torch anew, 6 s; all packages together take 30 s, once.
            uv.append("--compile-bytecode")
        for command in (
            [sys.executable, "-m", "venv", "--clear", ".venv"],
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv"],
            [*uv, "-r", "pyproject.toml", "--extra", "pinned", "--extra", "test"],
        ):
            if status := _run(command, lock.fileno()):
                return status
        ready.write_text(stamp + "\n", encoding="utf-8")
    return 0


def _run(command: list[str], lock: int) -> int:
    """Run a command in the project that holds the lock too, and end it where this process is told to end."""
    with subprocess.Popen(command, cwd=PROJECT, pass_fds=(lock,)) as child:
        before = signal.signal(signal.SIGTERM, lambda number, frame: child.terminate())
        try:
            return child.wait()
        finally:
            signal.signal(signal.SIGTERM, before)


def main() -> int:
    """Exit 1 where a package is missing; one line for versions outside the tested ranges, and for what an environment
    lacks that is nearly whole.
    """
    if sys.argv[1:2] == ["make"]:
        status = make(sys.argv[2])
        return status if status >= 0 else 128 - status  # as shells count those that a signal ended
    missing, outside = look(needed(*sys.argv[1:2]))
    if not missing and outside:
        print("run.sh: versions that were not tested: " + ", ".join(outside))
    if missing and "torch" not in missing:
        print(f"run.sh: {sys.prefix} is not used, as it lacks {', '.join(missing)}; pip install these to have it used")
    return bool(missing)


if __name__ == "__main__":
    sys.exit(main())
