"""The machine: the precision is chosen by rule; what a machine lacks is named with the setting to change."""

import hashlib
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

from pipeline.config import ConfigError, ModelConfig, TrainConfig
from pipeline.engine import machine
from pipeline.engine.machine import (
    TooLittleMemory,
    failures_named,
    find_device,
    find_machine,
    keep_memory,
    memory_named,
    must_train,
    steps_over,
)
from pipeline.files import InputError
from pipeline.model.build import build_model
from states import state_of

SHAPE = (8, 16, 16)


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
    assert find_machine("auto", plain, SHAPE).precision == expected
    assert find_machine("auto", depthwise, SHAPE).precision == "float32"
    assert find_machine("bfloat16", depthwise, SHAPE).dtype == torch.bfloat16
    assert find_machine("float32", plain, SHAPE).precision == "float32"
    assert find_machine("auto", plain, SHAPE, predicts=True).precision == expected
    assert find_machine("float32", plain, SHAPE, predicts=True).precision == "float32"
    with pytest.raises(ConfigError, match=r"without a GPU\. Got 'float16'"):
        find_machine("float16", plain, SHAPE)


@pytest.mark.parametrize(
    ("amx", "avx", "vendor", "expected"),
    [
        (False, True, "amd", "bfloat16"),
        (True, True, "intel", "float32"),
        (False, True, "intel", "float32"),
        (False, False, "amd", "float32"),
    ],
)
def test_depthwise_networks_predict_in_bfloat16_where_that_was_measured_to_be_faster(
    cpu: Callable[[bool, bool, str], None], amx: bool, avx: bool, vendor: str, expected: str
) -> None:
    cpu(amx, avx, vendor)
    model = build_model(ModelConfig(name="tf_efficientnet_lite0"), 64, 3, 3, 0)
    assert find_machine("auto", model, (3, 64, 64)).precision == "float32"
    assert find_machine("auto", model, (3, 64, 64), predicts=True).precision == expected
    assert find_machine("float32", model, (3, 64, 64), predicts=True).precision == "float32"
    # Of small images some layer steps over its map.
    small = build_model(ModelConfig(name="mobilenetv3_small_050"), 8, 3, 3, 0)
    assert find_machine("auto", small, (3, 8, 8), predicts=True).precision == "float32"


