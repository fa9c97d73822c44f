"""A trained model on this machine, with all that it takes to predict."""

from pathlib import Path

import numpy as np

from pipeline.competition.task import Task
from pipeline.config import ModelConfig
from pipeline.engine.machine import find_machine
from pipeline.model.build import build_model
from pipeline.model.checkpoint import read
from pipeline.model.folding import fold_norms


class Trained:
    """A checkpoint, ready to predict.

    Args:
        path: of the checkpoint; it holds task, classes, settings and normalisation, so no train table is needed.

    Raises:
        InputError: it is missing or not whole.
    """

    def __init__(self, path: Path) -> None:
        checkpoint = read(path)
        train = checkpoint.config["train"]
        self.batch_size = int(train["batch_size"])
        self.size = int(checkpoint.config["image"]["size"])
        self.normalisation = checkpoint.normalisation
        self.prior = np.array(checkpoint.extra["prior"], np.float32)
        self.classes = checkpoint.classes
        saved = checkpoint.extra["task"]
        self.task = Task(**saved | {"classes": tuple(saved["classes"]), "labels": tuple(saved["labels"])})
        # The weights are all there: nothing is fetched or read again.
        name = checkpoint.extra["network"] or checkpoint.config["model"]["name"]
        named = ModelConfig(**checkpoint.config["model"] | {"name": name, "pretrained": False, "weights": ""})
        channels = int(checkpoint.config["image"]["channels"])
        model = build_model(named, self.size, channels, self.task.num_outputs, 0)
        model.load_state_dict(checkpoint.weights)
        self.machine = find_machine(train["precision"], model, deterministic=train["deterministic"])
        self.model = self.machine.place(fold_norms(model, self.size, channels))
