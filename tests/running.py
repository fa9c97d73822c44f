"""The tiny competition's stages, as tests start them."""

from pathlib import Path

from pipeline import ensemble, folds, infer, prepare, train
from pipeline.__main__ import STAGES, main

CONFIG = ["--config", "configs/tiny.toml"]
RUN = Path("output/tiny")


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