def test_on_a_cpu_nothing_is_asked_of_torch_for_equal_bytes_but_to_be_as_it_was(
    cpu: Callable[[bool, bool, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking imports torch's compiler: half of what inference takes to start."""
    cpu(False, False, "intel")
    asked: list[bool] = []
    monkeypatch.setattr(torch, "use_deterministic_algorithms", asked.append)
    for deterministic in (False, True):
        find_machine("auto", nn.Conv2d(3, 4, 1), SHAPE, deterministic=deterministic)
    assert asked == []
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    find_machine("auto", nn.Conv2d(3, 4, 1), SHAPE, deterministic=True)
    assert asked == [False]


@pytest.mark.parametrize(
    ("layer", "height", "width", "expected"),
    [
        (nn.Conv2d(3, 4, 3, 2, 1), 1, 1, True),
        (nn.Conv2d(3, 4, 3, 2, 1), 2, 2, False),
        (nn.Conv2d(3, 4, 3, 2, 1), 8, 1, True),
        (nn.Conv2d(3, 4, 3, 1, 1), 1, 1, False),
        (nn.Conv2d(3, 3, 5, 4, 2, groups=3), 3, 3, True),
        (nn.Conv2d(3, 3, 5, 4, 2, groups=3), 4, 4, False),
        (nn.Conv2d(3, 4, 3, (1, 2), 1), 1, 8, False),
        (nn.Sequential(nn.MaxPool2d(4), nn.Conv2d(3, 4, 1, 2)), 7, 7, True),
        (nn.Sequential(nn.MaxPool2d(4), nn.Conv2d(3, 4, 1, 2)), 8, 8, False),
        (nn.Sequential(nn.Flatten(), nn.Linear(3, 3)), 1, 1, False),
    ],
)
def test_a_network_steps_over_a_map_with_a_side_smaller_than_a_stride(
    layer: nn.Module, height: int, width: int, expected: bool
) -> None:
    assert steps_over(layer, (3, height, width)) == expected


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("resnet18", 12, "float32"),
        ("resnet18", 16, "float32"),
        ("resnet18", 17, "bfloat16"),
        ("resnet18", 64, "bfloat16"),
        ("resnet9", 8, "bfloat16"),
        ("cifarnet", 22, "bfloat16"),
    ],
)
def test_on_a_cpu_bfloat16_is_for_networks_that_step_over_no_map(
    cpu: Callable[[bool, bool, str], None], name: str, size: int, expected: str
) -> None:
    cpu(True, True, "intel")
    model, shape = build_model(ModelConfig(name=name, width=4), size, 3, 3, 0), (3, size, size)
    found = find_machine("auto", model, shape)
    assert found.precision == expected
    must_train(found, model, shape)
    asked = find_machine("bfloat16", model, shape)
    assert asked.precision == "bfloat16", "it may predict"
    if expected == "float32":
        with pytest.raises(ConfigError, match=f"train.precision must be .* images of {size} px.* Got 'bfloat16'"):
            must_train(asked, model, shape)
    else:
        must_train(asked, model, shape)


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet_gn", "resnet18"])
def test_the_smallest_images_speak_for_the_larger(name: str) -> None:
    model = build_model(ModelConfig(name=name), 8, 3, 3, 0)
    steps = [steps_over(model, (3, size, size)) for size in range(8, 41)]
    assert steps == sorted(steps, reverse=True) and set(steps) == {True, False}


def trained(name: str, size: int, num_steps: int = 2) -> bytes:
    """The weights after some steps, by the rule's precision, in memory that holds NaN where nothing wrote."""
    model = build_model(ModelConfig(name=name), size, 3, 4, 0)
    found = find_machine("auto", model, (3, size, size))
    model = found.place(model)
    state = state_of(TrainConfig(num_epochs=1, optimizer="sgd", lr=0.05), model, [8] * num_steps, found)
    images = torch.randn(8, 3, size, size, generator=torch.Generator().manual_seed(0)).to(found.dtype)
    for step in range(num_steps):
        freed = [torch.full((1 << power,), float("nan")) for power in (10, 16) for _ in range(32)]
        del freed
        found.seed(step)
        with found.autocast():
            logits = model(images.contiguous(memory_format=torch.channels_last))
        state.add_gradients(functional.cross_entropy(logits.float(), torch.arange(8) % 4))
        state.take_step()
    weights = [value.float() for value in model.state_dict().values()]
    assert all(value.isfinite().all() for value in weights)
    return b"".join(value.contiguous().numpy().tobytes() for value in weights)


def must_train_the_same(name: str, size: int, num_runs: int) -> None:
    assert len({hashlib.sha256(trained(name, size)).digest() for _ in range(num_runs)}) == 1


@pytest.mark.parametrize("size", [12, 24])
@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet_gn", "test_mambaout"])
def test_small_images_train_to_the_same_bytes(cpu: Callable[[bool, bool, str], None], name: str, size: int) -> None:
    """As on a CPU that is fast in bfloat16: others compute the same, more slowly."""
    cpu(True, True, "intel")
    must_train_the_same(name, size, 4)


TEN = ("test_resnet", "test_byobnet", "test_efficientnet", "test_efficientnet_gn", "test_nfnet", "test_mambaout")
TEN += ("resnet18", "resnet26", "regnetx_002", "mobilenetv3_small_050")


@pytest.mark.slow
@pytest.mark.parametrize("size", [8, 16, 24])
@pytest.mark.parametrize("name", TEN)
def test_ten_networks_train_small_images_to_the_same_bytes_twenty_times(
    cpu: Callable[[bool, bool, str], None], name: str, size: int
) -> None:
    cpu(True, True, "intel")
    must_train_the_same(name, size, 20)


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


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        torch.AcceleratorError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("MPS backend out of memory (MPS allocated: 5.50 GB, other allocations: 14.76 GB)"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 4000000000 bytes."),
        MemoryError("Unable to allocate 7.11 PiB for an array with shape (1000000000000000,)"),
    ],
    ids=lambda error: str(error)[:30],
)
def test_a_lack_of_memory_of_any_kind_is_named_with_the_way_out(error: Exception) -> None:
    with pytest.raises(TooLittleMemory) as caught, memory_named("for batches of 512", "Lower infer.batch_size"):
        raise type(error)(f"{error}\nException raised from malloc")
    assert str(caught.value) == f"there is too little memory for batches of 512. Lower infer.batch_size ({error})"


def test_a_lack_of_memory_on_this_cpu_is_seen() -> None:
    with pytest.raises(TooLittleMemory, match=r"Lower it .*allocate"), memory_named("here", "Lower it"):
        torch.empty(2**60, dtype=torch.uint8)
    with (
        pytest.raises(TooLittleMemory, match=r"^there is too little memory here\. Lower it$"),
        memory_named("anywhere", "Lower another"),
        memory_named("here", "Lower it"),
    ):
        raise MemoryError


def test_memory_is_kept_with_glibc_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(name: object) -> None:
        raise TypeError("bad argument type for built-in operation")  # what CDLL(None) is on Windows

    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setattr("ctypes.CDLL", refuses)
    keep_memory()
    monkeypatch.setattr("sys.platform", "linux")
    with pytest.raises(TypeError):
        keep_memory()


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        ("grid_sampler_2d_backward_cuda does not have a deterministic implementation", "train.deterministic"),
        ("\"fractional_max_pool2d\" not implemented for 'BFloat16'", "train.precision"),
    ],
)
def test_a_missing_kernel_names_the_setting(reason: str, advice: str) -> None:
    with pytest.raises(ConfigError, match=advice), failures_named():
        raise RuntimeError(reason)


def test_other_errors_are_left_alone() -> None:
    for error in (RuntimeError("a bug"), ValueError("a bug"), torch.AcceleratorError("CUDA error: device-side assert")):
        with pytest.raises(type(error)) as caught, failures_named(), memory_named("here", "Lower it"):
            raise error
        assert caught.value is error
