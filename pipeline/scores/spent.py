"""Where the time of a run went, by the seconds of its epochs and of its decoding, and what would make it shorter."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from pipeline.config import Config
from pipeline.files import read_rows
from pipeline.paths import all_folds, decoding_path, fold_dir

# What training an epoch is made of: the wait for images to be gathered, the wait for them to be changed, and the steps,
# on CUDA with what changes the images there. Then it is validated, and saved.
TRAINING = ("gather", "augment", "step")
PARTS = (*TRAINING, "validate", "save")
_NUMBER = re.compile(r"\d+(\.\d+)?")
_COUNTS = ("epoch", "images", "not_kept", "memory")
# Part of a training that it may wait for images before that is said: without the wait it would be a quarter faster.
LARGE = 0.2


@dataclass(frozen=True)
class Spent:
    """Seconds of each part of a training, its images, those that are not kept decoded, and megabytes of memory."""

    seconds: Mapping[str, float]
    images: int
    not_kept: int
    memory: int

    @property
    def total(self) -> float:
        """Seconds of all parts."""
        return sum(self.seconds.values())

    @property
    def waited(self) -> float:
        """The part of the time that training waited for images, in [0, 1]."""
        return self.share("gather") + self.share("augment")

    def share(self, part: str) -> float:
        """A part's share of the time, in [0, 1]."""
        return self.seconds[part] / self.total if self.total else 0.0


@dataclass(frozen=True)
class Decoded:
    """What was read and decoded: files, megabytes, seconds that passed, and seconds of all threads for both."""

    files: float
    megabytes: float
    seconds: float
    reading: float
    decoding: float


def fold_seconds(cfg: Config, fold: int | str) -> Path:
    """The table of the seconds of a model's epochs, beside its history, whose bytes the clock must not change."""
    return fold_dir(cfg, fold) / "seconds.csv"


def add_epoch(path: Path, counts: Mapping[str, int], seconds: Mapping[str, float]) -> None:
    """Add an epoch, or what was trained of it, to a table of seconds."""
    cells = [str(counts[name]) for name in _COUNTS] + [f"{seconds.get(part, 0.0):.3f}" for part in PARTS]
    header = "" if path.is_file() else ",".join((*_COUNTS, *PARTS)) + "\n"
    with path.open("a", encoding="utf-8") as stream:
        stream.write(header + ",".join(cells) + "\n")


def read_spent(cfg: Config) -> dict[str, Spent]:
    """What was spent on each model, as far as it is trained."""
    found = {}
    for fold in all_folds(cfg):
        rows = _numbers(fold_seconds(cfg, fold), (*_COUNTS, *PARTS))
        if rows:
            seconds = {part: sum(row[part] for row in rows) for part in PARTS}
            images, memory = sum(int(row["images"]) for row in rows), max(int(row["memory"]) for row in rows)
            found[str(fold)] = Spent(seconds, images, int(rows[-1]["not_kept"]), memory)
    return found


def _numbers(path: Path, names: Sequence[str]) -> list[dict[str, float]]:
    """The numbers of a table's whole lines. A process that was killed may have left a part of one; nothing depends on
    these tables, so nothing guards them.
    """
    rows = read_rows(path)
    return [
        {name: float(row[name]) for name in names}
        for row in rows
        if all(_NUMBER.fullmatch(row.get(name) or "") for name in names)
    ]


def read_decoded(cfg: Config) -> Decoded | None:
    """What `prepare` has read and decoded for this run, all splits together; None where that was nothing."""
    names = [field.name for field in fields(Decoded)]
    rows = _numbers(decoding_path(cfg), names)
    return Decoded(**{name: sum(row[name] for row in rows) for name in names}) if rows else None


def together(spent: Sequence[Spent]) -> Spent:
    """What was spent on some models."""
    seconds = {part: sum(each.seconds[part] for each in spent) for part in PARTS}
    images = sum(each.images for each in spent)
    return Spent(
        seconds,
        images,
        max((each.not_kept for each in spent), default=0),
        max((each.memory for each in spent), default=0),
    )


def bound_by(cfg: Config, spent: Spent) -> str:
    """Say what bounds a training, and what would make it faster."""
    if spent.waited >= LARGE:
        return f"training waited {_percent(spent.waited)} of its time for {_waited_for(cfg, spent)}"
    most = max(("step", "validate", "save"), key=spent.share)
    return _MOST[most].format(_percent(spent.share(most)))


_MOST = {
    "step": "the steps take {} of the training: a smaller image.size or model.name makes it faster",
    "validate": "validation takes {} of the training: fewer infer.views make it faster",
    "save": "saving takes {} of the training: a faster disk makes it faster, or longer train.checkpoint_minutes",
}


def _waited_for(cfg: Config, spent: Spent) -> str:
    """What it waited for, and what is cheaper."""
    if spent.share("augment") >= spent.share("gather"):
        return f"augmented images: {_cheaper(cfg)} or a smaller image.size is cheaper"
    if cfg.augment.albumentations:
        return "images that augment.albumentations changes one by one: fewer or cheaper transforms in that file help"
    if spent.not_kept:
        return (
            f"images to be decoded, as {spent.not_kept:,} are not kept: make room on the disk, or raise "
            "image.cache_limit, and start python -m pipeline.prepare"
        )
    return (
        "decoded images to be read: more memory, which keeps them, a smaller image.size or a faster disk for "
        "output/cache helps"
    )


def _cheaper(cfg: Config) -> str:
    """The setting of augmentation that costs most, as it would cost less."""
    augment = cfg.augment
    if augment.policy not in ("none", "trivialaugment"):
        return "augment.policy = 'trivialaugment' (one operation for two), 'none'"
    if augment.policy != "none":
        return "augment.policy = 'none'"
    return "augment.min_area = 1.0" if augment.min_area < 1 else "less augmentation"


def decoded_by(decoded: Decoded) -> str:
    """Say what bounded `prepare`, and what would make it faster."""
    both = decoded.reading + decoded.decoding
    share, seconds = decoded.reading / max(both, 1e-9), max(decoded.seconds, 1e-9)
    pace = f"{decoded.megabytes / seconds:,.1f} MB/s"
    if share >= 0.5:
        return (
            f"prepare read {pace} from the disk, which took {_percent(share)} of its time: a faster disk, such as a "
            "local copy of data.root, makes it faster"
        )
    return (
        f"prepare decoded {decoded.files / seconds:,.0f} files/s ({pace}), which took {_percent(1 - share)} of its "
        "time: more processor cores make it faster, and another run of this size finds them decoded"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
