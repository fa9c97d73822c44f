"""What files say of images at a glance, and the warning that test images are of another kind."""

import json
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from making import picture
from pipeline import prepare
from pipeline.audit.plain_features import NAMES, plain_features
from pipeline.competition.tables.table import read_train
from pipeline.config import Config
from pipeline.images.cache import open_images
from running import CONFIG, RUN


def test_they_are_those_of_the_files(competition: Callable[..., Config]) -> None:
    cfg = competition("image.size=32", num_train=6)
    for number in range(6):
        Image.fromarray(picture(number, number, 32)[:, : 16 + 2 * number]).save(cfg.root / f"train/{number:03d}.png")
    assert prepare.main([*CONFIG, "--set", "image.size=32"]) == 0
    samples = read_train(cfg)
    images = open_images(cfg, "train", samples.keys, described=True)
    indices = np.array([4, 1])
    found = plain_features(images, indices)
    pixels = images.gather(indices)[:, ::4, ::4].astype(float)
    for row, index in enumerate(indices):
        path = cfg.root / samples.paths[index]
        with Image.open(path) as image:
            width, height = image.size
        size = path.stat().st_size
        own = [
            width,
            height,
            width / height,
            size,
            size / (width * height),
            *pixels[row].mean((0, 1)),
            pixels[row].std(),
        ]
        np.testing.assert_allclose(found[row], own, rtol=1e-4)
    assert len(NAMES) == found.shape[1]


@pytest.mark.parametrize("is_like", [True, False])
def test_test_images_of_another_size_are_warned_of(
    competition: Callable[..., Config], capsys: pytest.CaptureFixture[str], is_like: bool
) -> None:
    cfg = competition(num_train=60, num_test=40)
    for number in range(40):
        side = 12 if is_like else 20
        Image.fromarray(picture(number % 3, 1000 + number, side)).save(cfg.root / f"test/{number:03d}.png")
    assert prepare.main(CONFIG) == 0
    shift = json.loads((RUN / "shift.json").read_text())
    lines = [line for line in capsys.readouterr().out.splitlines() if "warning" in line]
    if is_like:
        assert shift["auc"] < 0.7 and lines == []
    else:
        assert (
            shift["auc"] > 0.95 and shift["by_feature"]["width"] == 1.0 and shift["by_feature"]["width / height"] == 0.5
        )
        (line,) = lines
        assert line.startswith("prepare: warning: test images are unlike train images: sizes, bytes and colours")
