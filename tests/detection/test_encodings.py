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


CAT, DOG = (
    "\u732b",
    "\u72d7",
)  # in GBK each is a syllable of Korean too, and the cat's bytes an e with an accent in UTF-8


@pytest.mark.parametrize("answer", [CAT, DOG])
def test_letters_that_stand_alone_are_no_korean(tmp_path: Path, answer: str) -> None:
    root = tmp_path / "c"
    download(root, (CAT, DOG), "gbk", "0")
    write_table(root / "sample_submission.csv", ["id", "label"], [[id_, answer] for id_ in TEST], "gbk")
    with pytest.raises(InputError, match=r"' in gbk.* set data\.encoding"):
        recognise(root)
    found = recognise(root, given={"data.encoding": "gbk"})
    assert found.said == ()  # the sample's answer is one of the labels


@pytest.mark.parametrize(
    ("header", "names"),
    [
        (("id", "label"), ("\uac15\uc544\uc9c0", "\uace0\uc591\uc774")),  # puppy, cat
        (("id", "\uc885\ub958"), ("\uac1c", "\uc18c")),  # kind: dog, cow
    ],
)
def test_korean_needs_no_setting_and_is_said(tmp_path: Path, header: tuple[str, str], names: tuple[str, str]) -> None:
    root = tmp_path / "c"
    download(root, names, "cp949", "0")
    write_table(root / "train.csv", list(header), [[id_, names[int(id_) % 2]] for id_ in TRAIN], "cp949")
    # The sample has no Korean word but one of one syllable.
    write_table(root / "sample_submission.csv", ["id", "label"], [[id_, names[0]] for id_ in TEST], "cp949")
    found, cfg, train, _ = read(root, tmp_path)
    assert set(train.labels.iloc[:, 0]) == set(names) and cfg.data.encoding == "cp949"
    (choice,) = (choice for choice in found.choices if choice.said)
    assert choice.key == "data.encoding" and choice.reason.endswith("so: --set data.encoding=NAME")
