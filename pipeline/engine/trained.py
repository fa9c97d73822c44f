"""A trained model on this machine, with all that it takes to predict."""

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.competition.task import Task
from pipeline.config import InferConfig, ModelConfig
from pipeline.engine.machine import find_machine
from pipeline.engine.predict import predict
from pipeline.images.cache import Images
from pipeline.model.build import build_model
from pipeline.model.checkpoint import read

Array = np.ndarray[Any, Any]


class Trained:
    """A checkpoint, ready to predict.

    Args:
        path: of the checkpoint; it holds task, classes, settings and normalisation, so no train table is needed.

    Raises:
        InputError: it is missing or not whole.
    """

    def __init__(self, path: Path) -> None:
        checkpoint = read(path)
        self.train = checkpoint.config["train"]
        self.size = int(checkpoint.config["image"]["size"])
        self.normalisation = checkpoint.normalisation
        self.prior = np.array(checkpoint.extra["prior"], np.float32)
        self.classes = checkpoint.classes
        saved = checkpoint.extra["task"]
        self.task = Task(**saved | {"classes": tuple(saved["classes"]), "labels": tuple(saved["labels"])})
        # The weights are all there: nothing is fetched or read again.
        name = checkpoint.extra["network"] or checkpoint.config["model"]["name"]
        named = ModelConfig(**checkpoint.config["model"] | {"name": name, "pretrained": False, "weights": ""})
        model = build_model(named, self.size, int(checkpoint.config["image"]["channels"]), self.task.num_outputs, 0)
        model.load_state_dict(checkpoint.weights)
        self.machine = find_machine(self.train["precision"], model, deterministic=self.train["deterministic"])
        self.model = self.machine.place(model)

    def predict(self, images: Images, numbers: Array, infer: InferConfig, label: str) -> Array:
        """float32 (len(numbers), num_outputs); an image that cannot be read gets the train classes' shares."""
        usable = images.readable[numbers]
        probs = np.tile(self.prior, (len(numbers), 1))
        probs[usable] = predict(
            self.model,
            images,
            numbers[usable],
            self.task,
            self.machine,
            size=self.size,
            normalisation=self.normalisation,
            views=infer.views,
            batch_size=infer.batch_size or max(128, int(self.train["batch_size"])),
            label=label,
        )
        return probs
