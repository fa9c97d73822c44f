"""Practice competitions: every kind of source gives the same layout, whole or not at all."""

import contextlib
import csv
import gzip
import hashlib
import pickle
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from PIL import Image

from pipeline.config import ConfigError
from pipeline.files import InputError
from pipeline.practice import main, practice

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def table(path: Path) -> list[list[str]]:
    assert b"\r" not in path.read_bytes()
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream))


def labels(path: Path) -> dict[str, str]:
    header, *rows = table(path)
    assert header == ["id", "label"]
    assert len({id_ for id_, _ in rows}) == len(rows)
    return dict((id_, label) for id_, label in rows)


def check_layout(root: Path, suffix: str = ".png") -> tuple[dict[str, str], dict[str, str]]:
    """Assert what every practice competition keeps; labels of train and test images by id."""
    train, answers = labels(root / "train.csv"), labels(root / "answers.csv")
    sample = labels(root / "sample_submission.csv")
    assert list(sample) == list(answers)
    assert set(sample.values()) == {min(train.values())}
    assert set(answers.values()) <= set(train.values())
    for part, ids in (("train", train), ("test", answers)):
        assert sorted(path.name for path in (root / part).iterdir()) == sorted(f"{id_}{suffix}" for id_ in ids)
    assert sorted(path.name for path in root.iterdir()) == [
        "answers.csv",
        "sample_submission.csv",
        "test",
        "train",
        "train.csv",
    ]
    assert not [path for path in root.parent.iterdir() if "making" in path.name]
    return train, answers


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image)


def write_idx(path: Path, values: np.ndarray, packed: bool) -> None:
    """Write an idx file as MNIST's page describes: magic number, sizes big-endian, then the bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = struct.pack(f">I{values.ndim}I", 0x0800 + values.ndim, *values.shape) + values.astype(np.uint8).tobytes()
    if packed:
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(data))
    else:
        path.write_bytes(data)


def make_raw(folder: Path, packed: bool, infix: str = "-idx") -> dict[str, tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    made = {}
    for part, prefix, num in (("train", "train", 20), ("test", "t10k", 10)):
        images, targets = rng.integers(0, 256, (num, 28, 28)), np.arange(num) % 10
        write_idx(folder / f"{prefix}-images{infix}3-ubyte", images, packed)
        write_idx(folder / f"{prefix}-labels{infix}1-ubyte", targets, packed)
        made[part] = (images, targets)
    return made


def make_cifar(root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """CIFAR-10's files with few images, and torchvision made to expect their checksums."""
    from torchvision.datasets import CIFAR10

    folder, rng = root / "cifar-10-batches-py", np.random.default_rng(0)
    folder.mkdir(parents=True)

    def write(name: str, value: object) -> str:
        data = pickle.dumps(value)
        (folder / name).write_bytes(data)
        return hashlib.md5(data).hexdigest()

    made = {}
    for part, names in (("train", ["data_batch_1", "data_batch_2"]), ("test", ["test_batch"])):
        images, targets = rng.integers(0, 256, (10 * len(names), 32, 32, 3), np.uint8), np.arange(10 * len(names)) % 10
        listed = []
        for number, name in enumerate(names):
            rows = slice(10 * number, 10 * number + 10)
            data = images[rows].transpose(0, 3, 1, 2).reshape(10, 3072)
            listed.append([name, write(name, {"data": data, "labels": targets[rows].tolist()})])
        monkeypatch.setattr(CIFAR10, f"{part}_list", listed)
        made[part] = (images, targets)
    meta = {"filename": "batches.meta", "key": "label_names", "md5": write("batches.meta", {"label_names": CLASSES})}
    monkeypatch.setattr(CIFAR10, "meta", meta)
    return made


