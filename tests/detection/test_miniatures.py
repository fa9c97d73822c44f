"""Published competitions in miniature, as downloaded and under other names: read, decided, written, accepted."""

import csv
import importlib.util
import io
import json
import random
import shutil
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline import detect
from pipeline.archive_names import is_archive, stem
from pipeline.competition.answers import submission
from pipeline.competition.answers.decide import PLAIN
from pipeline.competition.answers.form import read_form
from pipeline.competition.answers.probs import Probs
from pipeline.competition.answers.task import Task, make_task, split_tags
from pipeline.competition.archives.opened import open_folder
from pipeline.competition.archives.unpacking import Room, unpack
from pipeline.competition.folds.fold_table import read_labelled
from pipeline.competition.tables.table import read_test, read_train
from pipeline.config_file import load
from pipeline.folds import make_folds

MINI = Path(__file__).parent.parent.parent.parent / "shared" / "competitions" / "mini"
NAMES = sorted(path.name for path in MINI.iterdir()) if MINI.is_dir() else ["none"]
# Where folders are no classes; what they and the tables are called in a twin.
FOLDERS = {"train": "set one", "test": "set two", "images": "photos", "train_images": "first", "test_images": "second"}
TABLES = {
    "train": "known",
    "labels": "known",
    "train_labels": "known",
    "test": "asked",
    "sample_submission": "to fill in",
    "kaggle_sample_submission": "to fill in",
}


# The template of the train images, the metric and the labels that are detected in the downloads as they are.
SETTINGS = {
    "aerial-cactus-identification": ("train/{id}", "roc_auc", ("has_cactus",)),
    "alaska2-image-steganalysis": ("{label}/{file}", "roc_auc", ("label",)),
    "aptos2019-blindness-detection": ("train_images/{id_code}.png", "quadratic_kappa", ("diagnosis",)),
    "cassava-leaf-disease-classification": ("train_images/{image_id}", "accuracy", ("label",)),
    "dog-breed-identification": ("train/{id}.jpg", "log_loss", ("breed",)),
    "herbarium-2020-fgvc7": ("nybg2020/train/{file_name}", "accuracy", ("category_id",)),
    "herbarium-2021-fgvc8": ("train/{file_name}", "accuracy", ("category_id",)),
    "hotel-id-2021-fgvc8": ("train_images/{chain}/{image}", "map@5", ("hotel_id",)),
    "inaturalist-2019-fgvc6": ("{file_name}", "accuracy", ("category_id",)),
    "invasive-species-monitoring": ("train/{name}.jpg", "roc_auc", ("invasive",)),
    "iwildcam-2020-fgvc7": ("train/{file_name}", "accuracy", ("category_id",)),
    "paddy-disease-classification": ("train_images/{label}/{image_id}", "accuracy", ("label",)),
    "plant-pathology-2020-fgvc7": (
        "images/{image_id}.jpg",
        "mean_column_auc",
        ("healthy", "multiple_diseases", "rust", "scab"),
    ),
    "plant-pathology-2021-fgvc8": ("train_images/{image}", "micro_f1", ("labels",)),
}


def files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


