"""Images per second of `Augment` against torchvision's AutoAugment on Pillow images, in one run on one thread.

Run: OMP_NUM_THREADS=1 PYTHONPATH=. python tests/benchmarks/augment.py [imagenet cifar10 svhn]
Prints per size the median of paired turns and the median of their ratios, so that a busy machine slows both alike.
Where there is a GPU, also what `Augment` does on it, in batches as large as there.
"""

import statistics
import sys
import time

import numpy as np
import torch
from measure import machine_line, smooth_images
from PIL import Image
from torchvision.transforms import AutoAugment, AutoAugmentPolicy, InterpolationMode

from pipeline.config import AugmentConfig
from pipeline.images.augment.augment import Augment

NUM_TURNS = 7


def compare(policy: str, size: int, num_images: int) -> str:
    stored = smooth_images(num_images, size)
    pictures = [Image.fromarray(image) for image in stored.numpy()]
    keys = torch.arange(num_images)
    augment = Augment(AugmentConfig(policy=f"autoaugment-{policy}"), size, 0)
    theirs = AutoAugment(AutoAugmentPolicy(policy), InterpolationMode.BILINEAR)
    batched, single, ratios = [], [], []
    for turn in range(NUM_TURNS + 1):
        start = time.perf_counter()
        augment(stored.permute(0, 3, 1, 2), keys, turn)
        middle = time.perf_counter()
        np.stack([np.asarray(theirs(picture)) for picture in pictures])
        end = time.perf_counter()
        if turn:  # the first warms up
            batched.append(num_images / (middle - start))
            single.append(num_images / (end - middle))
            ratios.append(batched[-1] / single[-1])
    ours, torchvision, ratio = (statistics.median(values) for values in (batched, single, ratios))
    return (
        f"autoaugment-{policy} {size:3d} px: {ours:8.0f} images/s ({1e6 / ours:6.1f} us an image), torchvision on "
        f"Pillow {torchvision:7.0f} images/s, ratio {ratio:.1f} ({min(ratios):.1f} to {max(ratios):.1f})"
    )


def on_gpu(policy: str, size: int, num_images: int) -> str:
    """Images per second on the GPU, of images that are there; with flips and crops by a pixel, as in training."""
    images = smooth_images(num_images, size).cuda().permute(0, 3, 1, 2)
    augment = Augment(AugmentConfig(policy=policy, hflip=0.5, pad_crop=1), size, 0)
    speeds = []
    for turn in range(NUM_TURNS + 1):
        start = time.perf_counter()
        for epoch in range(10):
            augment(images, torch.arange(num_images), 10 * turn + epoch)
        torch.cuda.synchronize()
        speeds.append(10 * num_images / (time.perf_counter() - start))
    return f"{policy} {size} px, batch {num_images}, on the GPU: {statistics.median(speeds[1:]):,.0f} images/s"


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for name in sys.argv[1:] or ["imagenet", "cifar10"]:
        print(compare(name, 32, 512))
        print(compare(name, 224, 64))
    if torch.cuda.is_available():
        for name in ("none", "autoaugment-imagenet", "trivialaugment"):
            print(on_gpu(name, 32, 1024))
            print(on_gpu(name, 224, 256))
    print(machine_line())
