"""Where weights are found, in which order, and what is left alone."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from pipeline.files import InputError
from pipeline.model import published
from pipeline.model.published import Found, Places, find, find_in, read
from pipeline.model.weight_names import timm_network
from played_hub import PlayedHub

NETWORK = timm_network("resnet18")


def put(path: Path, content: bytes = b"weights") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def cached_by_the_hub(place: Path, file: str = "model.safetensors") -> Path:
    """As huggingface_hub lays it out."""
    folder = place / "hub" / "models--timm--resnet18.a1_in1k"
    put(folder / "refs" / "main", b"0a" * 20)
    return put(folder / "snapshots" / ("0a" * 20) / file)


def test_the_places_in_their_order(nowhere: PlayedHub, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    more = [workplace / "more", workplace / "last"]
    monkeypatch.setenv("PIPELINE_WEIGHTS", os.pathsep.join(map(str, more)))
    file = "resnet18.a1_in1k.safetensors"
    expected = [
        (put(Path("input/weights") / file), "input/weights"),
        (put(more[0] / "deep" / "er" / file), "$PIPELINE_WEIGHTS"),
        (put(more[1] / file), "$PIPELINE_WEIGHTS"),
        (put(workplace / "attached" / "resnet18" / "pytorch" / "default" / "1" / "model.safetensors"), "attached"),
        (put(Path("output/cache/weights") / file), "output/cache/weights"),
        (put(workplace / "torch" / "hub" / "checkpoints" / NETWORK.files[0]), "torch's cache"),
        (cached_by_the_hub(workplace), "the hub's cache"),
        (cached_by_the_hub(workplace, "pytorch_model.bin"), "the hub's cache"),
    ]
    for path, place in expected:
        found = find(NETWORK)
        assert found is not None
        assert (found.path, Path(found.place).name if "attached" in found.place else found.place) == (path, place)
        path.unlink()
    assert find(NETWORK) is None
    assert not nowhere.hosts


def test_in_one_place_the_name_that_says_most_then_the_path(nowhere: PlayedHub) -> None:
    place = Path("input/weights")
    files = ["z/resnet18.a1_in1k.pth", "z/z/resnet18_a1_0-d63eafa0.pth", "a/resnet18.pth", "b/resnet18.pth"]
    for name in files:
        put(place / name)
    for name in files:
        found = find(NETWORK)
        assert found is not None and found.path == place / name
        found.path.unlink()


def test_another_tag_is_not_it(nowhere: PlayedHub) -> None:
    put(Path("input/weights/resnet18.tv_in1k.safetensors"))
    put(Path("input/weights/resnet18-f37072fd.pth"))
    assert find(NETWORK) is None
    assert find(timm_network("resnet18.tv_in1k")) is not None


def test_folders_of_data_are_not_walked(nowhere: PlayedHub, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attached = workplace / "attached"
    images = attached / "competition" / "train"
    for number in range(1_001):
        put(images / f"{number}.jpg", b"")
    put(images / "resnet18" / "model.safetensors")
    folder_per_image = attached / "competition" / "studies"
    for number in range(1_001):
        (folder_per_image / str(number)).mkdir(parents=True)
    put(attached / "competition" / "a/b/c/d/e/f/g" / "resnet18.pth")  # too deep
    put(attached / "competition" / ".hidden" / "resnet18.pth")
    looked, scandir = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: looked.append(Path(path)) or scandir(path))  # type: ignore[func-returns-value]
    assert find(NETWORK) is None
    assert images in looked and folder_per_image in looked
    assert not [path for path in looked if images in path.parents or folder_per_image in path.parents]
    wanted = put(attached / "weights" / "a" / "resnet18.pth")
    found = find(NETWORK)
    assert found is not None and found.path == wanted, "a data set does not hide what lies beside it"


def test_no_more_than_so_much_is_looked_at(nowhere: PlayedHub, workplace: Path) -> None:
    data = workplace / "attached" / "competition"
    for number in range(25):
        for file in range(900):
            put(data / f"class{number:02}" / f"{file}.png", b"")
    put(data / "class24" / "resnet18.pth")
    assert find(NETWORK) is None, "behind 20,000 others"
    put(data / "class03" / "resnet18.pth")
    assert find(NETWORK) is not None


def test_a_folder_that_cannot_be_read_is_left(nowhere: PlayedHub, monkeypatch: pytest.MonkeyPatch) -> None:
    put(Path("input/weights/locked/resnet18.pth"))
    wanted = put(Path("input/weights/open/resnet18.pth"))
    scandir = os.scandir

    def refused(path: Path) -> object:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    found = find(NETWORK)
    assert found is not None and found.path == wanted


def test_links_are_followed_and_lead_nowhere_twice(nowhere: PlayedHub, workplace: Path) -> None:
    put(workplace / "elsewhere" / "resnet18.pth")
    place = workplace / "input" / "weights"
    place.mkdir()
    (place / "linked").symlink_to(workplace / "elsewhere")
    (workplace / "elsewhere" / "again").symlink_to(place)
    found = find(NETWORK)
    assert found is not None and found.path == Path("input/weights/linked/resnet18.pth")


def test_places_are_seen_once_for_many(nowhere: PlayedHub) -> None:
    put(Path("input/weights/resnet18.pth"))
    places = Places.seen()
    shutil.rmtree("input/weights")
    assert find(NETWORK, places) is not None and find(NETWORK) is None


def test_a_folder_that_holds_others_is_said(workplace: Path) -> None:
    for number in range(12):
        put(workplace / "w" / f"resnet{number}" / "model.safetensors")
    put(workplace / "w" / "readme.txt")
    with pytest.raises(InputError, match=r"resnet18\.a1_in1k\.safetensors\. .*w holds resnet0/model\.safeten.*\.\.\.$"):
        find_in(workplace / "w", NETWORK)
    (workplace / "empty").mkdir()
    with pytest.raises(InputError, match="empty holds no file of weights"):
        find_in(workplace / "empty", NETWORK)


def plain(weights: dict[str, torch.Tensor]) -> object:
    return weights


def wrapped(weights: dict[str, torch.Tensor]) -> object:
    return {"epoch": 3, "state_dict": {f"module.{key}": value for key, value in weights.items()}}


def averaged(weights: dict[str, torch.Tensor]) -> object:
    return {"state_dict": {key: value + 1 for key, value in weights.items()}, "state_dict_ema": weights}


@pytest.mark.parametrize("how", [plain, wrapped, averaged])
def test_tensors_are_read_as_timm_takes_them(how: Callable[..., object], tmp_path: Path) -> None:
    weights = {"conv1.weight": torch.rand(2, 3), "fc.bias": torch.rand(2)}
    torch.save(how(weights), tmp_path / "w.pth")
    got = read(NETWORK, Found(tmp_path / "w.pth", "input/weights"))
    assert got.keys() == weights.keys() and all(torch.equal(got[key], weights[key]) for key in weights)


def test_safetensors_are_read(tmp_path: Path) -> None:
    weights = {"conv1.weight": torch.rand(2, 3)}
    safetensors.torch.save_file(weights, tmp_path / "w.safetensors")
    got = read(NETWORK, Found(tmp_path / "w.safetensors", "input/weights"))
    assert torch.equal(got["conv1.weight"], weights["conv1.weight"])


@pytest.mark.parametrize("content", [{"epoch": 3}, {"state_dict": {}}, [1.0], torch.ones(2)])
def test_a_file_without_tensors_is_said(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"tensors by name\. .*w\.pth holds none"):
        read(NETWORK, Found(tmp_path / "w.pth", "input/weights"))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".bin"])
def test_a_damaged_file_is_one_sentence(suffix: str, tmp_path: Path) -> None:
    path = put(tmp_path / f"w{suffix}", b"\x00damaged" * 99)
    with pytest.raises(InputError, match=r"must be.*whole") as caught:
        read(NETWORK, Found(path, "input/weights"))
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_the_root_of_what_is_attached_is_that_of_notebooks() -> None:
    assert Path("/kaggle/input") == published.ATTACHED
