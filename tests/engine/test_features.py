"""Features: what timm's network gives before its classifier, mean over the views; computed once, and kept."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch.nn import functional

from pipeline import prepare
from pipeline.competition.answers.task import make_task
from pipeline.competition.tables.table import read_train
from pipeline.config import Config
from pipeline.engine import features
from pipeline.engine.features import Frozen
from pipeline.files import InputError
from pipeline.images.batches import Batches
from pipeline.images.cache import Images, open_images
from pipeline.model.build import build_model
from running import CONFIG

STATISTICS = ((0.4, 0.5, 0.6), (0.2, 0.3, 0.25))
SETTINGS = (
    *("model.name=test_resnet", "image.size=32", "augment.hflip=0.5", "train.batch_size=5"),
    "train.precision=float32",  # that of the computation by hand, on a GPU too
)


def opened(competition: Callable[..., Config], *settings: str) -> tuple[Config, Images, list[str]]:
    cfg = competition(*SETTINGS, *settings)
    assert prepare.main([*CONFIG, "--set", *SETTINGS, *settings]) == 0
    samples = read_train(cfg)
    return cfg, open_images(cfg, "train", samples.keys), samples.ids


def frozen(cfg: Config) -> Frozen:
    task = make_task(cfg, read_train(cfg))
    return Frozen.of(cfg, build_model(cfg.model, cfg.image.size, 3, 3, 0), task, STATISTICS)


def by_hand(cfg: Config, images: Images, *, flipped: bool) -> np.ndarray:
    model = build_model(cfg.model, cfg.image.size, 3, 3, 0).eval()
    pixels = torch.from_numpy(images.gather(np.arange(len(images)))).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in STATISTICS)
    with torch.no_grad():
        views = [(pixels - mean) / std] + [((pixels - mean) / std).flip(3)] * flipped
        features = [model.forward_head(model.forward_features(view), pre_logits=True) for view in views]
    return torch.stack(features).mean(0).numpy()


@pytest.mark.parametrize("flipped", [True, False])
def test_they_are_what_the_classifier_would_see(competition: Callable[..., Config], flipped: bool) -> None:
    cfg, images, ids = opened(competition, *([] if flipped else ["augment.hflip=0"]))
    found = frozen(cfg).features(cfg, "train", ids, images, "these")
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, by_hand(cfg, images, flipped=flipped), rtol=2e-3, atol=2e-3)


def test_they_are_computed_once_for_the_same_images(
    competition: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In files of some images each, so that a stop loses few; in another order of the images they are the same ones."""
    monkeypatch.setattr(features, "IMAGES_A_FILE", 10)
    cfg, images, ids = opened(competition)
    first = frozen(cfg).features(cfg, "train", ids, images, "these")
    files = sorted(Path("output/cache").glob("tiny-features-*/train/*.parquet"))
    assert [path.name for path in files] == ["00000.parquet", "00001.parquet", "00002.parquet"]
    computed: list[int] = []
    original = features.evaluate

    def counted(model: torch.nn.Module, batches: Batches, *rest: Any) -> Batches:
        computed.append(batches.num_images)
        return original(model, batches, *rest)

    monkeypatch.setattr(features, "evaluate", counted)
    files[1].write_bytes(files[1].read_bytes()[:-9])
    again = frozen(cfg).features(cfg, "train", ids, images, "these")
    assert computed == [10]
    np.testing.assert_array_equal(again, first)
    other = open_images(cfg, "train", read_train(cfg).keys[::-1])
    turned = frozen(cfg).features(cfg, "train", ids[::-1], other, "these")
    assert computed == [10]
    np.testing.assert_array_equal(turned[::-1], first)
    frozen(cfg).features(cfg, "train", ids, images, "others")
    assert computed == [10, 10, 10, 4]


