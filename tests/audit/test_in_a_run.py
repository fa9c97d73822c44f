"""What a run says of its labels and of its test images."""

import csv
import json
from collections.abc import Callable

import pytest
from PIL import Image

from making import picture, write_table
from pipeline.config import Config
from running import RUN, run_all

WRONG = {"004": ("bee", "ant"), "017": ("cow", "bee"), "033": ("ant", "cow")}  # true, and in the table


def test_wrong_labels_and_other_test_images(
    competition: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    """Three labels are wrong; the test images are all of one class."""
    cfg = competition(num_train=60, num_test=40)
    names = ["ant", "bee", "cow"]
    rows = [[f"{number:03d}", names[number % 3]] for number in range(60)]
    for id_, (true, said) in WRONG.items():
        assert rows[int(id_)] == [id_, true]
        rows[int(id_)][1] = said
    write_table(cfg.root / "train.csv", ["id", "label"], rows)
    for number in range(40):
        Image.fromarray(picture(1, 2000 + number)).save(cfg.root / f"test/{number:03d}.png")
    assert run_all("train.num_epochs=12") == 0
    with (RUN / "doubts.csv").open(encoding="utf-8") as stream:
        found = list(csv.DictReader(stream))
    assert {row["id"]: (row["likelier"], row["label"]) for row in found[:3]} == WRONG
    assert [float(row["said"]) for row in found] == sorted(float(row["said"]) for row in found)
    printed = capsys.readouterr().out.splitlines()
    assert f"labels that may be wrong: {len(found)}, the most doubtful first in output/tiny/doubts.csv" in printed
    warnings = json.loads((RUN / "scores.json").read_text())["warnings"]
    assert any(line.startswith("classes come in other shares than out of fold: 'bee' is ") for line in warnings)
    assert printed[-1] == "submission: output/tiny/submission.csv"
    assert f"ensemble: warning: {warnings[-1]}" in printed[-4:]
