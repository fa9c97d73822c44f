"""Tables on the terminal."""

from pipeline.text_table import text_table


def test_columns_are_aligned_in_every_script() -> None:
    assert text_table(("run", "score", "said"), [["a", "0.5", "better"], ["\uac15\uc544\uc9c0", "10.25", "-1 x"]]) == [
        "run     score  said",
        "a         0.5  better",
        "\uac15\uc544\uc9c0  10.25  -1 x",
    ]


def test_a_row_is_one_line_whatever_its_words() -> None:
    assert text_table(("a", "b"), [["x\ny\x1b[0m", ""]]) == ["a            b", "x\\ny\\x1b[0m"]


def test_a_very_long_cell_pads_no_other_row() -> None:
    lines = text_table(("run", "score"), [["a", "1"], ["b" * 240, "2"]])
    assert lines[1] == "a" + " " * 45 + "1" and lines[2] == "b" * 240 + "      2"
