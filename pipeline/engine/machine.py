"""The machine: device, threads, precision. Detected, never a setting, but for `train.precision`."""

import contextlib
import ctypes
import os
import resource
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from pipeline.config import ConfigError
from pipeline.cores import num_cores
from pipeline.files import InputError
from pipeline.model.convolutions import convolutions
from pipeline.others import local_rank
from pipeline.processes import team

Precision = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class Machine:
    """Where networks run, in which precision they multiply, and how many processes share the work."""

    device: torch.device
    precision: Precision
    num_processes: int = 1

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of inputs: that of the multiplications, so that nothing is converted twice."""
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[self.precision]

    def autocast(self) -> torch.autocast:
        """Multiply in the machine's precision; weights, sums and losses stay float32."""
        enabled = self.precision != "float32"
        return torch.autocast(self.device.type, dtype=self.dtype if enabled else None, enabled=enabled)

    def place(self, model: nn.Module) -> nn.Module:
        """Move a network to the device, in the memory format in which convolutions are fastest."""
        return model.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def holds(self, model: nn.Module) -> bool:
        """Whether all of a network is on the device."""
        return all(parameter.device == self.device for parameter in model.parameters())

    def seed(self, seed: int) -> None:
        """Seed what networks draw from. Not torch.manual_seed: it costs 10 ms where CUDA was not started."""
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)
        elif self.device.type == "mps":
            torch.mps.manual_seed(seed)

    def peak_memory(self) -> int:
        """Megabytes that this process has taken at most: on CUDA of the device's memory, else of the machine's."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_reserved(self.device) // 10**6
        unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2): bytes there, kilobytes elsewhere
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 10**6

    def describe(self) -> str:
        """Device, precision and processes in a few words."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type
        threads = f", {torch.get_num_threads()} threads" if self.device.type == "cpu" else ""
        processes = f", {self.num_processes} processes" if self.num_processes > 1 else ""
        return f"{name}{threads}, {self.precision}{processes}"


def find_device() -> torch.device:
    """CUDA where there is one, else Apple's GPU, else the CPU.

    Raises:
        InputError: there is a GPU for which this build of torch has no kernels.
    """
    if torch.cuda.is_available():
        device = torch.device("cuda", local_rank() % max(1, torch.cuda.device_count()))
        _must_have_kernels(torch.cuda.get_device_capability(device), torch.cuda.get_arch_list())
        return device
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def _must_have_kernels(capability: tuple[int, int], built: Sequence[str]) -> None:
    """Kernels of `sm_XY` run on capabilities X.Y and later ones of the same X, `compute_XY` on all from X.Y on (CUDA C
    programming guide, "Application compatibility")."""
    if not any(
        (kind == "sm" and major == capability[0] and minor <= capability[1])
        or (kind == "compute" and (major, minor) <= capability)
        for kind, major, minor in map(_architecture, built)
    ):
        got = ".".join(map(str, capability))
        raise InputError(
            f"the GPU must be one that this build of torch has kernels for ({', '.join(built)}). Got compute "
            f"capability {got}. Install a torch built for it, or use the CPU: CUDA_VISIBLE_DEVICES= bash run.sh ..."
        )


def _architecture(name: str) -> tuple[str, int, int]:
    """`sm_90a` -> ("sm", 9, 0)."""
    kind, _, digits = name.partition("_")
    number = int("".join(filter(str.isdigit, digits)) or "0")
    return kind, number // 10, number % 10


def find_machine(
    precision: str,
    model: nn.Module,
    shape: tuple[int, int, int],
    *,
    deterministic: bool = False,
    predicts: bool = False,
) -> Machine:
    """The device, and the precision by rule where the setting is `auto`.

    The rule asks the device's capability and the network, never a clock: bfloat16 on CUDA from compute capability 8.0
    (Ampere), float16 with a scaler on older ones; bfloat16 on CPUs that multiply in it faster (AMX; AVX512-BF16 of AMD:
    Intel's, where AMX is switched off as in some virtual machines, does as many float32 products and is slower for the
    conversions), but float32 there for networks that `steps_over` their maps, and to train those made of depthwise
    convolutions, which such CPUs do not speed up; to predict, where all is forward passes, AMD's do, and AMX was not
    measured. float32 elsewhere. The figures are in `tests/benchmarks/README.md`.

    cuDNN's trial of all its algorithms (`torch.backends.cudnn.benchmark`) stays off: for every new shape of a batch it
    takes seconds, and what it finds is no faster (the same file, "On a GPU").

    Args:
        precision: `train.precision`.
        model: on the CPU, in float32.
        shape: channels, height and width of the smallest images that it is trained on.
        deterministic: `train.deterministic`.
        predicts: whether it predicts there, in validation and in inference alike; else it is trained.

    Raises:
        ConfigError: float16 is asked for on a CPU, where its kernels are a hundred times slower.
    """
    device = find_device()
    if precision == "float16" and device.type == "cpu":
        raise ConfigError("train.precision must be auto, float32 or bfloat16 without a GPU. Got 'float16'")
    if device.type == "cpu":
        torch.set_num_threads(num_cores())
        keep_memory()
    if device.type == "cuda":
        torch.cuda.set_device(device)
        # TF32 where float32 is asked for: 10 bits of mantissa, several times the speed (Ampere white paper, page 27).
        torch.set_float32_matmul_precision("high")
    deterministic = deterministic and device.type == "cuda"
    if deterministic:
        # cuBLAS reads it when CUDA starts (CUDA toolkit, cuBLAS, "Results reproducibility").
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Not where nothing changes: it imports torch's compiler, which takes seconds.
    if torch.are_deterministic_algorithms_enabled() != deterministic:
        torch.use_deterministic_algorithms(deterministic)
    if precision == "auto":
        return Machine(device, _by_rule(device, model, shape, predicts=predicts), team().size)
    return Machine(device, precision, team().size)  # type: ignore[arg-type]


