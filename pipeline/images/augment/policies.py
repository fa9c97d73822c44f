"""The published augmentation policies as data: lists of equally likely sub-policies.

AutoAugment: Cubuk et al. 2019, "AutoAugment: Learning Augmentation Strategies from Data", appendix A, tables 7 to 9.
RandAugment: Cubuk et al. 2020, "RandAugment: Practical automated data augmentation", section 3.
TrivialAugment: Mueller and Hutter 2021, "TrivialAugment: Tuning-free Yet State-of-the-Art", table 1 ("Wide").
Tables, bins and magnitudes are those of torchvision.transforms.autoaugment, which differ from the papers in details
(posterize in AutoAugment keeps at least 4 bits, the ranges of the enhancing operations are centred).

Each of the three kinds is the same thing here: draw one sub-policy, then do each of its operations with its
probability, the sign of a signed magnitude drawn at random. RandAugment's sub-policies are all pairs of operations,
TrivialAugment's all single operations at all magnitudes.
"""

from dataclasses import dataclass
from itertools import product

import torch

# Geometry first: what has an index below NUM_GEOMETRIC moves pixels, the rest changes their values.
OPERATIONS = (
    *("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"),
    *("Brightness", "Color", "Contrast", "Sharpness"),
    *("Posterize", "Solarize", "AutoContrast", "Equalize", "Invert", "Identity"),
)
NUM_GEOMETRIC = 5
SIGNED = frozenset(OPERATIONS[:9])
IDENTITY = OPERATIONS.index("Identity")

# An operation of a sub-policy: its name, its probability, its bin of magnitude (None: it has no magnitude).
Step = tuple[str, float, int | None]


@dataclass(frozen=True)
class Policy:
    """Equally likely sub-policies; `wide` chooses TrivialAugment's larger magnitudes, in `num_bins` steps."""

    sub_policies: tuple[tuple[Step, ...], ...]
    num_bins: int
    wide: bool = False


def magnitudes(num_bins: int, size: int, wide: bool = False) -> dict[str, list[float]]:
    """Compute the magnitude of every bin by operation, for images of `size` x `size` pixels.

    Units: shears are slopes; translations pixels; rotations degrees; brightness, color, contrast and sharpness are the
    factor minus 1; posterize counts bits kept; solarize is the smallest inverted level.
    """

    def steps(first: float, last: float) -> list[float]:
        return [float(value) for value in torch.linspace(first, last, num_bins).tolist()]

    enhance = steps(0.0, 0.99 if wide else 0.9)
    shear = steps(0.0, 0.99 if wide else 0.3)
    translate = steps(0.0, 32.0 if wide else 150.0 / 331.0 * size)
    drop = (torch.arange(num_bins) / ((num_bins - 1) / (6 if wide else 4))).round()
    return {
        **dict.fromkeys(("ShearX", "ShearY"), shear),
        **dict.fromkeys(("TranslateX", "TranslateY"), translate),
        "Rotate": steps(0.0, 135.0 if wide else 30.0),
        **dict.fromkeys(("Brightness", "Color", "Contrast", "Sharpness"), enhance),
        "Posterize": [float(value) for value in (8 - drop).tolist()],
        "Solarize": steps(255.0, 0.0),
    }


def find(name: str) -> Policy | None:
    """Look up the policy of the setting `augment.policy`; None for `none`."""
    return _POLICIES[name]


def _parse_sub_policies(text: str) -> tuple[tuple[Step, ...], ...]:
    """Read a table of sub-policies: a line each, two operations, each `name probability bin`; a dash for no bin."""
    table = []
    for line in text.strip().splitlines():
        words = line.split()
        steps = [(words[i], float(words[i + 1]), _bin(words[i + 2])) for i in range(0, len(words), 3)]
        table.append(tuple(steps))
    return tuple(table)


def _bin(word: str) -> int | None:
    return None if word == "-" else int(word)


_IMAGENET = _parse_sub_policies("""
Posterize    0.4 8   Rotate       0.6 9
Solarize     0.6 5   AutoContrast 0.6 -
Equalize     0.8 -   Equalize     0.6 -
Posterize    0.6 7   Posterize    0.6 6
Equalize     0.4 -   Solarize     0.2 4
Equalize     0.4 -   Rotate       0.8 8
Solarize     0.6 3   Equalize     0.6 -
Posterize    0.8 5   Equalize     1.0 -
Rotate       0.2 3   Solarize     0.6 8
Equalize     0.6 -   Posterize    0.4 6
Rotate       0.8 8   Color        0.4 0
Rotate       0.4 9   Equalize     0.6 -
Equalize     0.0 -   Equalize     0.8 -
Invert       0.6 -   Equalize     1.0 -
Color        0.6 4   Contrast     1.0 8
Rotate       0.8 8   Color        1.0 2
Color        0.8 8   Solarize     0.8 7
Sharpness    0.4 7   Invert       0.6 -
ShearX       0.6 5   Equalize     1.0 -
Color        0.4 0   Equalize     0.6 -
Equalize     0.4 -   Solarize     0.2 4
Solarize     0.6 5   AutoContrast 0.6 -
Invert       0.6 -   Equalize     1.0 -
Color        0.6 4   Contrast     1.0 8
Equalize     0.8 -   Equalize     0.6 -
""")

