"""scikit-learn, torchvision, or a folder -> input/<name>/, a practice competition with hidden answers.

The only stage that writes under `input/`. It makes `train.csv` and `answers.csv` (`id,label`), `sample_submission.csv`
with the first class for every test image, `train/ID.png` and `test/ID.png`; all of it, or nothing.
"""

import csv
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli import Parser, guarded
from pipeline.config import ConfigError
from pipeline.files import InputError, lock
from pipeline.log import log

if TYPE_CHECKING:
    from pipeline.practice_sources import Item, Items

NAMES = ("digits", "mnist", "fashion-mnist", "cifar10", "cifar2")
# cifar2 is two classes of cifar10.
_TWO_CLASSES = ("airplane", "bird")
_PNG_MODES = ("1", "L", "LA", "I", "I;16", "P", "RGB", "RGBA")
_MADE = ("train.csv", "answers.csv", "sample_submission.csv", "train", "test")


def practice(name: str, source: Path | None, out_dir: Path) -> None:
    """Make a practice competition, unless it is there.

    Args:
        name: one of `NAMES`.
        source: a folder with its images, see `practice_sources.from_folder`; None: download (digits need none).
        out_dir: the competition's folder. It gets its name when everything is in it.

    Raises:
        ConfigError: digits with a source.
        InputError: the images cannot be had, or something else has the folder's name.
    """
    if name == "digits" and source is not None:
        raise ConfigError(f"--source must be left out for digits: scikit-learn has them. Got {source}")
    if _is_there(out_dir):
        log.info("%s is there", out_dir)
        return
    with lock(out_dir.parent / f".{out_dir.name}.lock", str(out_dir), ()):
        if _is_there(out_dir):
            log.info("%s is there", out_dir)
            return
        # Under the lock, a leftover is of a process that has died.
        making = out_dir.parent / f".{out_dir.name}.making"
        shutil.rmtree(making, ignore_errors=True)
        try:
            (making / "work").mkdir(parents=True)
            items = _items(name, source, making / "work")
            _write(items, making / "made")
            # One call instead of an fsync for each of 70,000 files.
            os.sync()
            (making / "made").rename(out_dir)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    num_train, num_test = len(items["train"]), len(items["test"])
    log.info("%s: %s train and %s test images", out_dir, f"{num_train:,}", f"{num_test:,}")


def _is_there(out_dir: Path) -> bool:
    """Whether the competition is there, as a whole; an empty folder may be filled, any other is the user's own."""
    if not out_dir.is_dir() or not any(out_dir.iterdir()):
        return False
    missing = [name for name in _MADE if not (out_dir / name).exists()]
    if missing:
        raise InputError(f"{out_dir} must be a practice competition. It lacks {', '.join(missing)}; move it away first")
    return True


def _items(name: str, source: Path | None, work_dir: Path) -> "Items":
    """Every image of a practice competition, checked."""
    from pipeline import practice_sources

    dataset = "cifar10" if name == "cifar2" else name
    if name == "digits":
        items = practice_sources.digits()
    elif source is None:
        items = practice_sources.downloaded(dataset, work_dir)
    else:
        items = practice_sources.from_folder(dataset, source, work_dir)
    if name == "cifar2":
        items = {split: [item for item in chosen if item.label in _TWO_CLASSES] for split, chosen in items.items()}
    classes = {split: {item.label for item in chosen} for split, chosen in items.items()}
    if name == "cifar2" and classes["train"] != set(_TWO_CLASSES):
        got = ", ".join(sorted(classes["train"])) or "neither"
        raise InputError(f"cifar2 must have train images of the classes {' and '.join(_TWO_CLASSES)}. Got {got}")
    if not classes["test"] or not classes["test"] <= classes["train"]:
        unknown = ", ".join(sorted(classes["test"] - classes["train"])[:5])
        raise InputError(f"The test images must have classes of the train images. Got {unknown or 'no test images'}")
    return items


def _write(items: "Items", folder: Path) -> None:
    """Write tables and images."""
    from pipeline.bars import bar
    from pipeline.competition.answers.task import sorted_classes

    first = sorted_classes(list({item.label for item in items["train"]}))[0]
    for split, chosen in items.items():
        (folder / split).mkdir(parents=True)
        with bar(len(chosen), split) as shown:
            for item in chosen:
                _write_image(item, folder / split / f"{item.id}{item.suffix}")
                shown.update()
    _write_table(folder / "train.csv", ((item.id, item.label) for item in items["train"]))
    _write_table(folder / "answers.csv", ((item.id, item.label) for item in items["test"]))
    _write_table(folder / "sample_submission.csv", ((item.id, first) for item in items["test"]))


def _write_image(item: "Item", path: Path) -> None:
    """Copy a file as it is, or write pixels without loss."""
    from PIL import Image, ImageOps

    if not isinstance(item.image, Path):
        Image.fromarray(item.image).save(path)
    elif item.image.suffix == item.suffix:
        shutil.copyfile(item.image, path)
    else:
        try:
            with Image.open(item.image) as opened:
                # A PNG would not keep the orientation, which readers apply.
                image = ImageOps.exif_transpose(opened)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise InputError(f"{item.image} must be an image, whole. {error}") from None
        (image if image.mode in _PNG_MODES else image.convert("RGB")).save(path)


def _write_table(path: Path, rows: Iterable[tuple[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("id", "label"))
        writer.writerows(rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage; usage errors are one line and exit 2."""
    parser = Parser("practice", (__doc__ or "").partition("\n")[0])
    parser.add_argument("name", metavar="NAME", choices=NAMES, help=f"one of {', '.join(NAMES)}")
    parser.add_argument(
        "--source",
        type=Path,
        metavar="PATH",
        help="a folder with its images instead of a download: class folders, torchvision's files, or a competition",
    )
    arguments = parser.parse_args(argv)
    out_dir = Path("input") / arguments.name
    return guarded("practice", lambda: practice(arguments.name, arguments.source, out_dir), None)


if __name__ == "__main__":
    sys.exit(main())
