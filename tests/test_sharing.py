"""What processes of a run must have in common; the other process is played."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline import sharing
from pipeline.config import Config, ConfigError
from pipeline.files import InputError, digest
from pipeline.sharing import must_share
from running import RUN


class Other:
    """The team of two as the second of them has it: what the first one says, and does before they meet."""

    size, is_first = 2, False

    def __init__(self, settings: str, mark: str, folder: Path) -> None:
        self.said, self.mark, self.folder = [settings, mark], mark, folder

    def first(self, work: Callable[[], Any]) -> Any:
        return self.said

    def meet(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / self.mark).touch()


@pytest.mark.parametrize(
    ("lr", "folder", "error"),
    [
        (None, RUN, None),
        (0.5, RUN, (ConfigError, "must have the same settings")),
        (None, Path("elsewhere"), (InputError, "work in one folder that all machines have")),
    ],
)
def test_processes_have_the_same_settings_and_folder(
    competition: Callable[..., Config],
    monkeypatch: pytest.MonkeyPatch,
    lr: float | None,
    folder: Path,
    error: tuple[type[Exception], str] | None,
) -> None:
    cfg = competition()
    train = cfg.train if lr is None else cfg.train.model_copy(update={"lr": lr})
    first = digest(cfg.model_copy(update={"train": train}).model_dump(mode="json"))
    monkeypatch.setattr(sharing, "team", lambda: Other(first, ".shared", folder))
    if error is None:
        must_share(cfg)
        return
    with pytest.raises(error[0], match=error[1]):
        must_share(cfg)