def test_another_precision_has_its_own_and_a_full_disk_keeps_none(
    competition: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg, images, ids = opened(competition)
    first = frozen(cfg).features(cfg, "train", ids, images, "these")
    other = competition(*SETTINGS, "train.precision=bfloat16")
    assert not np.array_equal(frozen(other).features(other, "train", ids, images, "these"), first)
    assert len(list(Path("output/cache").glob("tiny-features-*"))) == 2
    full = type(shutil.disk_usage("."))(10**12, 10**12 - 10**9, 10**9)
    monkeypatch.setattr(features.shutil, "disk_usage", lambda path: full)
    found = frozen(cfg).features(cfg, "train", ids, images, "others")
    np.testing.assert_array_equal(found, first)
    assert not list(Path("output/cache").glob("tiny-features-*/*/.*.tmp"))
    assert len(list(Path("output/cache").glob("tiny-features-*/train/*.parquet"))) == 2


def test_a_batch_that_does_not_fit_is_not_tried_again(
    competition: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "IMAGES_A_FILE", 10)
    cfg, images, ids = opened(competition)
    sizes: list[int] = []

    def smaller(model: torch.nn.Module, batches: Batches, *rest: Any) -> Batches:
        sizes.append(batches.batch_size)
        return original(model, replace(batches, batch_size=min(batches.batch_size, 3)), *rest)

    original = features.evaluate
    monkeypatch.setattr(features, "evaluate", smaller)
    frozen(cfg).features(cfg, "train", ids, images, "these")
    assert sizes == [20, 3, 3]


def test_what_they_depend_on_names_the_network(competition: Callable[..., Config]) -> None:
    cfg = competition(*SETTINGS)
    keys = [frozen(cfg).network, frozen(cfg).network]
    assert keys[0] == keys[1] == frozen(competition(*SETTINGS, "train.precision=bfloat16")).network
    for setting in ("model.name=test_efficientnet", "image.size=64", "augment.hflip=0"):
        keys.append(frozen(competition(*SETTINGS, setting)).network)
    torch.default_generator.manual_seed(1)
    weights = timm.create_model("test_resnet", num_classes=3).state_dict()
    torch.save(weights, "w.pth")
    keys.append(frozen(competition(*SETTINGS, "model.weights=w.pth")).network)
    assert len(set(keys)) == 5


def test_an_image_that_cannot_be_read_has_none(competition: Callable[..., Config]) -> None:
    cfg = competition(*SETTINGS)
    (cfg.root / "train" / "000.png").write_bytes(b"no image")
    options = [*SETTINGS, "data.bad_images=drop"]
    assert prepare.main([*CONFIG, "--set", *options]) == 0
    samples = read_train(cfg)
    images = open_images(cfg, "train", samples.keys)
    bad = [index for index in range(len(samples)) if not images.readable[index]]
    assert len(bad) == 1
    found = frozen(cfg).features(cfg, "train", samples.ids, images, "these")
    assert (found[bad] == 0).all() and (found[np.flatnonzero(images.readable)] != 0).any(1).all()


def test_features_that_are_no_numbers_are_refused(competition: Callable[..., Config]) -> None:
    cfg, images, ids = opened(competition)
    network = frozen(cfg)
    with torch.no_grad():
        next(network.predictor.model.parameters()).fill_(float("nan"))
    with pytest.raises(InputError, match=r"the features of model\.name must be finite numbers"):
        network.features(cfg, "train", ids, images, "these")


def test_large_ones_are_held(competition: Callable[..., Config]) -> None:
    """float16 ends at 65,504; what is larger stays the largest, and finite."""
    cfg, images, ids = opened(competition)
    network = frozen(cfg)
    inner = network.predictor.model
    scaled = torch.nn.Sequential(inner, torch.nn.Module())
    scaled[1].forward = lambda values: functional.relu(values) * 1e9  # type: ignore[method-assign]
    object.__setattr__(network.predictor, "model", scaled)
    found = network.features(cfg, "train", ids, images, "these")
    assert np.isfinite(found).all() and found.max() == 65504
