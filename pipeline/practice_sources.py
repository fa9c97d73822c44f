"""Where a practice competition's images come from: scikit-learn, torchvision, class folders, another competition."""

import csv
import gzip
import hashlib
import http.client
import os
import shutil
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.files import InputError

Array = np.ndarray[Any, Any]

SPLITS = ("train", "test")
TABLES = {"train": "train.csv", "test": "answers.csv"}
_RAW_NAMES = tuple(f"{split}-{what}-ubyte" for split in ("train", "t10k") for what in ("images-idx3", "labels-idx1"))
_CIFAR_FOLDER = "cifar-10-batches-py"


@dataclass(frozen=True)
class Item:
    """An image to be: its id and label, its pixels or the file that holds them, and the suffix of what is made.

    Pixels are uint8, (height, width) grey or (height, width, 3) RGB. A file with this suffix is copied as it is.
    """

    id: str
    label: str
    image: Array | Path
    suffix: str = ".png"


Items = dict[str, list[Item]]


def digits() -> Items:
    """scikit-learn's handwritten digits, 8x8, as grey 0..255: 1,297 train and 500 test images, always the same."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    pixels = np.rint(data.images * (255 / 16)).astype(np.uint8)
    rows = train_test_split(np.arange(len(pixels)), test_size=500, random_state=0, stratify=data.target)
    return {
        split: _numbered([str(data.target[row]) for row in chosen], [pixels[row] for row in chosen])
        for split, chosen in zip(SPLITS, rows, strict=True)
    }


def downloaded(dataset: str, work_dir: Path) -> Items:
    """Fetch `mnist`, `fashion-mnist` or `cifar10` through torchvision, which checks what it gets, into `work_dir`.

    Raises:
        InputError: it cannot be fetched.
    """
    try:
        return _from_torchvision(dataset, work_dir, download=True)
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        raise InputError(
            f"{dataset} must be downloaded, which failed ({_one_line(error)}). "
            "Fetch it elsewhere and name its folder: --source PATH"
        ) from None


def from_folder(dataset: str, source: Path, work_dir: Path) -> Items:
    """Read a folder of one of the kinds that are known, told apart by looking; nothing is written there.

    Args:
        dataset: `mnist`, `fashion-mnist` or `cifar10`.
        source: a competition with answers (`train.csv`, `train/`, `test/`, `answers.csv`), torchvision's own files, or
            class folders (`train/CLASS/x.png`, `test/CLASS/x.png`).
        work_dir: an existing folder for what has to be unpacked.

    Raises:
        InputError: it is none of these, or not whole.
    """
    if not source.is_dir():
        raise InputError(f"--source must be a folder. Got {source}")
    if (source / TABLES["train"]).is_file():
        return _from_competition(source)
    if _found_torchvision_files(dataset, source, work_dir):
        try:
            return _from_torchvision(dataset, work_dir, download=False)
        # What torchvision raises for files that are missing, of another checksum, or no idx files.
        except (RuntimeError, ValueError, TypeError, KeyError, AssertionError) as error:
            raise InputError(
                f"{source} must hold the files of {dataset} as torchvision downloads them ({_one_line(error)}). "
                f"Fetch them again"
            ) from None
    if all((source / split).is_dir() for split in SPLITS):
        return _from_class_folders(source)
    listed = ", ".join(sorted(os.listdir(source))[:5]) or "nothing"
    raise InputError(
        f"--source must hold train.csv, train/, test/ and answers.csv, or train/CLASS/ and test/CLASS/, or "
        f"torchvision's files of {dataset}. Got {source} with {listed}"
    )


# ---- torchvision


def _from_torchvision(dataset: str, root: Path, *, download: bool) -> Items:
    from torchvision import datasets

    kind = {"mnist": datasets.MNIST, "fashion-mnist": datasets.FashionMNIST, "cifar10": datasets.CIFAR10}[dataset]
    items = {}
    for split in SPLITS:
        with warnings.catch_warnings():
            # CIFAR-10's files were pickled by an old numpy; a new one warns of how they spell a dtype's alignment.
            warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
            data = kind(root, train=split == "train", download=download)
        # torchvision's names of MNIST's classes are "0 - zero" and so on.
        names = [str(number) for number in range(10)] if dataset == "mnist" else data.classes
        items[split] = _numbered([names[int(target)] for target in data.targets], list(np.asarray(data.data)))
    return items


def _found_torchvision_files(dataset: str, source: Path, work_dir: Path) -> bool:
    """Link or unpack torchvision's files of a data set, where there are any, to where it looks below `work_dir`."""
    if dataset == "cifar10":
        folders = [folder for folder in (source / _CIFAR_FOLDER, source) if (folder / "data_batch_1").is_file()]
        if folders:
            (work_dir / _CIFAR_FOLDER).symlink_to(folders[0].resolve())
        return bool(folders)
    name = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}[dataset]
    for folder in (source / name / "raw", source / "raw", source):
        files = {raw: file for raw in _RAW_NAMES if (file := _raw_file(folder, raw)) is not None}
        if files:
            target = work_dir / name / "raw"
            target.mkdir(parents=True)
            for raw, file in files.items():
                _unpack(file, target / raw)
            return True
    return False


