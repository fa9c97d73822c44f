"""The features of images: what a network gives before its classifier, computed once and kept.

`output/cache/<competition>-features-<key>/<split>/00000.parquet`: some images' ids and features, float16. The key holds
all that they depend on, so a file that is there is what it should be: images are computed once, whatever stopped it.
"""

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn

from pipeline.competition.answers.task import Task
from pipeline.config import Config, InferConfig
from pipeline.engine.gathered import join_rows
from pipeline.engine.machine import find_machine
from pipeline.engine.predict import Views, evaluate, placed
from pipeline.engine.predictor import Predictor, for_inference
from pipeline.files import DISK_RESERVE, InputError, atomic_write, digest
from pipeline.images.batches import Batch, Batches, Statistics
from pipeline.images.cache import Images
from pipeline.images.decode import VERSION
from pipeline.model.weights import remove_classifier
from pipeline.paths import features_dir
from pipeline.processes import Team, team

Array = np.ndarray[Any, Any]

# Of float16.
_LARGEST = 65504.0
# Images in a file, which a stop loses at most.
IMAGES_A_FILE = 4096


class _Gathered:
    """The features of the images of a pass, their mean over the views; of each process's images, until they `join`."""

    def __init__(self, device: torch.device, members: Team) -> None:
        self.device, self.members = device, members
        self.loss_sum = torch.zeros(())

    def begin(self, batches: Batches, first_step: int = 0) -> None:
        """Begin a pass."""
        self.batches = batches
        self.num_own, self.num_seen = len(batches.positions(self.members.rank)), 0
        self.values: Tensor | None = None
        self.is_finite = torch.ones((), dtype=torch.bool, device=self.device)

    def add(self, batch: Batch, logits: Tensor, losses: Tensor | None) -> None:
        """Take in features (1, num_views, batch, num_features, ...)."""
        features = logits[0].float().mean(0).flatten(1)
        self.is_finite &= features.isfinite().all()
        features = features.clamp(-_LARGEST, _LARGEST)
        if self.values is None:
            shape = (self.num_own, features.shape[1])
            self.values = torch.empty(shape, dtype=torch.float16, device=self.device)
        self.values[self.num_seen : self.num_seen + len(batch)] = features
        self.num_seen += len(batch)

    def join(self) -> None:
        """Bring what the processes have to the first of them."""
        if self.members.size == 1:
            return
        (num_features,) = self.members.largest([0 if self.values is None else self.values.shape[1]])
        own = torch.empty((0, num_features), dtype=torch.float16) if self.values is None else self.values
        self.values = join_rows(own, self.batches, len(self.batches.bounds()), self.members)
        (is_bad,) = self.members.largest([int(not self.is_finite)])
        self.is_finite = torch.tensor(not is_bad)


@dataclass(frozen=True)
class Described:
    """Images that can be read: their ids, and their features, float16 (num_images, num_features)."""

    ids: list[str]
    features: Array

    @classmethod
    def of(cls, ids: Sequence[str], features: Array, images: Images) -> "Described":
        """Leave out the images that cannot be read."""
        return cls([ids[int(index)] for index in np.flatnonzero(images.readable)], features[images.readable])


