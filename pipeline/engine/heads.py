"""The probe's classifiers on disk: what was fitted on a fold's images, with all that it takes to predict."""

import json
from pathlib import Path

import numpy as np
import safetensors.numpy

from pipeline.competition.answers.linear import Linear
from pipeline.competition.answers.probing import Fitted
from pipeline.files import InputError, atomic_write
from pipeline.images.batches import Statistics
from pipeline.model.checkpoint import read_safetensors


def write_head(path: Path, fitted: Fitted, normalisation: Statistics) -> None:
    """Write a classifier, and how the network sees images; equal ones are equal bytes."""
    tensors = {"weight": fitted.linear.weight, "bias": fitted.linear.bias, "prior": fitted.prior}
    contiguous = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    content = safetensors.numpy.save(contiguous, {"normalisation": json.dumps(normalisation)})
    with atomic_write(path) as stream:
        stream.write(content)


def read_head(path: Path) -> tuple[Fitted, Statistics]:
    """Read a classifier, and mean and standard deviation per channel with which the network sees images.

    Raises:
        InputError: it is not there, or not whole.
    """
    made_by = "Delete it and run: python -m pipeline.probe"
    if not path.is_file():
        raise InputError(f"{path} does not exist. {made_by}")
    tensors, metadata = read_safetensors(path)
    try:
        mean, std = json.loads(metadata["normalisation"])
        weight, bias, prior = (tensors[name].numpy() for name in ("weight", "bias", "prior"))
    except (LookupError, TypeError, ValueError) as error:
        raise InputError(f"{path} must be a classifier of the probe. It is not ({error}). {made_by}") from None
    return Fitted(Linear(weight, bias), prior), (tuple(mean), tuple(std))
