"""Rows that are not one for each image, and flags that are not known."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from making import write_table
from pipeline.competition.answers.task import make_task
from pipeline.competition.tables.table import read_test, read_train
from pipeline.config import Config
from pipeline.config_file import load
from pipeline.files import InputError
from running import RUN, run_all

NAMES = ["ant", "bee", "cow"]
LABELS = 'data.labels=["ant", "bee", "cow"]'


def test_exact_copies_of_rows_are_left_out_and_counted(competition: Callable[..., Config]) -> None:
    cfg = competition()
    path = cfg.root / "train.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[3], lines[4], lines[3]]) + "\n")
    samples = read_train(cfg)
    assert samples.ids == sorted(set(samples.ids)) and len(samples) == 24
    assert samples.notes == ("input/tiny/train.csv: 3 rows are copies of others (002, 003, 002), and left out",)
    path.write_text("\n".join([*lines, f"{lines[3][:4]}ant"]) + "\n")
    with pytest.raises(
        InputError, match=r"1 ids appear more than once \(002\); where each row is a tag .*tag_separator"
    ):
        read_train(cfg)
    write_table(cfg.root / "test.csv", ["id"], [["000"], ["001"], ["000"]])
    test = read_test(load(Path(cfg.path), ["data.test=test.csv"]))
    assert test.ids == ["000", "001"] and "1 rows are copies of others (000)" in test.notes[0]


def test_a_row_for_each_image_and_tag_becomes_tags(competition: Callable[..., Config]) -> None:
    cfg = competition("data.tag_separator=;", "task.metric=micro_f1")
    rows = [[f"{n:03d}", NAMES[n % 3], f"by {n}"] for n in range(24)]
    rows += [[f"{n:03d}", NAMES[(n + 1) % 3], "by another"] for n in range(0, 24, 2)]
    write_table(cfg.root / "train.csv", ["id", "label", "who"], rows)
    samples = read_train(cfg)
    assert len(samples) == 24 and samples.labels["label"].tolist()[:4] == ["ant;bee", "bee", "cow;ant", "ant"]
    assert samples.notes == ("input/tiny/train.csv: 36 rows, each a tag of its image, are those of 24 images",)
    task = make_task(cfg, samples)
    wanted = np.zeros((24, 3))
    for id_, name, _ in rows:
        wanted[int(id_), NAMES.index(name)] = 1
    assert task.kind == "multi" and np.array_equal(task.encode(samples.labels), wanted)
    # Rows of one id that are of two images are no tags.
    write_table(cfg.root / "train.csv", ["id", "label", "who"], [["000", "ant", "a"], ["000", "bee", "b"]])
    with pytest.raises(InputError, match="more than once"):
        read_train(load(Path(cfg.path), ["data.tag_separator=;", "data.image=train/{who}.png"]))


@pytest.mark.parametrize("unknown", ["-1", "", "-1.0"])
def test_unknown_flags_count_as_not_there_or_their_rows_are_left_out(
    competition: Callable[..., Config], unknown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [[f"{n:03d}", *[str(int(n % 3 == k)) for k in range(3)]] for n in range(24)]
    rows[4][1], rows[7][1], rows[7][3] = unknown, unknown, unknown
    settings = (LABELS, "task.metric=micro_f1", "task.kind=multi")
    for setting, ids in (("absent", range(24)), ("drop", [n for n in range(24) if n not in (4, 7)])):
        cfg = competition(*settings, f"data.unknown_flags={setting}")
        write_table(cfg.root / "train.csv", ["id", *NAMES], rows)
        samples = read_train(cfg)
        assert samples.ids == [f"{n:03d}" for n in ids]
        assert "3 cells of label columns, in 2 rows, are -1 or empty" in samples.notes[0]
        targets = make_task(cfg, samples).encode(samples.labels)
        assert targets.tolist() == [[float(n % 3 == k) for k in range(3)] for n in ids]
    for name in ("answers", "sample_submission"):
        write_table(cfg.root / f"{name}.csv", ["id", *NAMES], [[f"{n:03d}", 0, 0, 1] for n in range(8)])
    assert run_all(*settings) == 0
    said = capsys.readouterr().out
    assert said.count("data.unknown_flags = 'drop' leaves these rows out") == 1
    with Path(RUN / "submission.csv").open() as stream:
        assert len(list(csv.reader(stream))) == 9
