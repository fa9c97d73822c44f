"""A row for each tag of an image."""

from pathlib import Path

import pytest

from downloads import TEST, TRAIN, put, read
from making import write_table
from pipeline.detection.recognise import recognise
from pipeline.files import InputError

NAMES = ["red", "green", "dark blue"]


def download(root: Path, names: list[str], header: tuple[str, ...] = ("id", "label"), more: bool = False) -> None:
    """Every fourth image has a second tag; one row is there twice."""
    put(root, [f"train/{id_}.png" for id_ in TRAIN] + [f"test/{id_}.png" for id_ in TEST])
    rows = [[f"{id_}.png", names[int(id_) % 3]] for id_ in TRAIN]
    rows += [[f"{id_}.png", names[(int(id_) + 1) % 3]] for id_ in TRAIN[::4]]
    rows.append(rows[0])
    write_table(root / "train.csv", list(header), [[*row, number] if more else row for number, row in enumerate(rows)])
    write_table(root / "sample_submission.csv", ["id", "label"], [[f"{id_}.png", "red"] for id_ in TEST])


@pytest.mark.parametrize(("names", "separator"), [(["red", "green", "blue"], " "), (NAMES, ",")])
def test_the_rows_of_an_image_are_its_tags(tmp_path: Path, names: list[str], separator: str) -> None:
    download(tmp_path / "c", names)
    found, cfg, train, test = read(tmp_path / "c", tmp_path)
    assert (cfg.data.tag_separator, cfg.data.labels) == (separator, ("label",))
    expected = {f"{id_}.png": {names[int(id_) % 3]} for id_ in TRAIN}
    for id_ in TRAIN[::4]:
        expected[f"{id_}.png"].add(names[(int(id_) + 1) % 3])
    cells = train.labels["label"].tolist()
    assert dict(zip(train.ids, (set(cell.split(separator)) for cell in cells), strict=True)) == expected
    assert train.paths == [f"train/{id_}.png" for id_ in TRAIN] and test.paths == [f"test/{id_}.png" for id_ in TEST]
    assert any(choice.said and choice.key == "data.tag_separator" for choice in found.choices)


def test_rows_that_differ_in_more_than_the_tag_are_no_tags(tmp_path: Path) -> None:
    download(tmp_path / "c", NAMES, ("id", "label", "annotation"), more=True)
    with pytest.raises(InputError, match=r"5 ids appear more than once .*; leave one row of each image there"):
        recognise(tmp_path / "c")


@pytest.mark.parametrize(("num_people", "joined"), [(2, False), (3, False), (1, True)])
def test_rows_of_people_of_whom_most_agree_are_no_tags(tmp_path: Path, num_people: int, joined: bool) -> None:
    root = tmp_path / "c"
    download(root, NAMES)
    rows = [[f"{id_}.png", NAMES[int(id_) % 2]] for id_ in TRAIN for _ in range(num_people)]
    rows += [[f"{id_}.png", NAMES[2 if int(id_) % 5 == 0 else int(id_) % 2]] for id_ in TRAIN]
    write_table(root / "train.csv", ["id", "label"], rows)
    if joined:
        rows = [row for place, row in enumerate(rows) if row not in rows[:place]]
        write_table(root / "train.csv", ["id", "label"], rows)
        assert recognise(root).value("data.tag_separator") == ","
        return
    with pytest.raises(InputError, match=r"20 ids appear more than once .* one with the label that most of them gave"):
        recognise(root)
    assert recognise(root, given={"data.tag_separator": "|"}).value("task.metric") == "micro_f1"


def test_the_user_can_say_that_rows_are_not_joined(tmp_path: Path) -> None:
    download(tmp_path / "c", NAMES)
    with pytest.raises(InputError, match="ids appear more than once"):
        recognise(tmp_path / "c", given={"data.tag_separator": ""})
