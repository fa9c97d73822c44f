"""Labels within cells."""

import re
from collections.abc import Callable

import pytest

from pipeline.competition.tables.table import label_within, read_train
from pipeline.config import Config, ConfigError
from pipeline.config_file import loads
from pipeline.files import InputError


@pytest.mark.parametrize(
    ("cell", "pattern", "label"),
    [
        ("n01 10 20 30 40 n02 1 2 3 4", r"^(\S+)", "n01"),
        ("kind=ant;age=3", r"kind=(\w+)", "ant"),
        ("img_ant_07", "ant|bee", "ant"),
        ("nothing", r"\d+", ""),
    ],
)
def test_the_label_within_a_cell(cell: str, pattern: str, label: str) -> None:
    assert label_within(cell, pattern) == label


def test_the_train_table_is_read_by_it(competition: Callable[..., Config]) -> None:
    cfg = competition()
    short = cfg.model_copy(update={"data": cfg.data.model_copy(update={"label_pattern": "^(.)"})})
    expected = [re.match("(.)", cell)[1] for cell in read_train(cfg).labels[cfg.data.labels[0]]]  # type: ignore[index]
    assert list(read_train(short).labels[cfg.data.labels[0]]) == expected and len(set(expected)) > 1
    none = cfg.model_copy(update={"data": cfg.data.model_copy(update={"label_pattern": "#"})})
    with pytest.raises(InputError, match=r"data\.label_pattern = '#' finds no label"):
        read_train(none)


def test_a_pattern_must_be_one() -> None:
    from pathlib import Path

    with pytest.raises(ConfigError, match="must be a regular expression"):
        loads('[data]\nlabel_pattern = "("\n', Path("configs/x.toml"), [])
