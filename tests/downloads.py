"""Folders as competitions are downloaded, in small, and how they are read."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from making import write_table
from pipeline.competition.tables.table import Samples, read_test, read_train
from pipeline.config import Config
from pipeline.config_file import load
from pipeline.detection.recognise import Found, recognise, render

TRAIN = [f"{number:03d}" for number in range(20)]
TEST = [f"{number:03d}" for number in range(8)]
NAMES = ["ant", "bee", "cow", "dog"]
LABELS = [NAMES[number % 4] for number in range(20)]


def put(root: Path, paths: Sequence[str], size: tuple[int, int] = (8, 8), mode: str = "RGB") -> None:
    """Write an image at each path."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new(mode, size).save(root / path)


def plain(root: Path, header: tuple[str, str] = ("id", "label"), labels: Sequence[object] = LABELS) -> None:
    """Two tables and two flat folders, test ids among the train ids."""
    put(root, [f"train/{id_}.png" for id_ in TRAIN] + [f"test/{id_}.png" for id_ in TEST])
    write_table(root / "train.csv", list(header), [list(row) for row in zip(TRAIN, labels, strict=True)])
    write_table(root / "sample_submission.csv", list(header), [[id_, labels[0]] for id_ in TEST])


def read(root: Path, tmp_path: Path) -> tuple[Found, Config, Samples, Samples]:
    """Look, render, load, and read both parts with their files."""
    found = recognise(root)
    path = tmp_path / "found.toml"
    path.write_text(render(found), encoding="utf-8")
    cfg = load(path)
    return found, cfg, read_train(cfg, files=True), read_test(cfg, files=True)
