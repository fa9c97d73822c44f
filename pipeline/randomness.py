"""Random numbers that are counted, not carried: each is a function of (seed, image, epoch, draw number) alone.

So what happens to an image does not depend on its batch, on the order of the batches, on the number of workers or on
what was drawn before, and a resumed run draws what an unbroken one would have drawn.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray[Any, Any]

_MASK = 0xFFFFFFFF


def uniform(seed: int, keys: Tensor, epoch: int, draws: range) -> Tensor:
    """Uniform numbers in [0, 1), one per image and draw number.

    Integer arithmetic only, so equal on every machine. The words of the counter (seed, both halves of the key, epoch,
    draw number) are absorbed one after the other, each followed by the 32-bit mixer `lowbias32` (Chris Wellons, "Hash
    Function Prospector", 2018), whose bias is 0.17 of the ideal's.

    Shapes: keys int64 (batch,) on the CPU, any values; returns float64 (batch, len(draws)) on the CPU.
    """
    state = _mix(keys.new_tensor([(seed & _MASK) ^ 0x9E3779B9]))
    for word in (seed >> 32, keys, keys >> 32, epoch):
        state = _mix(state ^ (word & _MASK))
    numbers = torch.arange(draws.start, draws.stop, draws.step, dtype=torch.int64)
    # Two rounds after the last word: neighbouring draw numbers differ in few bits.
    return _mix(_mix(state[:, None] ^ numbers) ^ 0x85EBCA6B).double().mul_(2.0**-32)


def id_keys(ids: Sequence[str]) -> Tensor:
    """A hash of each id, int64 (num_ids,) >= 0: what an image's random draws depend on, instead of its position."""
    keys = [int.from_bytes(hashlib.blake2b(id_.encode(), digest_size=8).digest(), "big") >> 1 for id_ in ids]
    return torch.tensor(keys, dtype=torch.int64)


def derived_seed(*parts: int | str) -> int:
    """A seed in [0, 2**63) for one use, from the run's seed and what names the use."""
    text = "/".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def epoch_order(indices: Array, seed: int, fold: int | str, epoch: int) -> Array:
    """The images of one epoch of training, shuffled by (seed, fold, epoch)."""
    generator = np.random.Generator(np.random.Philox(key=derived_seed("order", seed, fold, epoch)))
    return np.asarray(generator.permutation(indices))


def _mix(x: Tensor) -> Tensor:
    """lowbias32 on 32-bit words held in int64: a product of two such words wraps, but its low 32 bits are right."""
    x = x ^ (x >> 16)
    x = (x * 0x7FEB352D) & _MASK
    x = x ^ (x >> 15)
    x = (x * 0x846CA68B) & _MASK
    return x ^ (x >> 16)