def make_competition(root: Path, suffix: str = ".jpg", num: int = 10) -> None:
    for part, name in (("train", "train.csv"), ("test", "answers.csv")):
        (root / part).mkdir(parents=True)
        rows = [f"{part[:2]}{number:03d},{CLASSES[number % 10]}" for number in range(num)]
        (root / name).write_text("\n".join(["id,label", *rows]) + "\n", encoding="utf-8")
        for row in rows:
            (root / part / f"{row.split(',')[0]}{suffix}").write_bytes(f"no image, {row}".encode())


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_digits_are_all_there_stratified_and_always_the_same(workplace: Path) -> None:
    from sklearn.datasets import load_digits

    practice("digits", None, Path("input/digits"))
    train, answers = check_layout(Path("input/digits"))
    assert (len(train), len(answers)) == (1297, 500)
    assert list(train)[:2] == ["00000", "00001"]
    of_train, of_test = Counter(train.values()), Counter(answers.values())
    for digit, count in Counter(load_digits().target.tolist()).items():
        assert of_train[str(digit)] + of_test[str(digit)] == count
        assert abs(of_test[str(digit)] - count * 500 / 1797) <= 1
    made = [pixels(path) for part in ("train", "test") for path in sorted(Path("input/digits", part).iterdir())]
    wanted = np.rint(load_digits().images * 255 / 16)
    assert Counter(image.tobytes() for image in made) == Counter(image.astype(np.uint8).tobytes() for image in wanted)
    assert made[0].shape == (8, 8)
    assert max(image.max() for image in made) == 255
    practice("digits", None, Path("input/again"))
    assert tree(Path("input/again")) == tree(Path("input/digits"))


@pytest.mark.parametrize(
    ("name", "folder", "packed", "infix"),
    [
        ("mnist", "MNIST/raw", False, "-idx"),
        ("mnist", "", True, "-idx"),
        ("mnist", "raw", False, ".idx"),
        ("fashion-mnist", "FashionMNIST/raw", True, "-idx"),
    ],
)
def test_torchvisions_raw_files(workplace: Path, name: str, folder: str, packed: bool, infix: str) -> None:
    source = workplace / "source"
    made = make_raw(source / folder, packed, infix)
    before = tree(source)
    practice(name, source, Path("input/made"))
    assert tree(source) == before
    for part, found in zip(("train", "test"), check_layout(Path("input/made")), strict=True):
        images, targets = made[part]
        assert list(found) == [f"{number:05d}" for number in range(len(images))]
        for number, id_ in enumerate(found):
            assert (pixels(Path("input/made", part, f"{id_}.png")) == images[number]).all()
        if name == "mnist":
            assert list(found.values()) == [str(target) for target in targets]
        else:
            assert list(found.values())[:2] == ["T-shirt/top", "Trouser"]


@pytest.mark.parametrize("inner", [False, True])
def test_cifars_batches_whole_and_two_classes(workplace: Path, monkeypatch: pytest.MonkeyPatch, inner: bool) -> None:
    made = make_cifar(workplace / "source", monkeypatch)
    source = workplace / "source" / ("cifar-10-batches-py" if inner else "")
    practice("cifar10", source, Path("input/cifar10"))
    practice("cifar2", source, Path("input/cifar2"))
    whole, two = check_layout(Path("input/cifar10")), check_layout(Path("input/cifar2"))
    for part, found, some in zip(("train", "test"), whole, two, strict=True):
        images, targets = made[part]
        assert list(found.values()) == [CLASSES[target] for target in targets]
        for number, id_ in enumerate(found):
            assert (pixels(Path("input/cifar10", part, f"{id_}.png")) == images[number]).all()
        assert some == {id_: label for id_, label in found.items() if label in ("airplane", "bird")}
        for id_ in some:
            name = f"{part}/{id_}.png"
            assert Path("input/cifar2", name).read_bytes() == Path("input/cifar10", name).read_bytes()


