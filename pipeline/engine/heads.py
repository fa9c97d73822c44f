"""The probe's classifiers on disk: what was fitted on a fold's images, with all that it takes to predict."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy

from pipeline.competition.answers.linear import Linear
from pipeline.competition.answers.probing import Fitted
from pipeline.files import InputError, atomic_write
from pipeline.images.batches import Statistics
from pipeline.model.checkpoint import read_safetensors


@dataclass(frozen=True)
class Head:
    """A classifier of a network's features.

    fitted: the classifier.
    normalisation: mean and standard deviation per channel with which the network sees images.
    network: the `Frozen.network` whose features they are.
    """

    fitted: Fitted
    normalisation: Statistics
    network: str


def write_head(path: Path, head: Head) -> None:
    """Write a classifier; equal ones are equal bytes."""
    linear = head.fitted.linear
    tensors = {"weight": linear.weight, "bias": linear.bias, "prior": head.fitted.prior}
    metadata = {"normalisation": json.dumps(head.normalisation), "network": head.network}
    contiguous = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    content = safetensors.numpy.save(contiguous, {"head": json.dumps(metadata, sort_keys=True)})
    with atomic_write(path) as stream:
        stream.write(content)


def read_head(path: Path) -> Head:
    """Read a classifier.

    Raises:
        InputError: it is not there, or not whole.
    """
    made_by = "python -m pipeline.probe"
    if not path.is_file():
        raise InputError(f"{path} does not exist. It is made by: {made_by}")
    tensors, metadata = read_safetensors(path)
    try:
        known = json.loads(metadata["head"])
        mean, std = json.loads(known["normalisation"])
        weight, bias, prior = (tensors[name].numpy() for name in ("weight", "bias", "prior"))
        return Head(Fitted(Linear(weight, bias), prior), (tuple(mean), tuple(std)), str(known["network"]))
    except (LookupError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} must be a classifier of the probe. It is not ({error}). Delete it and run: {made_by}"
        ) from None
