"""Which files are images, whatever they are called, and which are nobody's."""

from pathlib import Path

import pytest
from PIL import Image

from downloads import LABELS, TEST, TRAIN, plain, put, read
from making import write_table
from pipeline.detection.recognise import recognise, render


def tables(root: Path, ending: str) -> None:
    """Two tables that name files with an ending."""
    rows = [[f"{id_}{ending}", label] for id_, label in zip(TRAIN, LABELS, strict=True)]
    write_table(root / "train.csv", ["id", "label"], rows)
    write_table(root / "sample_submission.csv", ["id", "label"], [[f"t{id_}{ending}", "ant"] for id_ in TEST])


def test_files_in_another_case_than_in_the_table(tmp_path: Path) -> None:
    root = tmp_path / "c"
    tables(root, ".jpg")
    put(root, [f"Train/{id_}.{'JPG' if int(id_) % 3 else 'jpg'}" for id_ in TRAIN])
    put(root, [f"Test/T{id_}.JPG" for id_ in TEST])
    _, cfg, train, test = read(root, tmp_path)
    assert cfg.data.any_case and cfg.data.image == "Train/{id}" and cfg.data.test_image == "Test/{id}"
    assert train.paths[:2] == ["Train/000.jpg", "Train/001.JPG"] and test.paths[0] == "Test/T000.JPG"


def test_names_that_differ_in_case_alone_are_two_files(tmp_path: Path) -> None:
    root = tmp_path / "c"
    plain(root)
    put(root, ["train/A.png", "train/a.png"])
    _, cfg, *_ = read(root, tmp_path)
    assert not cfg.data.any_case


def test_what_gives_all_rows_their_image_wins_over_what_gives_nearly_all(tmp_path: Path) -> None:
    root = tmp_path / "c"
    ids = [f"{number:03d}" for number in range(40)]
    put(root, [f"train/{id_}.{'png' if id_ in ('007', '031') else 'jpg'}" for id_ in ids])
    put(root, [f"test/{id_}.jpg" for id_ in TEST])
    write_table(root / "train.csv", ["id", "label"], [[id_, "ab"[int(id_) % 2]] for id_ in ids])
    write_table(root / "sample_submission.csv", ["id", "label"], [[id_, "a"] for id_ in TEST])
    _, cfg, train, _ = read(root, tmp_path)
    assert cfg.data.image == "train/{id}.*" and train.paths[7] == "train/007.png"


@pytest.mark.parametrize("ending", [".jfif", ".jpe", ".pjpeg", ".tga", "", ".image"])
def test_an_image_is_known_by_its_ending_or_its_first_bytes(tmp_path: Path, ending: str) -> None:
    root = tmp_path / "c"
    for part, names in (("train", TRAIN), ("test", TEST)):
        for number, id_ in enumerate(names):
            folder = root / part / (("ant", "bee")[number % 2] if part == "train" else "")
            folder.mkdir(parents=True, exist_ok=True)
            end = ending if number % 5 == 0 else ".jpg"
            Image.new("RGB", (8, 8)).save(folder / f"{id_}{end}", "TGA" if end == ".tga" else "JPEG")
    (root / "LICENSE").write_text("as you like")
    (root / "train" / "weights.bin").write_bytes(b"\0" * 40)
    found, _, train, test = read(root, tmp_path)
    assert (len(train), len(test)) == (20, 8) and "28 of them images" in found.seen[0]


def test_hidden_and_system_files_are_passed_over_and_counted(tmp_path: Path) -> None:
    root = tmp_path / "c"
    put(root, [f"train/{label}/{id_}.png" for id_, label in zip(TRAIN, LABELS, strict=True)])
    put(root, [f"test/{id_}.png" for id_ in TEST])
    put(root, [f"train/.ipynb_checkpoints/{n}.png" for n in range(4)])
    put(root, [f"train/ant/@eaDir/{n}.png/SYNOPHOTO_THUMB_S.jpg" for n in range(9)] + ["__MACOSX/train/ant/000.png"])
    for name in ("train/ant/Thumbs.db", "train/bee/desktop.ini", ".DS_Store", "._train.csv", "test/.DS_Store"):
        (root / name).write_bytes(b"\0\0")
    found, cfg, train, test = read(root, tmp_path)
    assert cfg.data.train == "train/{label}/{file}" and set(train.labels["label"]) == {"ant", "bee", "cow", "dog"}
    assert (len(train), len(test)) == (20, 8)
    assert "Passed over: 19 hidden or system files." in found.seen and "\n# Passed over" in render(found)


def test_a_folder_below_a_hidden_one_is_read(tmp_path: Path) -> None:
    plain(tmp_path / ".cache" / "c")
    assert recognise(tmp_path / ".cache" / "c").value("data.train") == "train.csv"