_CIFAR10 = _parse_sub_policies("""
Invert       0.1 -   Contrast     0.2 6
Rotate       0.7 2   TranslateX   0.3 9
Sharpness    0.8 1   Sharpness    0.9 3
ShearY       0.5 8   TranslateY   0.7 9
AutoContrast 0.5 -   Equalize     0.9 -
ShearY       0.2 7   Posterize    0.3 7
Color        0.4 3   Brightness   0.6 7
Sharpness    0.3 9   Brightness   0.7 9
Equalize     0.6 -   Equalize     0.5 -
Contrast     0.6 7   Sharpness    0.6 5
Color        0.7 7   TranslateX   0.5 8
Equalize     0.3 -   AutoContrast 0.4 -
TranslateY   0.4 3   Sharpness    0.2 6
Brightness   0.9 6   Color        0.2 8
Solarize     0.5 2   Invert       0.0 -
Equalize     0.2 -   AutoContrast 0.6 -
Equalize     0.2 -   Equalize     0.6 -
Color        0.9 9   Equalize     0.6 -
AutoContrast 0.8 -   Solarize     0.2 8
Brightness   0.1 3   Color        0.7 0
Solarize     0.4 5   AutoContrast 0.9 -
TranslateY   0.9 9   TranslateY   0.7 9
AutoContrast 0.9 -   Solarize     0.8 3
Equalize     0.8 -   Invert       0.1 -
TranslateY   0.7 9   AutoContrast 0.9 -
""")

_SVHN = _parse_sub_policies("""
ShearX       0.9 4   Invert       0.2 -
ShearY       0.9 8   Invert       0.7 -
Equalize     0.6 -   Solarize     0.6 6
Invert       0.9 -   Equalize     0.6 -
Equalize     0.6 -   Rotate       0.9 3
ShearX       0.9 4   AutoContrast 0.8 -
ShearY       0.9 8   Invert       0.4 -
ShearY       0.9 5   Solarize     0.2 6
Invert       0.9 -   AutoContrast 0.8 -
Equalize     0.6 -   Rotate       0.9 3
ShearX       0.9 4   Solarize     0.3 3
ShearY       0.8 8   Invert       0.7 -
Equalize     0.9 -   TranslateY   0.6 6
Invert       0.9 -   Equalize     0.6 -
Contrast     0.3 3   Rotate       0.8 4
Invert       0.8 -   TranslateY   0.0 2
ShearY       0.7 6   Solarize     0.4 8
Invert       0.6 -   Rotate       0.8 4
ShearY       0.3 7   TranslateX   0.9 3
ShearX       0.1 6   Invert       0.6 -
Solarize     0.7 2   TranslateY   0.6 7
ShearY       0.8 4   Invert       0.8 -
ShearX       0.7 9   TranslateY   0.8 3
ShearY       0.8 5   AutoContrast 0.7 -
ShearX       0.7 2   Invert       0.1 -
""")

_WITHOUT_MAGNITUDE = frozenset({"AutoContrast", "Equalize", "Invert", "Identity"})
# RandAugment and TrivialAugment draw from all operations but Invert.
_DRAWN = tuple(name for name in OPERATIONS if name != "Invert")
_NUM_BINS = 31
_RAND_MAGNITUDE = 9

_RAND: tuple[Step, ...] = tuple((name, 1.0, None if name in _WITHOUT_MAGNITUDE else _RAND_MAGNITUDE) for name in _DRAWN)
_TRIVIAL: tuple[Step, ...] = tuple(
    (name, 1.0, None if name in _WITHOUT_MAGNITUDE else index) for name, index in product(_DRAWN, range(_NUM_BINS))
)

_POLICIES: dict[str, Policy | None] = {
    "none": None,
    "autoaugment-imagenet": Policy(_IMAGENET, 10),
    "autoaugment-cifar10": Policy(_CIFAR10, 10),
    "autoaugment-svhn": Policy(_SVHN, 10),
    "randaugment": Policy(tuple(product(_RAND, _RAND)), _NUM_BINS),
    "trivialaugment": Policy(tuple((step,) for step in _TRIVIAL), _NUM_BINS, wide=True),
}
