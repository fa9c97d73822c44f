"""Whether this python has every package that the pipeline needs; exit 0 if so. Standard library alone.

python -m pipeline.environment [EXTRA]
"""

import importlib.metadata
import re
import sys
import tomllib  # python 3.11 has it: an older one fails here, and is then not used
from pathlib import Path

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"


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


def main() -> int:
    """Exit 1 where a package is missing; one line for versions outside the tested ranges."""
    missing, outside = look(needed(*sys.argv[1:2]))
    if not missing and outside:
        print("run.sh: versions that were not tested: " + ", ".join(outside))
    return bool(missing)


if __name__ == "__main__":
    sys.exit(main())
