"""The user's own augmentation: a pipeline saved by `albumentations.save`, applied image by image on a few threads.

Every image's randomness is seeded by (seed, key, epoch), whatever the batch, the thread and the worker: albumentations
itself would carry generators along, and give each worker and epoch the same draws (its issues 2.x).
"""

import json
import os
import random
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.files import InputError

_NUM_THREADS = min(4, os.cpu_count() or 1)
_REFUSED = {
    "Normalize": "this pipeline normalises images itself",
    "ToTensorV2": "this pipeline makes tensors itself",
    "ToTensor3D": "this pipeline makes tensors itself",
}


class AlbumentationsFile:
    """A saved pipeline of albumentations.

    Raises:
        InputError: no such file, no pipeline of albumentations in it, a transform that this pipeline does itself, or
            an argument that albumentations would ignore.
    """

    def __init__(self, path: str | Path, seed: int) -> None:
        self.path = Path(path)
        self.seed = seed
        saved = _read(self.path)
        # One copy per thread: a transform keeps its generator and parameters in itself.
        self._pipelines = [_build(saved, self.path) for _ in range(_NUM_THREADS)]

    def __call__(self, images: NDArray[np.uint8], keys: NDArray[np.int64], epoch: int) -> NDArray[np.uint8]:
        """Augment a batch; the input is not modified.

        Shapes: images uint8 (batch, height, width, channel); keys int64 (batch,), a hash of each image's id; returns
        uint8 of the images' shape.

        Raises:
            InputError: the pipeline fails on an image, or gives another shape or type than it got.
        """
        result = np.empty_like(images)

        def run(thread: int) -> None:
            for index in range(thread, len(images), len(self._pipelines)):
                result[index] = self._one(self._pipelines[thread], images[index], int(keys[index]), epoch)

        # Threads are made anew for every batch (a tenth of a millisecond): none is lost when a loader's worker forks.
        with ThreadPoolExecutor(len(self._pipelines)) as pool:
            list(pool.map(run, range(len(self._pipelines))))
        return result

    def _one(self, pipeline: Any, image: NDArray[np.uint8], key: int, epoch: int) -> NDArray[np.uint8]:
        import cv2

        generator = np.random.default_rng([self.seed, key % 2**64, epoch])
        # The state, not the seed: a seed is given to every transform alike, and their draws would be the same numbers.
        pipeline.set_random_state(generator, random.Random(int(generator.integers(2**63))))
        try:
            changed = pipeline(image=image.copy())["image"]
        except (ValueError, TypeError, KeyError, cv2.error) as error:
            raise InputError(f"{self.path} must work on {image.shape} uint8 images. It failed: {error}") from error
        if not isinstance(changed, np.ndarray) or changed.shape != image.shape or changed.dtype != np.uint8:
            got = f"{getattr(changed, 'shape', type(changed))} {getattr(changed, 'dtype', '')}".strip()
            raise InputError(
                f"{self.path} must return uint8 images of the shape that it gets, {image.shape}. Got {got}: "
                "remove what resizes, crops to another size or changes the type (image.size sets the size)"
            )
        return changed


def _read(path: Path) -> dict[str, Any]:
    """Read the saved pipeline as plain values."""
    if not path.is_file():
        raise InputError(
            f"augment.albumentations: {path} does not exist. Make it by albumentations.save(pipeline, path)"
        )
    try:
        text = path.read_text(encoding="utf-8")
        saved = _read_yaml(text) if path.suffix in {".yaml", ".yml"} else json.loads(text)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path} must be JSON or YAML made by albumentations.save. Got: {error}") from None
    if not isinstance(saved, dict) or not isinstance(saved.get("transform"), dict):
        raise InputError(f"{path} must hold a pipeline made by albumentations.save: there is no 'transform' in it")
    for name in _names(saved["transform"]):
        if reason := _REFUSED.get(name.rpartition(".")[2]):
            raise InputError(f"{path} must not contain {name.rpartition('.')[2]}: {reason}. Remove it and save again")
    return saved


def _read_yaml(text: str) -> Any:
    import yaml  # type: ignore[import-untyped]

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise json.JSONDecodeError(str(error).replace("\n", " "), text, 0) from None


def _names(value: Any) -> Iterator[str]:
    """List the class of every transform in a saved pipeline."""
    if isinstance(value, dict):
        if "__class_fullname__" in value:
            yield str(value["__class_fullname__"])
        for inner in value.values():
            yield from _names(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _names(inner)


def _build(saved: dict[str, Any], path: Path) -> Any:
    # Otherwise importing albumentations asks its server for a newer version.
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations

    try:
        with warnings.catch_warnings():
            # albumentations only warns of arguments that it then ignores.
            warnings.simplefilter("error", UserWarning)
            pipeline = albumentations.from_dict(saved)
    except (UserWarning, ValueError, TypeError, KeyError, AttributeError) as error:
        message = " ".join(str(error).split())
        raise InputError(
            f"{path} must be a pipeline that albumentations {albumentations.__version__} understands in full. It says: "
            f"{message}. Correct it and save it again with this version"
        ) from None
    return albumentations.Compose([pipeline])
