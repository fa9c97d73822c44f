"""The README is true: its settings are the code's, its files and stages exist."""

import re

from pipeline.cli import DEFAULT_CONFIG
from settings_table import README, ROOT, current


def test_the_settings_are_current() -> None:
    text = README.read_text(encoding="utf-8")
    assert text == current(text), "write the table anew: python tests/settings_table.py"


def test_the_configs_and_stages_that_it_names_exist() -> None:
    text = README.read_text(encoding="utf-8")
    for name in re.findall(r"configs/([a-z0-9_]+\.toml)", text):
        if name not in ("mine.toml", "clothing.toml"):
            assert (ROOT / "configs" / name).is_file(), name
    stages = set(re.findall(r"pipeline\.(\w+)", text))
    assert {"detect", "prepare", "folds", "train", "infer", "ensemble", "practice"} <= stages
    for stage in stages:
        assert (ROOT / "pipeline" / f"{stage}.py").is_file(), stage
    assert (ROOT / DEFAULT_CONFIG).is_file()
