"""Lists of images: which rows their lines name."""

import pytest

from pipeline.competition.tables.image_list import must_name_rows, rows_named
from pipeline.files import InputError

PATHS = ["a/1.png", "a/11.png", "b/1.png", "b/2.tar.png", "b/2.tar.png", "caf\u00e9.png"]


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("a/1.png", {0}),
        ("a/1", {0}),
        ("./a/1", {0}),
        ("11", {1}),
        ("2.tar", {3, 4}),  # two rows of one image, such as boxes
        ("cafe\u0301", {5}),
        ("1.png", None),  # of two folders
        ("1", None),
        ("2", None),
        ("x/a/1.png", None),
        ("/a/1.png", None),
        ("png", None),
        ("", None),
    ],
)
def test_a_line_names_an_image_by_the_end_of_its_path(name: str, rows: set[int] | None) -> None:
    assert rows_named([name], PATHS) == ((rows, []) if rows else (set(), [name]))


def test_lines_of_no_row_or_of_all_rows_are_refused() -> None:
    with pytest.raises(InputError, match=r"test\.txt must name the image of a row .* 2 lines do not \(1, z\); such"):
        must_name_rows("test.txt", ["1", "a/1", "z"], PATHS)
    with pytest.raises(InputError, match=r"some of the rows, and not all\. It names 2 of 2"):
        must_name_rows("test.txt", ["1", "11"], PATHS[:2])
    with pytest.raises(InputError, match="It names 0 of 2"):
        must_name_rows("test.txt", [], PATHS[:2])
    assert must_name_rows("test.txt", ["11"], PATHS[:2]) == {1}