def test_a_changed_pickle_is_never_opened(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_cifar(workplace / "source", monkeypatch)

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.mkdir, (Path("opened"),)  # type: ignore[return-value]

    for name in ("data_batch_2", "batches.meta"):
        (workplace / "source" / "cifar-10-batches-py" / name).write_bytes(pickle.dumps(Evil()))
    with pytest.raises(InputError, match="must hold the files of cifar10"):
        practice("cifar10", workplace / "source", Path("input/cifar10"))
    assert not Path("opened").exists()
    assert not Path("input/cifar10").exists()


def test_a_competition_is_copied_as_it_is(workplace: Path) -> None:
    source = workplace / "source"
    make_competition(source)
    practice("cifar10", source, Path("input/cifar10"))
    check_layout(Path("input/cifar10"), ".jpg")
    copied = tree(Path("input/cifar10"))
    assert copied.pop("sample_submission.csv").startswith(b"id,label\nte000,airplane\nte001,airplane\n")
    assert copied == tree(source)
    practice("cifar2", source, Path("input/cifar2"))
    train, answers = check_layout(Path("input/cifar2"), ".jpg")
    assert train == {"tr000": "airplane", "tr002": "bird"}
    assert answers == {"te000": "airplane", "te002": "bird"}


def test_class_folders(workplace: Path) -> None:
    rng, made = np.random.default_rng(0), {}
    for part, num in (("train", 4), ("test", 3)):
        for label in ("ant", "bee"):
            for number in range(num):
                image = Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8))
                path = workplace / "source" / part / label / f"{number}{'.png' if number else '.bmp'}"
                path.parent.mkdir(parents=True, exist_ok=True)
                image.save(path)
                made[image.tobytes()] = (part, label)
    practice("mnist", workplace / "source", Path("input/made"))
    parts = dict(zip(("train", "test"), check_layout(Path("input/made")), strict=True))
    found = {
        pixels(Path("input/made", part, f"{id_}.png")).tobytes(): (part, label)
        for part, ids in parts.items()
        for id_, label in ids.items()
    }
    assert found == made
    # The ids do not give the answers away.
    assert list(parts["train"].values()) != sorted(parts["train"].values())


def test_an_image_turned_by_its_file_stays_upright(workplace: Path) -> None:
    for part in ("train", "test"):
        path = workplace / "source" / part / "ant" / "turned.jpg"
        path.parent.mkdir(parents=True)
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new("RGB", (8, 4)).save(path, exif=exif)
    practice("mnist", workplace / "source", Path("input/made"))
    assert pixels(Path("input/made/train/00000.png")).shape == (8, 4, 3)


def test_what_is_there_is_left_alone(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_competition(workplace / "source")
    arguments = ["cifar10", "--source", str(workplace / "source")]
    assert main(arguments) == 0
    assert capsys.readouterr().out == "input/cifar10: 10 train and 10 test images\n"
    (workplace / "input" / "cifar10" / "train" / "tr000.jpg").write_bytes(b"mine")
    before = tree(workplace / "input" / "cifar10")
    assert main(arguments) == 0
    assert capsys.readouterr().out == "input/cifar10 is there\n"
    assert tree(workplace / "input" / "cifar10") == before


def test_half_made_is_made_again_and_a_failure_leaves_nothing(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_competition(workplace / "source")

    def interrupted(stream: object, **options: object) -> None:
        raise KeyboardInterrupt

    leftover = workplace / "input" / ".cifar10.making" / "made" / "train"
    leftover.mkdir(parents=True)
    (leftover / "old.jpg").write_bytes(b"old")
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.practice.csv.writer", interrupted)
        with pytest.raises(KeyboardInterrupt):
            practice("cifar10", workplace / "source", Path("input/cifar10"))
    assert [path.name for path in Path("input").iterdir()] == [".cifar10.lock"]
    leftover.mkdir(parents=True)
    (leftover / "old.jpg").write_bytes(b"old")
    # An empty folder is no competition.
    Path("input/cifar10").mkdir()
    practice("cifar10", workplace / "source", Path("input/cifar10"))
    check_layout(Path("input/cifar10"), ".jpg")


def test_a_folder_of_the_users_is_never_replaced(workplace: Path) -> None:
    make_competition(workplace / "source")
    Path("input/cifar10").mkdir()
    Path("input/cifar10/notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match=r"input/cifar10 must be a practice competition. It lacks train.csv"):
        practice("cifar10", workplace / "source", Path("input/cifar10"))
    assert tree(Path("input/cifar10")) == {"notes.txt": b"mine"}


# What is wrong with a competition: a file of it, and what stands there; None where it is not there.
DAMAGE = {
    "no answers": ("answers.csv", None),
    "no image": ("train/tr003.jpg", None),
    "two images": ("train/tr003.png", b""),
    "other columns": ("train.csv", b"name,label\ntr000,bird\n"),
    "same id": ("train.csv", b"id,label\ntr000,bird\ntr000,bird\n"),
    "short row": ("train.csv", b"id,label\ntr000\n"),
    "other coding": ("train.csv", "id,label\ntr000,v\xf6gel\n".encode("latin-1")),
    "climbs out": ("train.csv", b"id,label\n../train/tr000,bird\n"),
    "unknown class": ("answers.csv", b"id,label\nte000,yak\n"),
    "no test": ("answers.csv", b"id,label\n"),
}


def damage(source: Path, what: str) -> None:
    name, content = DAMAGE[what]
    if content is None:
        (source / name).unlink()
    else:
        (source / name).write_bytes(content)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("no answers", "lacks answers.csv"),
        ("no image", "must hold one image of id 'tr003'. Got none"),
        ("two images", "must hold one image of id 'tr003'. Got tr003.jpg, tr003.png"),
        ("other columns", "must have the columns id and label"),
        ("same id", "line 3: a row must have an id of its own"),
        ("short row", "line 2: a row must have"),
        ("other coding", "must be a csv file in UTF-8"),
        ("climbs out", "must hold one image of id '../train/tr000'"),
        ("unknown class", "must have classes of the train images. Got yak"),
        ("no test", "Got no test images"),
    ],
)
def test_a_damaged_competition_is_one_line(
    workplace: Path, capsys: pytest.CaptureFixture[str], what: str, message: str
) -> None:
    make_competition(workplace / "source")
    damage(workplace / "source", what)
    assert main(["cifar10", "--source", str(workplace / "source")]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert not Path("input/cifar10").exists()


def test_two_classes_must_be_there(workplace: Path) -> None:
    make_competition(workplace / "source", num=2)
    with pytest.raises(InputError, match=r"airplane and bird\. Got airplane"):
        practice("cifar2", workplace / "source", Path("input/cifar2"))


@pytest.mark.parametrize("cut", [3, 60])
@pytest.mark.parametrize("packed", [False, True])
def test_damaged_raw_files_are_an_error(workplace: Path, cut: int, packed: bool) -> None:
    make_raw(workplace / "source", packed)
    path = workplace / "source" / f"t10k-images-idx3-ubyte{'.gz' if packed else ''}"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InputError, match=r"Fetch (it|them) again"):
        practice("mnist", workplace / "source", Path("input/mnist"))


def test_an_unreadable_image_is_named(workplace: Path) -> None:
    for part in ("train", "test"):
        (workplace / "source" / part / "ant").mkdir(parents=True)
        (workplace / "source" / part / "ant" / "x.jpg").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"ant/x\.jpg must be an image"):
        practice("mnist", workplace / "source", Path("input/mnist"))


