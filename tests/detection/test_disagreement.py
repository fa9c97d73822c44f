"""Answers of the sample that are no labels: what is said or refused, and the file that tells which is which."""

import json
from pathlib import Path

import pytest

from downloads import NAMES, TEST, plain
from making import write_table
from pipeline.competition.answers.spelling import spellings
from pipeline.detection.recognise import recognise
from pipeline.files import InputError

NUMBERS = [str(number % 4) for number in range(20)]


def answer(root: Path, answers: list[object]) -> None:
    rows = [[id_, answers[number % len(answers)]] for number, id_ in enumerate(TEST)]
    write_table(root / "sample_submission.csv", ["id", "label"], rows)


@pytest.mark.parametrize(
    ("labels", "answers", "what"),
    [
        ([1, 2, 3, 4], [0, 1, 2, 3], "from 0 to 3, .* from 1 to 4; .* 1 is to be subtracted from each"),
        ([1, 2, 3, 4], [0, 1], "from 0 to 1, .* subtracted"),
        ([0, 1, 2, 3], [1, 4], "from 1 to 4, .* from 0 to 3; .* 1 is to be added to each"),
    ],
)
def test_labels_that_count_from_another_number_are_refused(
    tmp_path: Path, labels: list[int], answers: list[object], what: str
) -> None:
    plain(tmp_path, labels=[labels[number % 4] for number in range(20)])
    answer(tmp_path, answers)
    with pytest.raises(InputError, match=f"counted as the sample counts.* {what}.*--set data.labels=label"):
        recognise(tmp_path)
    assert recognise(tmp_path, given={"data.labels": ("label",)}).value("task.metric") == "accuracy"


@pytest.mark.parametrize("answers", [[1, 2], [0, 4], [3], ["1", "5"], [0, 2.5]])
def test_answers_that_do_not_show_another_count(tmp_path: Path, answers: list[object]) -> None:
    plain(tmp_path, labels=[1 + number % 4 for number in range(20)])
    answer(tmp_path, answers)
    assert recognise(tmp_path).value("data.labels") == ("label",)


def test_zero_in_every_row_where_labels_count_from_1_is_said(tmp_path: Path) -> None:
    plain(tmp_path, labels=[1 + number % 4 for number in range(20)])
    answer(tmp_path, [0])
    (said,) = recognise(tmp_path).said
    assert "'0' in every row" in said and said.endswith("counts from 0, subtract 1 from each in train.csv")
    answer(tmp_path, [1])
    assert recognise(tmp_path).said == ()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classes.txt", "0: dog\n1: bee\n2: cow\n3: ant\n"),
        ("classes.txt", "dog 0\nbee 1\ncow 2\nant 3\n"),
        ("docs/obj.names", "dog\nbee\ncow\nant\n"),
        ("classes.csv", "class_id,class_name\n0,dog\n1,bee\n2,cow\n3,ant\n"),
        ("label_map.json", json.dumps(dict(zip(["dog", "bee", "cow", "ant"], range(4), strict=True)))),
        ("names.json", json.dumps(dict(zip("0123", ["dog", "bee", "cow", "ant"], strict=True)))),
    ],
)
def test_the_file_that_names_the_labels_is_named(tmp_path: Path, name: str, text: str) -> None:
    plain(tmp_path, labels=NUMBERS)
    answer(tmp_path, ["cow"])
    (said,) = recognise(tmp_path).said
    assert "'cow' in the sample's column 'label' is none of the 4 labels ('0', '1', '2', '3'); the labels" in said
    assert said.endswith("written as train.csv has them: where others are wanted, write those in their place")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text, encoding="utf-8")
    (said,) = recognise(tmp_path).said
    assert said.endswith(f"{name} tells which is which: write the labels of train.csv as it says")
    (tmp_path / name).write_text(text.replace("cow", "cat"), encoding="utf-8")
    assert "tells" not in recognise(tmp_path).said[0]


def test_a_map_of_names_to_the_numbers_that_are_asked(tmp_path: Path) -> None:
    plain(tmp_path)
    answer(tmp_path, [0])
    (tmp_path / "label_map.json").write_text(json.dumps({name: 3 - at for at, name in enumerate(NAMES)}))
    (said,) = recognise(tmp_path).said
    assert "'0' in every row, the labels are names" in said and "label_map.json tells which is which" in said


@pytest.mark.parametrize("words", [("N", "Y"), ("False", "True"), ("f", "t")])
def test_words_that_stand_for_0_and_1_are_written_so_and_nothing_is_said(
    tmp_path: Path, words: tuple[str, str]
) -> None:
    plain(tmp_path, labels=[words[number % 2] for number in range(20)])
    answer(tmp_path, [0])
    assert recognise(tmp_path).said == ()
    assert spellings(words, {"0"}) == dict(zip(words, "01", strict=True))


@pytest.mark.parametrize(
    ("labels", "sample", "separator"),
    [
        (["red, dark", "green", "blue", "red, dark + green", "green + blue"], "green", " + "),
        (["red", "green", "blue", "red/green", "green/blue"], "green", "/"),
        (["red", "green", "blue", "red;green", "green;blue"], "green | red", ";"),
        ([f"{first}/{second}" for first in "abcd" for second in "wxyz"], "a/x", ""),  # names of two parts
    ],
)
def test_separators_of_tags(tmp_path: Path, labels: list[str], sample: str, separator: str) -> None:
    plain(tmp_path, labels=[labels[number % len(labels)] for number in range(20)])
    answer(tmp_path, [sample])
    found = recognise(tmp_path)
    assert (found.value("data.tag_separator") or "") == separator
    assert found.said == ()
