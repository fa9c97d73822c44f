"""What the benchmarks share: paired turns, images in memory, the machine's name."""

import platform
import statistics
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from pipeline.config import ImageConfig
from pipeline.images.cache import Images


def paired(ours: Callable[[], float], theirs: Callable[[], float], num_turns: int) -> tuple[float, float, list[float]]:
    """Call two measurements in turns, after one unmeasured turn each; medians of both and the ratio of every turn."""
    ours(), theirs()
    pairs = [(ours(), theirs()) if turn % 2 else (theirs(), ours())[::-1] for turn in range(num_turns)]
    one, other = (statistics.median(values) for values in zip(*pairs, strict=True))
    return one, other, [first / second for first, second in pairs]


def line(name: str, ours: float, theirs: float, ratios: list[float], unit: str = "images/s") -> str:
    """One row: both medians, the median of the ratios, and their range."""
    ratio = statistics.median(ratios)
    return (
        f"{name}: {ours:,.0f} against {theirs:,.0f} {unit}, ratio {ratio:.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
    )


def smooth_images(num_images: int, size: int) -> torch.Tensor:
    """Smoothed noise that uses all levels, uint8 (batch, height, width, channel)."""
    coarse = torch.rand(num_images, 3, max(2, size // 8), max(2, size // 8), generator=torch.Generator().manual_seed(0))
    fine = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic").mul(255).clamp(0, 255)
    return fine.to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def mapped_images(num_images: int, size: int, folder: Path, channels: int = 3) -> Images:
    """Images in one mapped shard, as the cache makes them; the same few hundred pictures again and again."""
    file = folder / f"{size}x{channels}.npy"
    shape = (num_images, size, size, channels)
    pixels = np.lib.format.open_memmap(file, "w+", np.uint8, shape)
    pictures = smooth_images(256, size).numpy()[..., :channels]
    for start in range(0, num_images, len(pictures)):
        part = pixels[start : start + len(pictures)]
        part[:] = pictures[: len(part)]
    pixels.flush()
    table = pa.table({"bad": [""] * num_images})
    numbers = np.arange(num_images)
    settings = ImageConfig(size=size, channels=channels)  # type: ignore[arg-type]
    return Images(folder, settings, table, {0: np.load(file, mmap_mode="r")}, np.zeros_like(numbers), numbers)


def machine_line() -> str:
    """What the figures were measured on."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    flags: set[str] = set()
    if cpuinfo.is_file():
        rows = dict(row.split(":", 1) for row in cpuinfo.read_text().splitlines() if ":" in row)
        values = {key.strip(): value.strip() for key, value in rows.items()}
        model, flags = values.get("model name", model), set(values.get("flags", "").split())
    has = [name for name in ("avx512f", "avx512_bf16", "amx_bf16") if name in flags]
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    threads = f"{torch.get_num_threads()} threads"
    return f"{model} ({', '.join(has) or 'no AVX512'}), {threads}, {gpu}, torch {torch.__version__}"