@dataclass(frozen=True)
class Frozen:
    """A network as it starts, without its classifier.

    predictor: the network, with all that it takes to predict.
    views: of each image, whose features are averaged.
    network: hash of all that features depend on, but the images and what differs by rounding.
    """

    predictor: Predictor
    views: tuple[str, ...]
    network: str

    @classmethod
    def of(cls, cfg: Config, model: nn.Module, task: Task, normalisation: Statistics) -> "Frozen":
        """Take the classifier away, and find the machine.

        Args:
            cfg: the settings.
            model: their network as it starts; changed in place.
            task: what the run predicts.
            normalisation: mean and standard deviation per channel, of pixels in [0, 1].
        """
        size, channels = cfg.image.size, cfg.image.channels
        remove_classifier(model)
        precision, shape = cfg.train.precision, (channels, size, size)
        machine = find_machine(precision, model, shape, deterministic=cfg.train.deterministic, predicts=True)
        views = ("identity", "hflip") if cfg.augment.hflip else ("identity",)
        weights = hashlib.sha256()
        for name, tensor in sorted(model.state_dict().items()):
            weights.update(name.encode() + tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        network = digest([weights.hexdigest(), cfg.model.name, size, normalisation, views])
        predictor = Predictor(
            model=for_inference(model, size, channels),
            task=task,
            normalisation=normalisation,
            prior=np.zeros(task.num_outputs, np.float32),
            size=size,
            train_batch=cfg.train.batch_size,
            machine=machine,
        )
        return cls(predictor, views, network)

    def features(self, cfg: Config, split: str, ids: Sequence[str], images: Images, identity: str) -> Array:
        """Compute the features of images, or read them where they are kept.

        Args:
            cfg: the settings.
            split: `train` or `test`.
            ids: of the images.
            images: their pixels, in the same order.
            identity: hash of their ids and bytes.

        Returns:
            float16 (num_images, num_features); zeros for an image that cannot be read. Of several processes the first
            alone has them.

        Raises:
            TooLittleMemory: one image is too much.
            InputError: they are not finite.
        """
        pixels = [cfg.image.model_dump(mode="json", exclude={"cache_limit"}), VERSION, identity]
        key = digest([self.network, self.predictor.machine.precision, pixels])
        folder = features_dir(cfg, key[:12]) / split
        order = np.array(sorted(np.flatnonzero(images.readable), key=lambda index: ids[int(index)]), np.int64)
        features, infer, members = np.zeros((len(ids), 1), np.float16), cfg.infer, team()
        for number, start in enumerate(range(0, len(order), IMAGES_A_FILE)):
            path, indices = folder / f"{number:05d}.parquet", order[start : start + IMAGES_A_FILE]
            names = [ids[index] for index in indices]
            known = _read(path, names) if members.is_first else None
            if members.first(partial(_is_missing, known)):
                known, infer = self._compute(images, indices, infer, f"probe {split}")
                if known is not None:
                    _write(path, names, known)
            if known is None:
                continue
            if features.shape[1] != known.shape[1]:
                features = np.zeros((len(ids), known.shape[1]), np.float16)
            features[indices] = known
        return features

    def _compute(
        self, images: Images, indices: Array, infer: InferConfig, name: str
    ) -> tuple[Array | None, InferConfig]:
        """The features of some images, float16 (len(indices), num_features), and the batch size that fitted.

        Of several processes the first alone has the features.
        """
        predictor, machine, members = self.predictor, self.predictor.machine, team()
        batches = predictor.batches(images, indices, infer, name)
        gathered = _Gathered(machine.device, members)
        with placed([predictor], machine):
            fitted = evaluate(Views([predictor], self.views), batches, machine, gathered)
        gathered.join()
        if not gathered.is_finite:
            raise InputError(
                "the features of model.name must be finite numbers. They are not: set train.precision = 'float32'; "
                "or probe.enabled = false, with train.head = 'random'"
            )
        if fitted.batch_size < batches.batch_size:
            infer = infer.model_copy(update={"batch_size": fitted.batch_size})
        return None if gathered.values is None else np.asarray(gathered.values.cpu().numpy()), infer


def _is_missing(features: Array | None) -> bool:
    return features is None


def _read(path: Path, names: Sequence[str]) -> Array | None:
    """The features in a file; None where there is none, or none that is whole."""
    try:
        table = pq.read_table(path)
        if table["id"].to_pylist() != names:
            return None
        column = table["features"].combine_chunks()
        return np.asarray(column.flatten().to_numpy(zero_copy_only=False).reshape(len(table), column.type.list_size))
    except (OSError, pa.ArrowException, KeyError, ValueError):
        return None


def _write(path: Path, names: Sequence[str], features: Array) -> None:
    """Write ids and features (num_images, num_features); nothing where the disk has no room to spare."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(path.parent).free < DISK_RESERVE + features.nbytes:
        return
    column = pa.FixedSizeListArray.from_arrays(pa.array(features.reshape(-1)), features.shape[1])
    with atomic_write(path) as stream:
        pq.write_table(pa.table({"id": pa.array(list(names), pa.string()), "features": column}), stream)
