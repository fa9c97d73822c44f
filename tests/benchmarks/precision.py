"""What is behind the rule of `machine.py`: how fast bfloat16 autocast is, and where it is right.

Run: PYTHONPATH=. python tests/benchmarks/precision.py [resnet18:224:32 efficientnet_b0:224:16 ...]
     PYTHONPATH=. python tests/benchmarks/precision.py sound [grid resnet18 efficientnet_lite0 ...]
The first gives images per second in float32 and in bfloat16, both channels_last. The second calls every convolution
that these networks make on images of 8 to 320 px 25 times (on maps above 16 px 5 times), in memory that is NaN where
nothing wrote, and lists those whose outputs or gradients are not finite, not the same in every call, or far from
float64's. It ends with status 1 where the rule allows one of them. `grid` stands for 2,850 convolutions with many
kernels, strides and paddings on maps of 1 to 12 px, called 5 times.
"""

import contextlib
import ctypes
import sys
import time
from functools import partial

import torch
from measure import line, machine_line, paired
from torch import Tensor, nn
from torch.nn import functional

from pipeline.config import ConfigError, ModelConfig
from pipeline.cores import num_cores
from pipeline.engine.machine import Machine, find_device, keep_memory
from pipeline.model.build import build_model
from pipeline.model.convolutions import Convolution, convolutions

JOBS = ("resnet18:128:32", "resnet9:32:128", "cifarnet:32:128", "lenet5:28:256", "efficientnet_b0:128:16")
# What `detect` and the configs take, and what the README names.
NETWORKS = (
    "resnet9",
    "cifarnet",
    "lenet5",
    "net",
    "resnet18",
    "efficientnet_lite0",
    "efficientnet_lite2",
    "convnext_atto",
)
SIZES = (*range(8, 41), *range(48, 129, 16), *range(160, 321, 32))
BATCH_SIZE = 3
# Of the largest value: bfloat16 has 8 bits of mantissa.
TOLERANCE = 0.03


def speed(model: nn.Module, machine: Machine, images: torch.Tensor, *, training: bool, num_steps: int = 3) -> float:
    model.train(training)
    start = time.perf_counter()
    for _ in range(num_steps):
        with torch.set_grad_enabled(training), machine.autocast():
            outputs = model(images.to(machine.dtype))
        if training:
            outputs.float().sum().backward()
    if machine.device.type == "cuda":
        torch.cuda.synchronize()
    return num_steps * len(images) / (time.perf_counter() - start)


def compare_speeds(jobs: list[str], device: torch.device) -> None:
    single, half = Machine(device, "float32"), Machine(device, "bfloat16")
    for job in jobs or JOBS:
        name, size, batch_size = job.split(":")
        model = single.place(build_model(ModelConfig(name=name), int(size), 3, 10, 0))
        images = torch.randn(int(batch_size), 3, int(size), int(size)).to(device, memory_format=torch.channels_last)
        for what in ("training", "forward"):
            both = [partial(speed, model, each, images, training=what == "training") for each in (half, single)]
            print(line(f"{job} {what}, bfloat16 against float32", *paired(both[0], both[1], 3)), flush=True)