def must_train(machine: Machine, model: nn.Module, shape: tuple[int, int, int]) -> None:
    """Refuse bfloat16 where the rule would never choose it: gradients would be wrong. To predict in it is well.

    Args:
        machine: as found for the network.
        model: on the CPU, in float32.
        shape: channels, height and width of the smallest images that it is trained on.

    Raises:
        ConfigError: the machine is a CPU that multiplies in bfloat16, and the network steps over its maps.
    """
    if machine.device.type == "cpu" and machine.precision == "bfloat16" and steps_over(model, shape):
        raise ConfigError(
            f"train.precision must be auto or float32 without a GPU for images of {min(shape[1:])} px in this network: "
            "convolutions with a map smaller than their stride have wrong gradients in bfloat16 there. Got 'bfloat16': "
            "take auto, or raise image.size or augment.first_size"
        )


def steps_over(model: nn.Module, shape: tuple[int, int, int]) -> bool:
    """Whether any convolution meets a map with a side smaller than its stride; see `convolutions`.

    In bfloat16 on CPUs, oneDNN makes the weight gradients of such a layer from memory that nothing wrote: they are not
    finite, or others in every call (torch 2.13, with AVX512-BF16 and without it; `tests/benchmarks/precision.py`).
    """
    return any(convolution.steps_over for convolution in convolutions(model, shape))


def _by_rule(device: torch.device, model: nn.Module, shape: tuple[int, int, int], *, predicts: bool) -> Precision:
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.get_device_capability(device) >= (8, 0) else "float16"
    if device.type != "cpu":
        return "float32"
    amx, amd = torch.cpu._is_amx_tile_supported(), torch.cpu._is_avx512_bf16_supported() and cpu_vendor() == "amd"
    is_fast = (amx or amd) and (not _is_depthwise(model) or (predicts and amd))
    return "bfloat16" if is_fast and not steps_over(model, shape) else "float32"


def cpu_vendor() -> str:
    """Who made the CPU: amd, intel, or "" where it is not known."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    names = {"AuthenticAMD": "amd", "GenuineIntel": "intel"}
    return next((name for word, name in names.items() if word in text), "")


def _is_depthwise(model: nn.Module) -> bool:
    """Whether most of a network's convolutions with a window are depthwise."""
    windows = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.kernel_size != (1, 1)]
    depthwise = [m for m in windows if m.groups > 1 and m.groups == m.in_channels]
    return 2 * len(depthwise) > len(windows)


def keep_memory() -> None:
    """Let glibc keep freed memory instead of giving it back to the kernel and faulting it in again at every step.

    With huge pages: 10 to 20 % more images/s (ResNet-9, width 32, 32 px, batch 256, bfloat16, two cores), as 25,000 to
    60,000 page faults a step become a hundred. Elsewhere than with glibc nothing is done.
    """
    if sys.platform != "linux":
        return  # Windows would refuse to open the process itself as a library
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        m_trim_threshold, m_mmap_max = -1, -4  # malloc.h
        libc.mallopt(m_mmap_max, 0)
        libc.mallopt(m_trim_threshold, 2**31 - 1)


# What to do where the network itself has no room.
SMALLER = "End other programs that use it, or take a smaller model.name"


def smaller_batches(*first: str) -> str:
    """What to do where a batch has no room, what comes first before what always helps."""
    ways = [*first, "lower image.size", "take a smaller model.name"]
    text = f"{', '.join(ways[:-1])} or {ways[-1]}"
    return text[0].upper() + text[1:]


class TooLittleMemory(MemoryError):
    """Memory ran out; the message says for what it was too little, and what to change."""


@contextlib.contextmanager
def memory_named(what: str, way_out: str) -> Iterator[None]:
    """Turn memory that runs out, the device's or the computer's, into what it was needed for and what to change.

    Args:
        what: as it follows "there is too little memory".
        way_out: what to change, of what is really read there.

    Raises:
        TooLittleMemory: it ran out.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, TooLittleMemory) or not _is_out_of_memory(error):
            raise
        reason = str(error).partition("\n")[0]
        # Its frames hold the tensors that took the memory, and since Python 3.12 also one that leads back to it: only
        # the garbage collector would free them.
        error.__traceback__ = None
        raise TooLittleMemory(
            f"there is too little memory {what}. {way_out}" + (f" ({reason})" if reason else "")
        ) from None


def _is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out. torch has a class for its CUDA allocator alone; the CUDA runtime and libraries, Apple's
    GPU and CPUs (of Linux, of Windows) say it in words."""
    words = ("out of memory", "_ALLOC_FAILED", "can't allocate memory", "not enough memory")
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(word in str(error) for word in words)


@contextlib.contextmanager
def failures_named() -> Iterator[None]:
    """Turn what a network cannot do here, for its batch norms or for want of a kernel, into the setting to change."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" in str(error):
            raise ConfigError(
                "train.batch_size must be 2 or more for this network, whose batch norm needs several values in "
                "training, and every fold must leave as many images. Raise it or image.size"
                if team().size == 1
                else f"every one of the {team().size} processes must have 2 images or more of each batch, an epoch's "
                "last one too, for this network, whose batch norm needs several values in training. Set "
                "train.sync_norms = true, or another train.batch_size"
            ) from None
        raise
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        if "does not have a deterministic implementation" in reason:
            raise ConfigError(f"train.deterministic must be false for this network. Got true: {reason}") from None
        if "not implemented for" in reason:
            raise ConfigError(
                f"train.precision must be one that this network can run in here; set it to float32. Got: {reason}"
            ) from None
        raise