class Twin:
    """A miniature under other names: columns, tables, folders, files; rows shuffled; archives packed anew."""

    def __init__(self, public: Path, target: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.columns: dict[str, str] = {}
        self.stems: dict[str, str] = {}
        opened = target.with_name("opened")
        packed = self._open(public, opened)
        for file in opened.rglob("*"):
            if file.suffix in (".jpg", ".png") and not (file.stem.isdecimal() and len(file.stem) < 7):
                self.stems.setdefault(file.stem, f"{self.random.getrandbits(40):010x}")
        for table in sorted(opened.rglob("*.csv")):
            with table.open(encoding="utf-8", newline="") as stream:
                for column in next(csv.reader(stream)):
                    self.column(column)
        for file in files_below(opened):
            self._write(file, target / self._path(str(file.relative_to(opened))))
        for path in packed:
            folder = target / self._path(stem(str(path.relative_to(public))))
            if folder.is_dir():
                self._pack(folder, tar=".tar" in path.name)

    def _open(self, public: Path, opened: Path) -> list[Path]:
        """Copy a download with its archives unpacked; returns those that are to be packed again."""
        packed = []
        for path in files_below(public):
            name = str(path.relative_to(public))
            if not is_archive(name):
                (opened / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, opened / name)
                continue
            inner = opened / stem(name)
            unpack(path, inner, Room(1e9))
            if name.endswith(".csv.zip"):
                self._instead_of_folder(inner)
            else:
                packed.append(path)
                self._without_own_folder(inner)
        return packed

    def _instead_of_folder(self, folder: Path) -> None:
        """Put the one table of an unpacked archive beside the archive."""
        (table,) = files_below(folder)
        shutil.move(table, folder.with_name("table"))
        shutil.rmtree(folder)
        shutil.move(folder.with_name("table"), folder.with_name(table.name))

    def _without_own_folder(self, folder: Path) -> None:
        """Put what lies in `name/name/` of an unpacked archive into `name/`."""
        for file in files_below(folder / folder.name):
            place = folder / file.relative_to(folder / folder.name)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(file, place)

    def _pack(self, folder: Path, *, tar: bool) -> None:
        if tar:
            with tarfile.open(f"{folder}.tar.gz", "w") as archive:
                archive.add(folder, folder.name)
        else:
            with zipfile.ZipFile(f"{folder}.zip", "w") as packed:
                for file in folder.rglob("*"):
                    packed.write(file, file.relative_to(folder))
        shutil.rmtree(folder)

    def _path(self, path: str) -> str:
        *folders, name = path.split("/")
        base, dot, ending = name.rpartition(".")
        if not dot:
            base, ending = name, ""
        base = self.stems.get(base, TABLES.get(base, base) if ending in ("csv", "json") else FOLDERS.get(base, base))
        return "/".join([*(FOLDERS.get(folder, folder) for folder in folders), base + dot + ending])

    def column(self, name: str) -> str:
        """Another name for a column, or for a class that is one."""
        return self.columns.setdefault(name, f"k{len(self.columns)}{name[::-1][:3]}") if name else name

    def cell(self, text: str) -> str:
        """A cell: names of files and folders, and of classes that are columns, are others."""
        if text in self.columns:
            return self.columns[text]
        return (
            self._path(text) if text.rpartition(".")[0].rpartition("/")[2] in self.stems or text in self.stems else text
        )

    def _write(self, source: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix == ".csv":
            header, *rows = csv.reader(io.StringIO(source.read_text(encoding="utf-8")))
            header = [self.column(name) for name in header]
            rows = [[self.cell(cell) for cell in row] for row in rows]
            self.random.shuffle(rows)
            with target.open("w", encoding="utf-8", newline="") as stream:
                csv.writer(stream, lineterminator="\n").writerows([header, *rows])
        elif source.suffix == ".json":
            value = json.loads(source.read_text(encoding="utf-8"))
            target.write_text(json.dumps(self._json(value)), encoding="utf-8")
        else:
            shutil.copyfile(source, target)

    def _json(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._json(item) for key, item in value.items()}
        if isinstance(value, list):
            items = [self._json(item) for item in value]
            self.random.shuffle(items) if items and isinstance(items[0], dict) else None
            return items
        if not isinstance(value, str):
            return value
        return self._path(value) if "." in value else self.cell(value)

    def answers(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The answers under the twin's names."""
        return frame.map(self.cell).rename(columns=self.column)


@pytest.mark.shared
@pytest.mark.parametrize("twin", [False, True], ids=["as it is", "twin"])
@pytest.mark.parametrize("name", NAMES)
def test_a_perfect_prediction_is_accepted_and_scores_full(workplace: Path, name: str, twin: bool) -> None:
    root = workplace / "input" / ("another name" if twin else name)
    rules = json.loads((MINI / name / "rules.json").read_text())
    answers = pd.read_csv(MINI / name / "answers.csv", dtype=str, keep_default_na=False)
    if twin:
        other = Twin(MINI / name / "public", root, seed=len(name))
        answers = other.answers(answers)
        rules["id"], rules["targets"] = other.column(rules["id"]), [other.column(target) for target in rules["targets"]]
    else:
        shutil.copytree(MINI / name / "public", root)
    cfg = load(detect.detect(root))
    if not twin:
        assert (cfg.data.image, cfg.task.metric, cfg.data.labels) == SETTINGS[name]
    open_folder(cfg.root, 1.0)
    samples, test = read_train(cfg, files=True), read_test(cfg, files=True)
    task = make_task(cfg, samples)
    assert len(samples) == 280 and len(test) == 100
    make_folds(cfg)
    assert len(read_labelled(cfg).folds) == 280
    form = read_form(cfg, task, test.ids)
    (frame,) = submission.fill(form, task, test.ids, oracle(task, test.ids, answers.set_index(rules["id"])), PLAIN)
    submission.write(workplace / "output" / "submission.csv", form, task, [frame])
    score = referee()
    written = score.read(workplace / "output" / "submission.csv", rules)
    known = score.read(MINI / name / "answers.csv", json.loads((MINI / name / "rules.json").read_text()))
    known = other.answers(known.astype(str)) if twin else known
    assert score.refusals(written, known, rules) == []
    best = {"error": 0.0, "log_loss": 0.0}.get(rules["metric"], 1.0)
    assert score.score(written, known, rules) == pytest.approx(best, abs=1e-6)


def oracle(task: Task, ids: list[str], answers: pd.DataFrame) -> Probs:
    """The probabilities of somebody who knows the answers."""
    probs = np.zeros((len(ids), task.num_outputs), np.float32)
    for row, id_ in enumerate(ids):
        cells = [str(cell) for cell in answers.loc[id_]]
        if len(cells) > 1:
            names = [name for name, cell in zip(answers.columns, cells, strict=True) if float(cell) == 1]
        else:
            names = split_tags(cells[0], " ") if task.kind == "multi" else [cells[0]]
        probs[row, [task.classes.index(name) for name in names]] = 1
    return Probs.dense(probs)


def referee() -> Any:
    """The shared competitions' `score.py`."""
    spec = importlib.util.spec_from_file_location("referee", MINI.parent / "score.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
