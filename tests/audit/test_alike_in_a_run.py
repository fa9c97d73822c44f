"""Mirror images, which hashes do not find, from the probe to the scores and the page."""

import csv
from collections.abc import Callable

import pytest
import timm
import torch
from PIL import Image, ImageOps
from sklearn.metrics import accuracy_score

from making import TOML, picture, write_table
from pipeline.__main__ import main
from pipeline.competition.answers.predictions import read_predictions
from pipeline.config import Config
from pipeline.files import read_json, read_rows
from pipeline.paths import folds_path
from running import CONFIG, RUN

PROBED = TOML.replace('name = "mlp"', 'name = "test_resnet"\nweights = "w.pth"').replace("size = 12", "size = 32")
LABELS = ["ant", "bee", "cow"]


def test_mirror_images(competition: Callable[..., Config], capsys: pytest.CaptureFixture[str]) -> None:
    """The first five images again as others, and the sixth as a test image, all from the left to the right."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(timm.create_model("test_resnet").state_dict(), "w.pth")
    cfg = competition("augment.hflip=0.5", toml=PROBED, num_train=60)
    for number in range(60):
        Image.fromarray(picture(number % 3, number)).save(cfg.root / f"train/{number:03d}.png")
    copies = {f"train/{number:03d}": f"train/{number + 31:03d}" for number in range(5)} | {"train/005": "test/003"}
    for name, copy in copies.items():
        ImageOps.mirror(Image.open(cfg.root / f"{name}.png")).save(cfg.root / f"{copy}.png")
    rows = [[f"{number:03d}", LABELS[number % 3]] for number in range(60)]
    write_table(cfg.root / "train.csv", ["id", "label"], rows)
    assert main(["prepare", "folds", "probe", "ensemble", "report", *CONFIG, "--set", "augment.hflip=0.5"]) == 0
    printed = capsys.readouterr().out

    label, fold = dict(rows), {row["id"]: row["fold"] for row in read_rows(folds_path(cfg))}
    with (RUN / "alike.csv").open(encoding="utf-8") as stream:
        found = list(csv.DictReader(stream))
    mirrored = {f"{row['split']}/{row['id']}": f"{row['other_split']}/{row['other']}" for row in found[:6]}
    assert mirrored == copies and {row["cosine"] for row in found[:6]} == {"1.0000"}
    assert not any(row["duplicates"] for row in read_rows(RUN / "audit.csv")), "hashes do not find them"
    for row in found:
        for split, id_, said in (("split", "id", ""), ("other_split", "other", "other_")):
            known = (label[row[id_]], fold[row[id_]]) if row[split] == "train" else ("", "")
            assert (row[f"{said}label"], row[f"{said}fold"]) == known
    within = [row for row in found if row["split"] == row["other_split"] == "train"]
    across = [row for row in within if row["fold"] != row["other_fold"]]
    differ = sum(row["label"] != row["other_label"] for row in within)
    between = sum(row["split"] != row["other_split"] for row in found)
    assert f"probe: {len(found)} pairs of images are alike to the network, {len(across)} lie in two folds, " in printed
    assert f", {differ} have different labels, {between} are a train and a test image: look at them in " in printed

    seen = {row[key] for row in across for key in ("id", "other")}
    oof = read_predictions(RUN / "probe" / "oof.parquet", "")
    said = {id_: oof.classes[place] for id_, place in zip(oof.ids, oof.probs.array.argmax(1), strict=True)}
    rest = sorted(set(said) - seen)
    wanted = accuracy_score([label[id_] for id_ in rest], [said[id_] for id_ in rest])
    assert 0 < len(seen) < 60
    scores = read_json(RUN / "scores.json")
    assert scores["without_alike"] == {"cv": pytest.approx(wanted), "left_out": len(seen)}
    assert "without_versions" not in scores
    assert f"CV accuracy: {wanted:.5f} without {len(seen)} images that have a version in another fold or are" in printed
    page = (RUN / "report.html").read_text(encoding="utf-8")
    assert f"of {len(found)} in output/tiny/alike.csv" in page and "cosine: 1.0000" in page
