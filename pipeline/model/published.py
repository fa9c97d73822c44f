"""Where the published weights of a timm network are: in a folder, a cache, a package; what is in their file."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.files import InputError, small_folders
from pipeline.model.lite import PACKAGES, read_package
from pipeline.model.weight_names import GENERIC, Network, known_by, repository_and_revision, suffix_of

BROUGHT = Path("input/weights")
FETCHED = Path("output/cache/weights")
# More folders, as the environment names them.
VARIABLE = "PIPELINE_WEIGHTS"
# Where notebooks have what is attached to them: a folder for each data set, model and competition.
ATTACHED = Path("/kaggle/input")
# Of the keys under which training scripts keep a network's tensors, timm takes the first that is there.
_WRAPPED = ("state_dict_ema", "model_ema", "state_dict", "model")


@dataclass(frozen=True)
class Found:
    """A file of weights.

    path: where it is.
    place: in which of the places that are looked at.
    by: what says that it is the network's.
    """

    path: Path
    place: str
    by: str = ""

    @property
    def how(self) -> str:
        """Where it was found, and by what, for a line of the log."""
        return ", ".join(text for text in (self.place, self.by) if text)


@dataclass(frozen=True)
class Places:
    """The files in all folders that are looked at, each with the name of its place, in the order of their say."""

    files: tuple[tuple[str, tuple[Path, ...]], ...]

    @classmethod
    def seen(cls) -> "Places":
        """Look at the folders once; nothing is read, and no folder of data walked."""
        more = [folder for folder in os.environ.get(VARIABLE, "").split(os.pathsep) if folder]
        folders = [(str(BROUGHT), [BROUGHT])]
        folders += [(f"${VARIABLE}", [Path(folder)]) for folder in more]
        folders += [(str(ATTACHED), _below(ATTACHED)), (str(FETCHED), [FETCHED])]
        return cls(tuple((place, tuple(_files(roots))) for place, roots in folders))


def find(network: Network, places: Places | None = None) -> Found | None:
    """Find the published weights of a network here; nothing is fetched, and no network is needed.

    The first of these has them: `input/weights/`, the folders in $PIPELINE_WEIGHTS, those attached to a notebook,
    `output/cache/weights/`, the caches of torch and of the hub, the packages. In one place the file whose name says
    most is taken, then the first by path.

    Args:
        network: with its tag.
        places: where the folders have been looked at already.
    """
    for place, files in (places or Places.seen()).files:
        found = _best(network, files, place)
        if found is not None:
            return found
    return next(_cached(network), None)


def look_in(folder: Path, network: Network) -> Found | None:
    """Find the weights of a network in one folder, by the same rules; None where they are not there."""
    return _best(network, _files([folder]), str(folder))


def find_in(folder: Path, network: Network) -> Found:
    """Find the weights of a network in one folder, where they must be.

    Raises:
        InputError: they are not there; what is.
    """
    found = look_in(folder, network)
    if found is None:
        files = _files([folder])
        listed = ", ".join(os.path.relpath(path, folder) for path in files[:10]) + (", ..." if len(files) > 10 else "")
        raise InputError(
            f"model.weights must be a file, or a folder that holds one called as the network in model.name is, such as "
            f"{network}.safetensors. {folder} holds {listed or 'no file of weights'}"
        )
    return found


def read(network: Network, found: Found) -> dict[str, Any]:
    """Read the weights that were found, as timm's loader takes them; no code in their file is run.

    Raises:
        InputError: the file is damaged, or holds something else.
    """
    package = PACKAGES.get(str(network))
    if package is not None and found.place == _package_place(package.name):
        return dict(read_package(str(network), found.path))
    from timm.models import clean_state_dict
    from torch import Tensor

    from pipeline.model.weight_file import read_content

    content = read_content(found.path)
    key = next((key for key in _WRAPPED if isinstance(content, dict) and isinstance(content.get(key), dict)), "")
    weights = content[key] if key else content
    if not isinstance(weights, dict) or not any(isinstance(value, (Tensor, dict)) for value in weights.values()):
        raise InputError(f"a file of weights must hold tensors by name. {found.path} holds none: bring it again")
    return dict(clean_state_dict(weights))


def _below(root: Path) -> list[Path]:
    """List the folders of a folder; each is looked at by itself, so that none hides another behind its size."""
    try:
        return sorted(path for path in root.iterdir() if path.is_dir())
    except OSError:  # on machines that are no such notebooks
        return []


def _files(roots: Iterable[Path]) -> list[Path]:
    """List the files below some folders that may be weights."""
    return [
        folder / name for root in roots for folder, names in small_folders(root) for name in names if suffix_of(name)
    ]


def _best(network: Network, files: Iterable[Path], place: str) -> Found | None:
    """Choose the file whose name says most, then the first by path."""
    known = [(*said, path) for path in files if (said := known_by(network, path)) is not None]
    if not known:
        return None
    _, by, path = min(known, key=lambda one: (one[0], one[2]))
    return Found(path, place, by)


def _cached(network: Network) -> Iterator[Found]:
    """Look into the caches of torch and of the hub, then at the packages."""
    import huggingface_hub

    # As torch.hub.get_dir() has it; torch itself takes seconds to import.
    cache = os.getenv("TORCH_HOME", os.path.join(os.getenv("XDG_CACHE_HOME", "~/.cache"), "torch"))
    for file in network.files:
        path = Path(os.path.expanduser(cache)) / "hub" / "checkpoints" / file
        if suffix_of(file) and os.path.isfile(path):
            yield Found(path, "torch's cache")
    repository, revision = repository_and_revision(network.repository)
    for file in GENERIC if repository else ():
        cached = huggingface_hub.try_to_load_from_cache(repository, file, revision=revision)
        if isinstance(cached, str):
            yield Found(Path(cached), "the hub's cache")
    package = PACKAGES.get(str(network))
    path_in_package = package.path if package is not None else None
    if package is not None and path_in_package is not None:
        yield Found(path_in_package, _package_place(package.name))


def _package_place(name: str) -> str:
    return f"package {name}"
