"""Images per second of `Augment` against torchvision's AutoAugment on Pillow images, in one run on one thread.

Run: OMP_NUM_THREADS=1 PYTHONPATH=. python tests/benchmarks/augment.py [imagenet cifar10 svhn]
Prints per size the median of paired turns and the median of their ratios, so that a busy machine slows both alike.
"""

import statistics
import sys
import time

import numpy as np
import torch
from measure import smooth_images
from PIL import Image
from torchvision.transforms import AutoAugment, AutoAugmentPolicy, InterpolationMode

from pipeline.config import AugmentConfig
from pipeline.images.augment import Augment

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


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for name in sys.argv[1:] or ["imagenet", "cifar10"]:
        print(compare(name, 32, 512))
        print(compare(name, 224, 64))
