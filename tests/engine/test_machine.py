"""The machine: what it lacks is named with the setting to change."""

import pytest
import torch

from pipeline.config import ConfigError
from pipeline.engine.machine import _must_have_kernels, failures_named
from pipeline.files import InputError


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
def test_a_gpu_with_kernels_is_taken(capability: tuple[int, int], built: list[str]) -> None:
    _must_have_kernels(capability, built)


@pytest.mark.parametrize(
    ("capability", "built"),
    [((6, 0), ["sm_75", "sm_80", "compute_120"]), ((8, 0), ["sm_75", "sm_86"]), ((10, 0), ["sm_90a"])],
)
def test_a_gpu_without_kernels_is_refused(capability: tuple[int, int], built: list[str]) -> None:
    with pytest.raises(InputError, match=f"capability {capability[0]}.{capability[1]}.*CUDA_VISIBLE_DEVICES="):
        _must_have_kernels(capability, built)


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
