"""Versions of one image, from the audit to the scores: planted copies are found, share a fold, and are counted."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score

from making import saved, write_table
from pipeline import ensemble, folds, infer, prepare, train
from pipeline.audit import duplicates
from pipeline.competition.answers.predictions import read_predictions
from pipeline.config import Config
from pipeline.config_file import load
from pipeline.freshness import certificate_path
from pipeline.paths import folds_path
from running import CONFIG, RUN

NUM_PICTURES, NUM_COPIES = 80, 40
LABELS = ["ant", "bee"]
# At 32 px, the least side at which images are compared by their looks.
SIZE = "image.size=32"


def photo(seed: int, side: int = 96) -> Image.Image:
    """A picture as a camera might take it: smooth patches of colour and finer ones."""
    draw = np.random.default_rng(seed)
    coarse, fine = (draw.integers(0, 256, (cells, cells, 3), np.uint8) for cells in (5, 24))
    layers = [Image.fromarray(layer).resize((side, side), Image.Resampling.BICUBIC) for layer in (coarse, fine)]
    return Image.blend(*layers, 0.3)


def copy_of(image: Image.Image, number: int) -> bytes:
    """One of the ways in which an image comes twice."""
    smaller = image.resize((67, 67), Image.Resampling.BICUBIC)
    ways = [
        saved(image, "PNG"),  # other bytes where it was saved otherwise; the same pixels
        saved(image, "BMP"),
        saved(image, "JPEG", quality=60),
        saved(smaller, "PNG"),
        saved(ImageEnhance.Brightness(image).enhance(1.1), "PNG"),
        saved(ImageEnhance.Brightness(image).enhance(0.9), "PNG"),
    ]
    return ways[number % len(ways)]


def label(number: int) -> str:
    return LABELS[number % 2]


@pytest.fixture
def planted(competition: Callable[..., Config]) -> Config:
    """A competition of which 40 of 120 train images are copies of others, and 3 of 9 test images of train images."""
    cfg = competition(SIZE)
    for part in ("train", "test"):
        for file in (cfg.root / part).iterdir():
            file.unlink()
    for number in range(NUM_PICTURES):
        add(cfg, f"train/{number:03d}", saved(photo(number), "PNG"))
    for number in range(NUM_COPIES):
        add(cfg, f"train/c{number:03d}", copy_of(photo(number), number))
    for number in range(6):
        add(cfg, f"test/{number:03d}", saved(photo(1000 + number), "PNG"))
    for number in range(3):
        add(cfg, f"test/c{number:03d}", copy_of(photo(70 + number), number))
    rows = [[f"{n:03d}", label(n)] for n in range(NUM_PICTURES)] + [[f"c{n:03d}", label(n)] for n in range(NUM_COPIES)]
    write_table(cfg.root / "train.csv", ["id", "label"], rows)
    ids = [file.stem for file in sorted((cfg.root / "test").iterdir())]
    write_table(cfg.root / "sample_submission.csv", ["id", "label"], [[id_, "ant"] for id_ in ids])
    return cfg


def add(cfg: Config, name: str, data: bytes) -> None:
    (cfg.root / f"{name}.png").write_bytes(data)


def run(*settings: str) -> Config:
    for stage in (prepare, folds):
        assert stage.main([*CONFIG, "--set", SIZE, *settings]) == 0
    return load(Path("configs/tiny.toml"), (SIZE, *settings))


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def audited_groups() -> dict[str, str]:
    return {f"{row['split']} {row['id']}": row["duplicates"] for row in rows_of(RUN / "audit.csv")}


def fold_of(cfg: Config) -> dict[str, str]:
    return {row["id"]: row["fold"] for row in rows_of(folds_path(cfg))}


def num_split(cfg: Config) -> int:
    fold = fold_of(cfg)
    return sum(fold[f"{n:03d}"] != fold[f"c{n:03d}"] for n in range(NUM_COPIES))


def test_planted_copies_are_named_and_no_others(planted: Config, capsys: pytest.CaptureFixture[str]) -> None:
    run()
    groups = audited_groups()
    wanted = dict.fromkeys(groups, "")
    for number in range(NUM_COPIES):
        wanted[f"train {number:03d}"] = wanted[f"train c{number:03d}"] = f"train {number:03d}"
    for number in range(3):
        wanted[f"train {70 + number:03d}"] = wanted[f"test c{number:03d}"] = f"train {70 + number:03d}"
    assert groups == wanted
    said = capsys.readouterr().out
    assert "80 train images are versions of 40, 0 test images of 0, and 3 test images are train images" in said


def test_copies_share_a_fold_unless_that_is_not_wanted(planted: Config, capsys: pytest.CaptureFixture[str]) -> None:
    together, apart = run(), run("folds.duplicates=apart")
    assert folds_path(together) != folds_path(apart)
    assert num_split(together) == 0 and num_split(apart) >= NUM_COPIES // 4
    said = capsys.readouterr().out
    assert (
        f"{num_split(apart)} images with several versions lie in several folds, {2 * num_split(apart)} images" in said
    )
    for cfg, wanted in ((together, 0), (apart, num_split(apart))):
        notes = json.loads(certificate_path(cfg).read_text())["notes"]
        assert notes["duplicates"]["across"] == wanted == len(notes["duplicates"]["named"])
        assert notes["groups"]["across"] == 0 and notes["conflicts"] == {}
        for fold, content in notes["contents"].items():
            listed = [row["labels"] for row in rows_of(folds_path(cfg)) if row["fold"] == fold]
            assert content == {"images": len(listed), "classes": {name: listed.count(name) for name in LABELS}}


def cells(middle: int) -> bytes:
    """A picture of 16 x 16 cells, of which one has another brightness."""
    values = np.random.default_rng(0).integers(0, 200, (16, 16, 3))
    values[8, 8] = middle
    return saved(Image.fromarray(np.kron(values, np.ones((4, 4, 1))).astype(np.uint8)), "PNG")


def test_a_test_image_moves_no_fold_and_a_train_image_does(planted: Config, capsys: pytest.CaptureFixture[str]) -> None:
    """The test image is like two train images, which are not like each other, and do not become so by it."""
    table, sample = planted.root / "train.csv", planted.root / "sample_submission.csv"
    for name, middle in (("x000", 30), ("x001", 170)):
        add(planted, f"train/{name}", cells(middle))
        table.write_text(table.read_text() + f"{name},ant\n")
    cfg = run()
    assert audited_groups()["train x000"] == audited_groups()["train x001"] == ""
    before = (folds_path(cfg), folds_path(cfg).read_bytes())
    capsys.readouterr()
    add(planted, "test/x002", cells(100))
    sample.write_text(sample.read_text() + "x002,ant\n")
    run()
    assert "folds: up to date" in capsys.readouterr().out
    groups = audited_groups()
    assert [groups[name] for name in ("train x000", "train x001", "test x002")] == ["train x000", "", "train x000"]
    assert (folds_path(cfg), folds_path(cfg).read_bytes()) == before
    add(planted, "train/c040", copy_of(photo(40), 0))
    table.write_text(table.read_text() + f"c040,{label(40)}\n")
    run()
    assert folds_path(cfg) != before[0] and fold_of(cfg)["040"] == fold_of(cfg)["c040"]


def test_without_duplicates_folds_are_what_they_were(planted: Config) -> None:
    """With the name and the bytes of folds that know nothing of duplicates."""
    rows = [[f"{n:03d}", label(n)] for n in range(NUM_PICTURES)]
    write_table(planted.root / "train.csv", ["id", "label"], rows)
    together = run()
    table = folds_path(together).read_bytes()
    assert audited_groups()["test c000"] == "train 070" and b'"image' not in table
    apart = run("folds.duplicates=apart")
    assert folds_path(apart).read_bytes() == table
    (RUN / "prepare.json").unlink()
    assert folds_path(together).is_file(), "the name does not depend on what was found"


def test_versions_with_other_labels_are_listed_and_can_be_left_out(
    planted: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    table = planted.root / "train.csv"
    for number in (4, 7):
        table.write_text(
            table.read_text().replace(f"c{number:03d},{label(number)}", f"c{number:03d},{label(number + 1)}")
        )
    wanted = {f"train {n:03d}": {f"{n:03d}": label(n), f"c{n:03d}": label(n + 1)} for n in (4, 7)}
    kept = run()
    assert json.loads(certificate_path(kept).read_text())["notes"]["conflicts"] == wanted
    assert "4 train images, versions of 2, have different labels" in capsys.readouterr().out
    dropped = run("data.conflicts=drop")
    assert "they are left out" in capsys.readouterr().out
    assert fold_of(kept).keys() - fold_of(dropped).keys() == {"004", "c004", "007", "c007"}
    assert json.loads(certificate_path(dropped).read_text())["notes"]["conflicts"] == wanted
    assert len(audited_groups()) == NUM_PICTURES + NUM_COPIES + 9, "the audit lists all"


def test_an_own_fold_column_is_left_and_what_it_splits_is_named(
    planted: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    """60 of 60 groups on both sides: one image of each in the one fold, the other in the other."""
    rows = rows_of(planted.root / "train.csv")
    cells = [[row["id"], row["label"], place // 2, place % 2] for place, row in enumerate(rows)]
    write_table(planted.root / "train.csv", ["id", "label", "sender", "part"], cells)
    cfg = run("folds.column=part", "data.group=sender")
    assert fold_of(cfg) == {str(id_): str(part) for id_, _, _, part in cells}
    notes = json.loads(certificate_path(cfg).read_text())["notes"]
    assert (notes["groups"]["across"], notes["groups"]["images"]) == (60, 120)
    assert notes["groups"]["named"]["group 0"] == [0, 1]
    assert "60 groups lie in several folds, 120 images (group 0, group 1, group 10, ...)" in capsys.readouterr().out


def test_groups_and_versions_are_united(planted: Config) -> None:
    """Images of one sender, and the copies of any of them, are in one fold."""
    rows = rows_of(planted.root / "train.csv")
    cells = [[row["id"], row["label"], "" if row["id"][0] == "c" else int(row["id"]) // 4] for row in rows]
    write_table(planted.root / "train.csv", ["id", "label", "sender"], cells)
    cfg = run("data.group=sender")
    fold = fold_of(cfg)
    for start in range(0, NUM_COPIES, 4):
        ids = [f"{kind}{n:03d}" for n in range(start, start + 4) for kind in ("", "c")]
        assert len({fold[id_] for id_ in ids}) == 1
    assert set(fold.values()) == {"0", "1"}


def test_where_all_images_are_one_there_are_no_folds(planted: Config, capsys: pytest.CaptureFixture[str]) -> None:
    for file in (planted.root / "train").iterdir():
        file.write_bytes(saved(photo(0), "PNG"))
    assert prepare.main([*CONFIG, "--set", SIZE]) == 0
    assert folds.main([*CONFIG, "--set", SIZE]) == 1
    assert "set folds.duplicates = 'apart'" in capsys.readouterr().err
    run("folds.duplicates=apart")


def test_the_score_without_copies_in_other_folds_is_said(planted: Config, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["folds.duplicates=apart", "train.num_epochs=1", "data.answers="]
    cfg = run(*settings)
    for stage in (train, infer, ensemble):
        assert stage.main([*CONFIG, "--set", SIZE, *settings]) == 0
    fold, oof = fold_of(cfg), read_predictions(RUN / "oof.parquet", "")
    true = {row["id"]: row["label"] for row in rows_of(cfg.root / "train.csv")}
    seen = {f"{kind}{n:03d}" for n in range(NUM_COPIES) for kind in ("", "c") if fold[f"{n:03d}"] != fold[f"c{n:03d}"]}
    said = {id_: oof.classes[place] for id_, place in zip(oof.ids, oof.probs.array.argmax(1), strict=True)}
    rest = sorted(set(said) - seen)
    wanted = accuracy_score([true[id_] for id_ in rest], [said[id_] for id_ in rest])
    scores = json.loads((RUN / "scores.json").read_text())
    assert scores["without_versions"] == {"cv": pytest.approx(wanted), "left_out": len(seen)}
    assert f"CV accuracy: {wanted:.5f} without {len(seen)} images that have a version" in capsys.readouterr().out


def test_a_crowd_of_images_that_are_alike_is_no_group(
    planted: Config, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is a version of the next, and none of those far off; of them exact copies alone count."""
    monkeypatch.setattr(duplicates, "LARGEST", 7)
    for number in range(10):
        add(
            planted, f"train/{number:03d}", saved(ImageEnhance.Brightness(photo(200)).enhance(1 - 0.03 * number), "PNG")
        )
        add(planted, f"train/c{number:03d}", saved(photo(300 + number), "PNG"))
    (planted.root / "train/c000.png").write_bytes((planted.root / "train/000.png").read_bytes())
    run()
    groups = audited_groups()
    assert {name for name, group in groups.items() if group == "train 000"} == {"train 000", "train c000"}
    assert not any(groups[f"train {number:03d}"] for number in range(1, 10))
    assert groups["train c010"] == "train 010"
    assert "10 images are a crowd in which each is like the next" in capsys.readouterr().out


def test_small_images_are_compared_by_their_pixels_alone(planted: Config) -> None:
    """Handwritten digits of 8 px, enlarged: two of a class are alike as two versions of a photo are."""
    digits = load_digits().images[:120]
    for number, (file, digit) in enumerate(zip(sorted((planted.root / "train").iterdir()), digits, strict=True)):
        file.write_bytes(saved(Image.fromarray((digit * 15.9).astype(np.uint8)), "PNG" if number % 2 else "BMP"))
    (planted.root / "test/000.png").write_bytes(saved(Image.fromarray((digits[5] * 15.9).astype(np.uint8)), "BMP"))
    run("image.channels=1")
    groups = {name: group for name, group in audited_groups().items() if group and not name.startswith("test c")}
    assert groups == {"train 005": "train 005", "test 000": "train 005"}
