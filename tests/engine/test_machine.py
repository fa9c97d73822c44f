"""The machine: what it lacks is named with the setting to change."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from pipeline.config import ConfigError
from pipeline.engine import machine
from pipeline.engine.machine import failures_named, find_device, find_machine
from pipeline.files import InputError


@pytest.fixture
def cpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool, bool, str], None]:
    """Make this machine one without a GPU, with AMX or not, with AVX512-BF16 or not, of some vendor."""

    def make(amx: bool, avx: bool, vendor: str) -> None:
        monkeypatch.setattr(machine, "find_device", lambda: torch.device("cpu"))
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx)
        monkeypatch.setattr(machine, "cpu_vendor", lambda: vendor)

    return make


@pytest.mark.parametrize(
    ("amx", "avx", "vendor", "expected"),
    [
        (True, True, "intel", "bfloat16"),
        (False, True, "amd", "bfloat16"),
        (False, True, "intel", "float32"),
        (False, True, "", "float32"),
        (False, False, "amd", "float32"),
    ],
)
def test_the_precision_follows_a_rule_and_the_setting(
    cpu: Callable[[bool, bool, str], None], amx: bool, avx: bool, vendor: str, expected: str
) -> None:
    cpu(amx, avx, vendor)
    plain = nn.Sequential(nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 1))
    depthwise = nn.Sequential(nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, 1))
    assert find_machine("auto", plain).precision == expected
    assert find_machine("auto", depthwise).precision == "float32"
    assert find_machine("bfloat16", depthwise).dtype == torch.bfloat16
    assert find_machine("float32", plain).precision == "float32"
    with pytest.raises(ConfigError, match=r"without a GPU\. Got 'float16'"):
        find_machine("float16", plain)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[tuple[int, int], list[str]], None]:
    """Make this machine one with a GPU of some compute capability, for which torch has some kernels."""

    def make(capability: tuple[int, int], built: list[str]) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
        monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: built)

    return make


@pytest.mark.parametrize(
    ("capability", "built"),
    [
        ((7, 5), ["sm_75", "sm_80", "sm_90", "compute_120"]),
        ((8, 6), ["sm_75", "sm_80"]),
        ((9, 0), ["sm_90a"]),
        ((12, 1), ["sm_75", "compute_120"]),
        ((13, 0), ["sm_75", "compute_120"]),
    ],
)
def test_a_gpu_with_kernels_is_taken(
    gpu: Callable[[tuple[int, int], list[str]], None], capability: tuple[int, int], built: list[str]
) -> None:
    gpu(capability, built)
    assert find_device() == torch.device("cuda", 0)


@pytest.mark.parametrize(
    ("capability", "built"),
    [((6, 0), ["sm_75", "sm_80", "compute_120"]), ((8, 0), ["sm_75", "sm_86"]), ((10, 0), ["sm_90a"])],
)
def test_a_gpu_without_kernels_is_refused(
    gpu: Callable[[tuple[int, int], list[str]], None], capability: tuple[int, int], built: list[str]
) -> None:
    gpu(capability, built)
    with pytest.raises(InputError, match=f"capability {capability[0]}.{capability[1]}.*CUDA_VISIBLE_DEVICES="):
        find_device()


def test_a_lack_of_memory_names_the_stage_s_own_setting() -> None:
    with (
        pytest.raises(MemoryError, match=r"batches of 512\. Lower infer.batch_size"),
        failures_named("infer.batch_size", 512),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        ("grid_sampler_2d_backward_cuda does not have a deterministic implementation", "train.deterministic"),
        ("\"fractional_max_pool2d\" not implemented for 'BFloat16'", "train.precision"),
    ],
)
def test_a_missing_kernel_names_the_setting(reason: str, advice: str) -> None:
    with pytest.raises(ConfigError, match=advice), failures_named("train.batch_size", 8):
        raise RuntimeError(reason)


def test_other_errors_are_left_alone() -> None:
    with pytest.raises(RuntimeError, match="a bug"), failures_named("train.batch_size", 8):
        raise RuntimeError("a bug")
