"""A network as it predicts, with all that it takes to."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from pipeline.competition.answers.task import Task
from pipeline.config import InferConfig, ModelConfig
from pipeline.engine.machine import Machine, find_machine, memory_named
from pipeline.images.batches import Batches, Statistics
from pipeline.images.cache import Images
from pipeline.model.build import build_model
from pipeline.model.checkpoint import read_checkpoint
from pipeline.model.fuse_norms import fuse_norms, has_norms

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Predictor:
    """A trained network, ready to predict.

    model: in float32, as `for_inference` gives it.
    task: what it predicts.
    normalisation: mean and standard deviation per channel, of pixels in [0, 1].
    prior: float32 (num_outputs,), what is said of an image that cannot be read.
    size: height and width of the images, in pixels.
    train_batch: images in a batch of its training.
    machine: where it predicts, and in which precision.
    """

    model: nn.Module
    task: Task
    normalisation: Statistics
    prior: Array
    size: int
    train_batch: int
    machine: Machine

    def batches(
        self,
        images: Images,
        indices: Array,
        infer: InferConfig,
        name: str,
        targets: Tensor | None = None,
        resident: Tensor | None = None,
    ) -> Batches:
        """The batches in which it predicts some images: uint8, as each network normalises them by itself.

        Args:
            images: the mapped images.
            indices: int64, which of them.
            infer: batch size.
            name: what the progress bar says.
            targets: of all images, where they are known.
            resident: the pixels of all images on the device, where they are there.
        """
        size, device, dtype = self.size, self.machine.device, self.machine.dtype
        batch_size = evaluation_batch(infer, self.train_batch)
        return Batches(
            images, indices, batch_size, size, None, device, dtype, targets=targets, resident=resident, name=name
        )


def read_predictor(path: Path) -> Predictor:
    """Read a trained model; its file holds task, settings and normalisation, so no train table is needed.

    Raises:
        InputError: it is missing or not whole.
        TooLittleMemory: the device has no room for anything.
    """
    checkpoint = read_checkpoint(path)
    image, train = checkpoint.config["image"], checkpoint.config["train"]
    size, channels = int(image["size"]), int(image["channels"])
    # The weights are all there: nothing is fetched or read again.
    name = checkpoint.network or checkpoint.config["model"]["name"]
    named = ModelConfig(**checkpoint.config["model"] | {"name": name, "pretrained": False, "weights": ""})
    model = build_model(named, size, channels, checkpoint.task.num_outputs, 0)
    model.load_state_dict(checkpoint.weights)
    # As in validation, so that what was measured is what is submitted.
    shape = (channels, checkpoint.smallest_size, checkpoint.smallest_size)
    with memory_named(f"to predict with {path}", "End other programs that use it"):
        machine = find_machine(train["precision"], model, shape, deterministic=train["deterministic"], predicts=True)
    return Predictor(
        model=for_inference(model, size, channels),
        task=checkpoint.task,
        normalisation=checkpoint.normalisation,
        prior=np.array(checkpoint.prior, np.float32),
        size=size,
        train_batch=int(train["batch_size"]),
        machine=machine,
    )


def for_inference(model: nn.Module, size: int, channels: int) -> nn.Module:
    """A network as it predicts, in evaluation mode: a copy on the CPU with its batch norms fused where they can be;
    one that has none is itself, where it is.

    Args:
        model: in float32, on any device; its weights are left as they are.
        size: height and width of the images, in pixels.
        channels: of the images.
    """
    if not has_norms(model):
        return model.eval()
    on_cpu = all(parameter.device.type == "cpu" for parameter in model.parameters())
    return fuse_norms(model if on_cpu else copied_to_cpu(model), size, channels)


def copied_to_cpu(model: nn.Module) -> nn.Module:
    """Copy a network to the CPU; no copy is made on the device."""
    copies: dict[int, Any] = {
        id(parameter): nn.Parameter(parameter.detach().to("cpu", copy=True), parameter.requires_grad)
        for parameter in model.parameters()
    }
    copies |= {id(buffer): buffer.to("cpu", copy=True) for buffer in model.buffers()}
    return copy.deepcopy(model, copies)


# A training step takes several times the memory of a pass without gradients, by peak and image: ResNet-18 3.5 times,
# ViT-Tiny 4.3, EfficientNet-B0 10; and there is what gradients and optimizer took.
_TIMES = 4
_ENOUGH = 128


def evaluation_batch(infer: InferConfig, train_batch: int) -> int:
    """Images in a batch where there are no gradients: what is asked for, or what fits where a batch of training does.

    Args:
        infer: what is asked for.
        train_batch: images in a batch of training.
    """
    return infer.batch_size or max(train_batch, min(_TIMES * train_batch, _ENOUGH))