def _raw_file(folder: Path, name: str) -> Path | None:
    """A file of handwritten digits, packed or not; some who hand them on write a dot for the first hyphen of `-idx`."""
    spellings = (name, name.replace("-idx", ".idx"))
    files = [folder / f"{spelling}{packed}" for spelling in spellings for packed in ("", ".gz")]
    return next((file for file in files if file.is_file()), None)


def _unpack(file: Path, target: Path) -> None:
    if file.suffix != ".gz":
        target.symlink_to(file.resolve())
        return
    try:
        with gzip.open(file) as packed, target.open("wb") as stream:
            shutil.copyfileobj(packed, stream)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{file} must be a whole gzip file ({_one_line(error)}). Fetch it again") from None


# ---- folders of images


def _from_class_folders(source: Path) -> Items:
    from torchvision.datasets import ImageFolder

    items = {}
    for split in SPLITS:
        data = ImageFolder(str(source / split))
        # In an order that is always the same and that tells nothing of the classes: ids are given away, answers not.
        samples = sorted(data.samples, key=lambda sample: _hash(os.path.relpath(sample[0], source)))
        items[split] = _numbered([data.classes[number] for _, number in samples], [Path(path) for path, _ in samples])
    return items


def _from_competition(source: Path) -> Items:
    missing = [name for name in (*TABLES.values(), *SPLITS) if not (source / name).exists()]
    if missing:
        raise InputError(
            f"--source with train.csv must be a competition with answers: {', '.join([*TABLES.values(), *SPLITS])}. "
            f"{source} lacks {', '.join(missing)}"
        )
    items = {}
    for split in SPLITS:
        files: dict[str, list[Path]] = {}
        for file in (source / split).iterdir():
            files.setdefault(file.stem, []).append(file)
        items[split] = [
            Item(id_, label, file, file.suffix)
            for id_, label in _read_labels(source / TABLES[split]).items()
            for file in [_only_file(files.get(id_, []), id_, source / split)]
        ]
    return items


def _only_file(files: list[Path], id_: str, folder: Path) -> Path:
    if len(files) != 1:
        names = ", ".join(sorted(file.name for file in files)) or "none"
        raise InputError(f"{folder} must hold one image of id {id_!r}. Got {names}")
    return files[0]


def _read_labels(path: Path) -> dict[str, str]:
    """Labels by id, in the order of the table."""
    labels: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            if not {"id", "label"} <= set(reader.fieldnames or ()):
                raise InputError(f"{path} must have the columns id and label. Got {reader.fieldnames}")
            for row in reader:
                if not row["id"] or not row["label"] or row["id"] in labels:
                    raise InputError(f"{path}, line {reader.line_num}: a row must have an id of its own and a label")
                labels[row["id"]] = row["label"]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} must be a csv file in UTF-8 ({_one_line(error)})") from None
    return labels


# ---- small things


def _numbered(labels: Sequence[str], images: Sequence[Array | Path]) -> list[Item]:
    """Items with their numbers as five-digit ids."""
    return [
        Item(f"{number:05d}", label, image) for number, (label, image) in enumerate(zip(labels, images, strict=True))
    ]


def _hash(text: str) -> bytes:
    return hashlib.sha256(os.fsencode(text)).digest()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
