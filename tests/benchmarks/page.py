"""The page of 100,000 images of 100 classes, then of 10,000: seconds of the processor by section, and megabytes.

PYTHONPATH=. python tests/benchmarks/page.py
"""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pipeline.competition.answers.predictions import Predictions
from pipeline.competition.answers.probs import Probs
from pipeline.competition.answers.task import Task
from pipeline.competition.folds.fold_table import Labelled
from pipeline.competition.tables.table import Samples
from pipeline.config import Config
from pipeline.page.classes import balance_section, classes_section
from pipeline.page.data import data_section
from pipeline.page.facts import Facts
from pipeline.page.galleries import images_section
from pipeline.page.making import making_section, speed_section
from pipeline.page.network import network_section
from pipeline.page.render import render
from pipeline.page.score import score_section, sureness_section, training_section
from pipeline.page.versions import leaks_section, versions_section

SECTIONS = (
    *(score_section, training_section, classes_section, sureness_section, images_section),
    *(leaks_section, versions_section, network_section, data_section, balance_section, speed_section, making_section),
)
NUM_IMAGES, NUM_TEST, KEPT = 100_000, 30_000, 100


@dataclass(frozen=True)
class Noise:
    """Images of 224 px, no two alike: JPEG makes least of them."""

    readable: np.ndarray

    def gather(self, indices: np.ndarray) -> np.ndarray:
        """Draw the images of some indices."""
        return np.random.default_rng(0).integers(0, 256, (len(indices), 224, 224, 3), dtype=np.uint8)


def facts_of(num_classes: int) -> Facts:
    """A run that is right in about 70 of 100 images."""
    generator = np.random.default_rng(0)
    ids = [f"{number:07d}.jpg" for number in range(NUM_IMAGES)]
    names = tuple(f"kind number {number}" for number in range(num_classes))
    task = Task("single", names, "macro_f1", ("label",))
    targets = generator.integers(0, num_classes, NUM_IMAGES)
    samples = Samples(ids, ids, pd.DataFrame({"label": [names[target] for target in targets]}, index=ids))
    labelled = Labelled(samples, task, targets, np.arange(NUM_IMAGES) % 5)

    def said(of: np.ndarray) -> Probs:
        first = np.where(generator.random(len(of)) < 0.7, of, generator.integers(0, num_classes, len(of)))
        kept = (first[:, None] + np.arange(KEPT)) % num_classes
        values = generator.dirichlet(np.full(KEPT, 0.3), len(of)).astype(np.float32)
        return Probs.top(-np.sort(-values, axis=1), kept, num_classes)

    test = [f"test {number}" for number in range(NUM_TEST)]
    audit = [
        {"split": split, "id": id_, "path": id_, "bad": "", "width": str(400 + len(id_) % 7), "height": "300"}
        | {"format": "JPEG", "mode": "RGB", "duplicates": f"{place // 2}" if place % 9 < 4 else ""}
        for split, own in (("train", ids), ("test", test))
        for place, id_ in enumerate(own)
    ]
    doubts = [{"id": id_, "label": "a", "likelier": "b", "said": "0.1"} for id_ in ids[::20]]
    losses = {
        "epoch": "1",
        "lr": "0.1",
        "train_loss": "1.5",
        "train_score": "0.5",
        "valid_loss": "1.4",
        "valid_score": "0.6",
    }
    scores: dict[str, Any] = {"cv": 0.7, "interval": [0.69, 0.71], "folds": {str(fold): 0.7 for fold in range(5)}}
    facts = Facts(
        Config(name="page"),
        labelled,
        task,
        scores,
        Predictions(ids, names, said(targets)),
        Predictions(test, names, said(generator.integers(0, num_classes, NUM_TEST))),
        None,
        {str(fold): [losses] * 50 for fold in range(5)},
        [],
        audit,
        doubts,
        [],
        samples,
    )
    noise = Noise(np.ones(NUM_IMAGES, np.bool_))
    vars(facts)["images"] = noise
    vars(facts)["pixels_of"] = lambda split, own: dict(zip(own, noise.gather(np.arange(len(own))), strict=True))
    return facts


def main() -> None:
    """Print seconds and megabytes."""
    for num_classes in (100, 10_000):
        facts, total = facts_of(num_classes), time.process_time()
        sections, spent = [], {}
        for make in SECTIONS:
            began = time.process_time()
            sections.append(make(facts))
            spent[make.__name__] = time.process_time() - began
        text = render("page", [], sections)
        total = time.process_time() - total
        slowest = sorted(spent, key=lambda name: -spent[name])[:3]
        said = ", ".join(f"{name} {spent[name]:.1f} s" for name in slowest)
        print(f"{num_classes:,} classes: {total:.1f} s ({said}), {len(text.encode()) / 1e6:.2f} MB", flush=True)


if __name__ == "__main__":
    main()