@pytest.mark.parametrize("source", ["missing", "."])
def test_a_source_of_no_known_kind_is_an_error(workplace: Path, source: str) -> None:
    with pytest.raises(InputError, match=r"--source must"):
        practice("cifar10", Path(source), Path("input/cifar10"))


def test_a_failed_download_says_what_to_do(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import CIFAR10

    def fail(self: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(CIFAR10, "download", fail)
    with pytest.raises(InputError, match=r"no network.*--source PATH"):
        practice("cifar10", None, Path("input/cifar10"))
    assert not Path("input/cifar10").exists()


def test_a_download_is_made_beside_and_not_kept(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import CIFAR10

    def fetch(self: CIFAR10) -> None:
        assert Path(self.root).resolve().is_relative_to(workplace / "input")
        if self.train:
            make_cifar(Path(self.root), monkeypatch)

    monkeypatch.setattr(CIFAR10, "download", fetch)
    practice("cifar10", None, Path("input/cifar10"))
    check_layout(Path("input/cifar10"))


def test_what_another_process_has_made_meanwhile_is_left_alone(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_competition(workplace / "source")
    make_competition(workplace / "theirs")
    (workplace / "theirs" / "sample_submission.csv").write_text("theirs", encoding="utf-8")

    @contextlib.contextmanager
    def got_late(path: Path, what: str, products: tuple[str, ...]) -> Iterator[None]:
        assert path.parent == Path("input") and what == "input/cifar10" and not products
        (workplace / "theirs").rename(workplace / "input" / "cifar10")
        yield

    monkeypatch.setattr("pipeline.practice.lock", got_late)
    practice("cifar10", workplace / "source", Path("input/cifar10"))
    assert Path("input/cifar10/sample_submission.csv").read_text(encoding="utf-8") == "theirs"


def test_digits_take_no_source(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="--source must be left out"):
        practice("digits", Path("."), Path("input/digits"))
    assert main(["digits", "--source", "."]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("arguments", [[], ["cifar100"], ["digits", "more"], ["digits", "--config", "x"]])
def test_usage_errors_are_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert len(capsys.readouterr().err.splitlines()) == 1
