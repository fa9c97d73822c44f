"""The families of downloads: a module each with `read(inventory)`, which gives candidates, refusals, or nothing.

They are found by listing this folder: a new family is a new file, and no other file knows of it.
"""

import importlib
import pkgutil

from pipeline.detection.candidates import Candidate, Refusal
from pipeline.detection.inventory import Inventory


def read_all(inventory: Inventory) -> list[Candidate | Refusal]:
    """Read a download in every way that is known."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    found: list[Candidate | Refusal] = []
    for name in names:
        found += importlib.import_module(f"{__name__}.{name}").read(inventory)
    return found
