"""Cores: what the user, the affinity and a container's quota grant."""

import os
from pathlib import Path

import pytest

from pipeline import cores


@pytest.mark.parametrize(("text", "expected"), [("250000 100000", 3), ("50000 100000", 1)])
def test_a_quota_is_a_limit(text: str, expected: int, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text(text + "\n")
    assert cores.quota(tmp_path / "cpu.max") == expected


@pytest.mark.parametrize("text", ["max 100000", "", "nonsense"])
def test_no_quota_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert cores.quota(tmp_path / "cpu.max") > 1000
    assert cores.quota(tmp_path / "none") > 1000


def test_the_user_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert cores.num_cores() == 7
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert 1 <= cores.num_cores() <= (os.cpu_count() or 1)
