"""Tables that are not in UTF-8, beside words that are."""

from pathlib import Path

import pytest

from downloads import TEST, TRAIN, put, read
from making import write_table
from pipeline.detection.recognise import recognise
from pipeline.files import InputError

CHINESE = ("\u6b63\u5e38", "\u64e6\u82b1")  # normal, scratched
FRENCH = ("caf\u00e9", "th\u00e9")
RUSSIAN = ("\u043a\u043e\u0442", "\u043f\u0435\u0441")


def download(root: Path, names: tuple[str, str], encoding: str, answer: str) -> None:
    put(root, [f"train/{id_}.png" for id_ in TRAIN] + [f"test/{id_}.png" for id_ in TEST])
    write_table(root / "train.csv", ["id", "label"], [[id_, names[int(id_) % 2]] for id_ in TRAIN], encoding)
    write_table(root / "sample_submission.csv", ["id", "label"], [[id_, answer] for id_ in TEST])


@pytest.mark.parametrize(
    ("names", "encoding"), [(CHINESE, "gbk"), (CHINESE, "big5"), (FRENCH, "cp1252"), (RUSSIAN, "cp1251")]
)
def test_words_of_the_sample_tell(tmp_path: Path, names: tuple[str, str], encoding: str) -> None:
    if encoding == "big5":
        names = ("\u8c93", "\u72d7")
    download(tmp_path / "c", names, encoding, names[0])
    found, cfg, train, _ = read(tmp_path / "c", tmp_path)
    assert set(train.labels["label"]) == set(names) and cfg.data.encoding == encoding
    assert any(choice.said and choice.key == "data.encoding" for choice in found.choices)


def test_so_do_the_names_of_files(tmp_path: Path) -> None:
    root = tmp_path / "c"
    download(root, CHINESE, "gbk", "0")
    (root / f"{CHINESE[0]}.txt").touch()
    assert read(root, tmp_path)[1].data.encoding == "gbk"


def test_without_such_words_it_is_asked_for(tmp_path: Path) -> None:
    download(tmp_path / "c", CHINESE, "gbk", "0")
    with pytest.raises(InputError, match=r"data\.encoding names"):
        recognise(tmp_path / "c")


def test_what_the_user_says_stands(tmp_path: Path) -> None:
    download(tmp_path / "c", CHINESE, "gbk", CHINESE[0])
    found = recognise(tmp_path / "c", given={"data.encoding": "gb18030"})
    assert found.value("data.encoding") == "gb18030"


def test_korean_needs_no_setting(tmp_path: Path) -> None:
    names = ("\uac15\uc544\uc9c0", "\uace0\uc591\uc774")
    download(tmp_path / "c", names, "cp949", names[0])
    _, cfg, train, _ = read(tmp_path / "c", tmp_path)
    assert set(train.labels["label"]) == set(names)
    assert cfg.data.encoding in ("", "cp949")
