import json

import albumentations
import numpy as np
import pytest

from pipeline.files import InputError
from pipeline.images.augment.albumentations_file import AlbumentationsFile

KEYS = np.array([5, -7, 2**62, 0, 11, 12, 13], dtype=np.int64)


def batch(channels=3):
    return np.random.default_rng(0).integers(0, 256, (len(KEYS), 16, 16, channels), dtype=np.uint8)


def pipeline():
    return albumentations.Compose(
        [
            albumentations.HorizontalFlip(p=0.5),
            albumentations.OneOf([albumentations.VerticalFlip(p=1), albumentations.Transpose(p=1)], p=0.7),
            albumentations.SomeOf([albumentations.RandomRotate90(p=1), albumentations.GaussNoise(p=1)], n=1, p=0.8),
            albumentations.RandomBrightnessContrast(p=0.8),
            albumentations.CoarseDropout(p=0.5),
        ]
    )


def saved(path, transform=None):
    albumentations.save(transform or pipeline(), path, data_format="yaml" if path.suffix == ".yaml" else "json")
    return path


@pytest.mark.parametrize("suffix", [".json", ".yaml"])
def test_an_image_gets_the_same_whatever_its_batch_order_and_thread(tmp_path, suffix):
    augment = AlbumentationsFile(saved(tmp_path / f"a{suffix}"), seed=3)
    images = batch()
    original = images.copy()
    whole = augment(images, KEYS, 2)
    assert (images == original).all()
    assert whole.dtype == np.uint8 and whole.shape == images.shape
    order = np.array([4, 0, 6, 2, 1, 5, 3])
    assert (augment(images[order], KEYS[order], 2) == whole[order]).all()
    again = AlbumentationsFile(augment.path, seed=3)
    for index in range(len(KEYS)):
        assert (again(images[index : index + 1], KEYS[index : index + 1], 2)[0] == whole[index]).all()


def test_seed_epoch_and_key_change_what_is_drawn(tmp_path):
    path = saved(tmp_path / "a.json")
    images = np.repeat(batch()[:1], len(KEYS), 0)
    first = AlbumentationsFile(path, seed=0)(images, KEYS, 0)
    assert len({image.tobytes() for image in first}) > 3
    assert (AlbumentationsFile(path, seed=0)(images, KEYS, 1) != first).any()
    assert (AlbumentationsFile(path, seed=1)(images, KEYS, 0) != first).any()


def test_transforms_of_one_pipeline_draw_independently(tmp_path):
    both = albumentations.Compose([albumentations.HorizontalFlip(p=0.5), albumentations.VerticalFlip(p=0.5)])
    augment = AlbumentationsFile(saved(tmp_path / "a.json", both), seed=0)
    image = batch()[:1]
    keys = np.arange(400, dtype=np.int64)
    results = augment(np.repeat(image, len(keys), 0), keys, 0)
    flips = [image[0], image[0][:, ::-1], image[0][::-1], image[0][::-1, ::-1]]
    counts = [sum(bool((result == flip).all()) for result in results) for flip in flips]
    assert sum(counts) == len(keys)
    assert min(counts) > 65  # 100 expected, standard deviation 8.7


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_are_kept(tmp_path, channels):
    flips = albumentations.Compose([albumentations.HorizontalFlip(p=1), albumentations.Rotate(p=1)])
    augment = AlbumentationsFile(saved(tmp_path / "a.json", flips), seed=0)
    assert augment(batch(channels), KEYS, 0).shape == (len(KEYS), 16, 16, channels)


def test_a_transform_by_itself_is_a_pipeline(tmp_path):
    augment = AlbumentationsFile(saved(tmp_path / "a.json", albumentations.HorizontalFlip(p=1)), seed=0)
    assert (augment(batch(), KEYS, 0) == batch()[:, :, ::-1]).all()


@pytest.mark.parametrize(
    ("transform", "words"),
    [
        (albumentations.Normalize(), "must not contain Normalize: this pipeline normalises"),
        (albumentations.OneOf([albumentations.Compose([albumentations.ToTensorV2()])]), "must not contain ToTensorV2"),
    ],
)
def test_what_this_pipeline_does_itself_is_refused(tmp_path, transform, words):
    with pytest.raises(InputError, match=words):
        AlbumentationsFile(saved(tmp_path / "a.json", albumentations.Compose([transform])), seed=0)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.json", "{", "must be JSON or YAML"),
        ("a.yaml", "a: [", "must be JSON or YAML"),
        ("a.json", "[1]", "there is no 'transform'"),
        ("a.json", '{"transform": {"__class_fullname__": "Sparkle", "p": 1}}', "Sparkle"),
    ],
)
def test_what_is_no_pipeline_is_refused(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=words):
        AlbumentationsFile(tmp_path / name, seed=0)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.json does not exist"):
        AlbumentationsFile(tmp_path / "none.json", seed=0)


def test_an_ignored_argument_is_named(tmp_path):
    path = saved(tmp_path / "a.json")
    values = json.loads(path.read_text())
    values["transform"]["transforms"][0]["strength"] = 3
    path.write_text(json.dumps(values))
    with pytest.raises(InputError, match="strength"):
        AlbumentationsFile(path, seed=0)


@pytest.mark.parametrize(
    "transform",
    [
        albumentations.Resize(8, 8),
        albumentations.CenterCrop(8, 8),
        albumentations.ToFloat(),
        albumentations.Crop(0, 0, 99, 99),
    ],
)
def test_another_size_or_type_is_refused(tmp_path, transform):
    augment = AlbumentationsFile(saved(tmp_path / "a.json", albumentations.Compose([transform])), seed=0)
    with pytest.raises(InputError, match="must"):
        augment(batch(), KEYS, 0)
