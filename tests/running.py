"""The tiny competition's stages, as tests start them."""

from collections.abc import Sequence
from pathlib import Path

from pipeline import ensemble, folds, infer, prepare, train
from pipeline.__main__ import STAGES, main

CONFIG = ["--config", "configs/tiny.toml"]
RUN = Path("output/tiny")
# Other kinds of labels: their column, three of them, and the settings that they ask for.
KINDS = {
    "multi": (
        "labels",
        ["ant", "bee", "ant bee"],
        ["data.tag_separator= ", "task.metric=micro_f1", 'data.labels=["labels"]'],
    ),
    "number": ("y", ["1.5", "2.5", "9"], ["task.metric=rmse", 'data.labels=["y"]']),
    "ordinal": ("y", ["0", "1", "2"], ["task.metric=quadratic_kappa", 'data.labels=["y"]']),
}


def run_all(*settings: str) -> int:
    """Every stage but detection in run.sh's order; the first exit status that is not 0."""
    options = [*CONFIG, *(["--set", *settings] if settings else [])]
    for stage in (prepare, folds, train, infer, ensemble):
        if status := stage.main(options):
            return status
    return 0


def run_sh(*settings: str) -> int:
    """All stages, as run.sh starts them."""
    return main([*STAGES, *CONFIG, *(["--set", *settings] if settings else [])])


def forget(*names: str, folds: Sequence[int] = (0, 1)) -> None:
    """Delete files of some folds, so that the stages make them again."""
    for fold in folds:
        for name in names:
            (RUN / f"fold{fold}" / name).unlink()