def grid() -> list[Convolution]:
    """Convolutions of all kinds on small maps, whichever network may have them."""
    kinds = ((64, 64, 1), (24, 40, 1), (3, 24, 1), (64, 64, 64), (48, 48, 4))  # channels read and made, groups
    windows = [(kernel, pad) for kernel in (1, 2, 3, 4, 5, 7, 11) for pad in {0, kernel // 2, (kernel - 1) // 2}]
    return [
        Convolution(
            (read, side, side), (made, read // groups, kernel, kernel), (step, step), (pad, pad), (1, 1), groups
        )
        for read, made, groups in kinds
        for kernel, pad in windows
        for step in (1, 2, 3, 4, 8)
        for side in (1, 2, 3, 4, 5, 6, 7, 8, 9, 12)
        if side + 2 * pad >= kernel
    ]


def met(names: list[str]) -> list[Convolution]:
    """The convolutions of these networks, one for each kernel, stride, padding, kind and map; of few channels."""
    found: dict[tuple[object, ...], Convolution] = {}
    for name in names:
        for size in SIZES:
            with contextlib.suppress(ConfigError):
                model = build_model(ModelConfig(name=name), size, 3, 10, 0)
                for call in convolutions(model, (3, size, size)):
                    small = _of_few_channels(call)
                    # oneDNN has other code where channels do not fill its blocks of 16.
                    fills = small.map[0] % 16 == 0, small.weight[0] % 16 == 0
                    found.setdefault((call.map[1:], call.weight[2:], *call[2:5], call.groups > 1, fills), small)
    return sorted(found.values(), key=lambda call: (call.weight[2:], call.stride, call.groups > 1, call.map[1:]))


def _of_few_channels(call: Convolution) -> Convolution:
    most = 64 if call.map[1] <= 32 else 16
    groups = min(call.groups, most)
    read, made = (call.map[0], call.weight[0]) if groups == 1 else (groups * call.weight[1], groups)
    read, made = min(read, most), min(made, most)
    return call._replace(map=(read, *call.map[1:]), weight=(made, read // groups, *call.weight[2:]), groups=groups)


def hand_out_nan() -> None:
    """Let glibc fill what it hands out with 0xff, which is NaN in bfloat16 and in float32 (mallopt(3), M_PERTURB)."""
    libc, m_perturb = ctypes.CDLL(None), -6  # malloc.h
    assert hasattr(libc, "mallopt"), "this needs glibc"
    libc.mallopt(m_perturb, 0x100)  # freed memory is filled with the low byte, what is handed out with its complement


def faults(call: Convolution, num_calls: int, device: torch.device) -> tuple[int, int, int]:
    """How many calls in bfloat16 that are not finite, that differ from the first, and that are far from float64."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(BATCH_SIZE, *call.map, generator=generator).bfloat16()
    weight = torch.randn(call.weight, generator=generator).bfloat16()
    # In float64, which oneDNN does not have: an answer of other code.
    expected = _gradients(call, images.double().to(device), weight.double().to(device))
    first, not_finite, other, far = None, 0, 0, 0
    for _ in range(num_calls):
        got = _gradients(call, images.to(device), weight.to(device))
        first = got if first is None else first
        finite = all(bool(value.isfinite().all()) for value in got)
        not_finite += not finite
        other += not all(map(torch.equal, got, first))
        far += finite and not all(map(_is_near, got, expected))
    return not_finite, other, far


def _gradients(call: Convolution, images: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Output, gradient of the images and gradient of the weight, as in training: channels_last."""
    images, weight = (x.clone(memory_format=torch.channels_last).requires_grad_() for x in (images, weight))
    outputs = functional.conv2d(images, weight, None, call.stride, call.padding, call.dilation, call.groups)
    generator = torch.Generator().manual_seed(1)
    above = torch.randn(outputs.shape, generator=generator).bfloat16().to(outputs)
    return outputs.detach(), *torch.autograd.grad(outputs, (images, weight), above)


def _is_near(got: Tensor, expected: Tensor) -> bool:
    return bool((got.double() - expected).abs().max() <= TOLERANCE * expected.abs().max())


def must_be_sound(names: list[str], device: torch.device) -> bool:
    """Whether all convolutions that the rule allows are; lists those that are not, and those that it turns away."""
    calls = {
        call: 25 if call.map[1] <= 16 else 5 for call in met([name for name in names or NETWORKS if name != "grid"])
    }
    if "grid" in names:
        calls |= dict.fromkeys(grid(), 5)
    wrong = {False: 0, True: 0}
    for call, num_calls in calls.items():
        not_finite, other, far = faults(call, num_calls, device)
        if not_finite or other or far:
            wrong[call.steps_over] += 1
            kind = "dense" if call.groups == 1 else f"{call.groups} groups"
            print(
                f"{'turned away' if call.steps_over else 'ALLOWED'}: map {call.map[1]} x {call.map[2]}, kernel "
                f"{call.weight[2]}, stride {call.stride[0]}, padding {call.padding[0]}, {kind}, {call.map[0]} -> "
                f"{call.weight[0]} channels: of {num_calls} calls {not_finite} not finite, {other} other than the "
                f"first, {far} far from float64",
                flush=True,
            )
    turned_away = sum(call.steps_over for call in calls)
    print(f"allowed: {len(calls) - turned_away} convolutions, {wrong[False]} of them wrong")
    print(f"turned away: {turned_away} convolutions, {wrong[True]} of them wrong")
    return not wrong[False]


if __name__ == "__main__":
    device = find_device()
    if device.type == "cpu":
        torch.set_num_threads(num_cores())
        keep_memory()
    sound = True
    if sys.argv[1:2] == ["sound"]:
        hand_out_nan()
        sound = must_be_sound(sys.argv[2:], device)
    else:
        compare_speeds(sys.argv[1:], device)
    print(machine_line())
    sys.exit(not sound)
