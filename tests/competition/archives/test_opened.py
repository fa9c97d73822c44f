"""A competition's folder with its archives open: where everything is shown, and that nothing is done twice."""

import os
import unicodedata
import zipfile
from pathlib import Path

import pytest

from pipeline.competition.archives.opened import open_folder
from pipeline.files import InputError, walk
from pipeline.paths import data_dir_of


def pack(path: Path, files: dict[str, bytes]) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path.read_bytes()


@pytest.fixture
def root(workplace: Path) -> Path:
    path = workplace / "input" / "c"
    path.mkdir()
    return path


def shown(root: Path) -> list[str]:
    return list(walk(open_folder(root, 1.0)))


def test_a_folder_without_archives_is_itself(root: Path, workplace: Path) -> None:
    (root / "train.csv").write_bytes(b"id\n")
    assert open_folder(root, 1.0) == root and not (workplace / "output" / "cache").exists()


def test_flat_and_foldered_archives_lie_where_unpacking_would_put_them(root: Path) -> None:
    (root / "train.csv").write_bytes(b"id\n")
    pack(root / "train.zip", {"1.jpg": b"1", "2.jpg": b"2"})
    pack(root / "test.zip", {"test/1.jpg": b"1", "test/deep/2.jpg": b"2"})
    pack(root / "labels.csv.zip", {"labels.csv": b"id\n"})
    expected = ["labels.csv", "test/1.jpg", "test/deep/2.jpg", "train.csv", "train/1.jpg", "train/2.jpg"]
    assert sorted(shown(root)) == expected
    assert sorted(os.listdir(root)) == ["labels.csv.zip", "test.zip", "train.csv", "train.zip"], "nothing is written"


def test_one_zip_with_everything_and_zips_in_it(root: Path, workplace: Path) -> None:
    inner = pack(workplace / "train.zip", {"1.jpg": b"1", "2.jpg": b"2"})
    labels = pack(workplace / "labels.zip", {"labels.csv": b"id\n"})
    outer = {"train.csv": b"id\n", "train.zip": inner, "more/labels.csv.zip": labels}
    pack(root / "competition.zip", outer)
    assert sorted(shown(root)) == ["more/labels.csv", "train.csv", "train/1.jpg", "train/2.jpg"]


def test_parts_of_one_folder_are_shown_together(root: Path) -> None:
    pack(root / "part1.zip", {"train/1.jpg": b"1"})
    pack(root / "part2.zip", {"train/2.jpg": b"2"})
    (root / "train").mkdir()
    (root / "train" / "3.jpg").write_bytes(b"3")
    assert sorted(shown(root)) == ["train/1.jpg", "train/2.jpg", "train/3.jpg"]


@pytest.mark.parametrize("place", ["train", "."])
def test_an_archive_that_the_user_has_unpacked_is_not_shown_twice(root: Path, place: str) -> None:
    files = {"1.jpg": b"1", "2.jpg": b"2"}
    pack(root / "train.zip", files)
    (root / place).mkdir(exist_ok=True)
    for name, content in files.items():
        (root / place / name).write_bytes(content)
    prefix = "" if place == "." else "train/"
    assert sorted(shown(root)) == [f"{prefix}1.jpg", f"{prefix}2.jpg"]


def test_archives_with_other_files_of_one_name_get_folders_of_their_own(root: Path) -> None:
    pack(root / "test.zip", {"images/1.jpg": b"test"})
    pack(root / "train.zip", {"images/1.jpg": b"train image"})
    assert sorted(shown(root)) == ["images/1.jpg", "train/images/1.jpg"]


def test_names_in_cp949_and_decomposed_unicode_are_shown_composed(root: Path) -> None:
    (root / unicodedata.normalize("NFD", "훈련")).mkdir()
    (root / unicodedata.normalize("NFD", "훈련") / unicodedata.normalize("NFD", "강아지.jpg")).write_bytes(b"1")
    with open(os.fsencode(root) + b"/" + "고양이.jpg".encode("cp949"), "wb") as stream:
        stream.write(b"2")
    assert sorted(shown(root)) == ["고양이.jpg", "훈련/강아지.jpg"]
    assert (open_folder(root, 1.0) / "고양이.jpg").read_bytes() == b"2"


def test_nothing_is_unpacked_twice_and_changes_are_seen(root: Path) -> None:
    pack(root / "train.zip", {"1.jpg": b"1"})
    opened = open_folder(root, 1.0)
    before = (opened / "train" if (opened / "train").exists() else opened / "1.jpg").resolve()
    inode = opened.stat().st_ino
    assert open_folder(root, 1.0) == opened == data_dir_of(root) and opened.stat().st_ino == inode
    (root / "new.csv").write_bytes(b"id\n")
    assert "new.csv" in shown(root)
    assert (opened / "train" if (opened / "train").exists() else opened / "1.jpg").resolve().parent == before.parent
    pack(root / "train.zip", {"1.jpg": b"another"})
    assert any((open_folder(root, 1.0) / path).read_bytes() == b"another" for path in shown(root))
    assert len(os.listdir(opened.parent / "archives")) == 1, "what is not needed any more is gone"
    (root / "train.zip").unlink()
    assert open_folder(root, 1.0) == root == data_dir_of(root) and not opened.exists()


def test_a_read_only_folder_serves(root: Path) -> None:
    pack(root / "train.zip", {"1.jpg": b"1"})
    root.chmod(0o555)
    assert len(shown(root)) == 1
    root.chmod(0o755)


def test_a_broken_archive_is_named(root: Path) -> None:
    (root / "train.zip").write_bytes(b"PK\3\4 half")
    with pytest.raises(InputError, match=r"input/c/train.zip must be a whole archive"):
        open_folder(root, 1.0)
    assert data_dir_of(root) == root


def test_a_limit_holds_for_all_archives_together(root: Path) -> None:
    for number in range(4):
        pack(root / f"{number}.zip", {f"{number}.bin": bytes(400_000)})
    with pytest.raises(InputError, match=r"data\.unpack_limit"):
        open_folder(root, 0.001)


def test_an_archive_in_itself_ends(root: Path, workplace: Path) -> None:
    data = b"x"
    for number in range(9):
        data = pack(workplace / f"{number}.zip", {f"{number}.zip" if number else "end.txt": data})
    (root / "all.zip").write_bytes(data)
    assert len(shown(root)) == 1
