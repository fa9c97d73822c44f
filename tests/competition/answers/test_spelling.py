"""Labels as the sample writes them, whatever the train table's way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.competition.answers.spelling import as_number, classes_of, same, spellings


@pytest.mark.parametrize(
    ("classes", "answers", "written"),
    [
        (["0.0", "1.0", "10.0"], ["0"], ["0", "1", "10"]),
        (["0.0", "1.0", "2.5"], ["1"], ["0", "1", "2.5"]),
        (["1", "2", "10"], ["01"], ["01", "02", "10"]),
        (["1.0", "20.0"], ["001"], ["001", "020"]),
        (["0", "1"], ["0.0"], ["0.0", "1.0"]),
        (["False", "True"], ["0"], ["0", "1"]),
        (["0", "1"], ["False"], ["False", "True"]),
        (["0", "1"], ["true", "false"], ["false", "true"]),
        ([" cat", "dog "], ["cat"], ["cat", "dog"]),
        (["cat", "dog"], ["Cat", "Dog"], ["Cat", "Dog"]),
        (["CAT", "DOG"], ["cat"], ["cat", "dog"]),
        (["sea lion", "cat"], ["Sea Lion"], ["Sea Lion", "Cat"]),
        (["cafe\u0301"], ["caf\u00e9"], ["caf\u00e9"]),
        (["great_dane", "shih_tzu"], ["great dane"], ["great dane", "shih tzu"]),
        (["great_dane", "shih_tzu"], ["Great Dane"], ["Great Dane", "Shih Tzu"]),
        (["Great Dane", "pug"], ["great-dane"], ["great-dane", "pug"]),
        (["Class 1", "Class 2"], ["class_2"], ["class_1", "class_2"]),
        (["a_b-c", "d_e-f"], ["a b c"], ["a b c", "d e f"]),
        (["a_b", "d_e-f"], ["a b"], ["a b", "d e-f"]),  # a hyphen may be a part of the name
        (["0", "1"], ["no"], ["no", "yes"]),
        (["0", "1"], ["YES"], ["NO", "YES"]),
        (["False", "True"], ["No"], ["No", "Yes"]),
        (["0", "1"], ["y"], ["n", "y"]),
        (["no", "yes"], ["T", "F"], ["F", "T"]),
        (["n", "y"], ["1"], ["0", "1"]),
    ],
)
def test_the_samples_spelling(classes: list[str], answers: list[str], written: list[str]) -> None:
    found = spellings(classes, answers)
    assert [found[name] for name in classes] == written


@pytest.mark.parametrize(
    ("classes", "answers"),
    [
        (["cat", "dog"], ["cat"]),
        (["1", "2"], []),
        (["1", "2"], ["unknown"]),
        (["Cat", "cat"], ["Cat", "cat"]),  # two classes
        (["1", "01"], ["1", "01"]),
        (list("ABCabc"), ["A"]),
        (["1", "01", "2"], ["1"]),
        (["1", "True", "2"], ["1"]),
        (["0.10", "0.1x"], ["0.10"]),
        (["a_b", "a-b", "c_d"], ["a_b"]),
        (["n", "t", "0"], ["n", "0"]),  # letters
        (["-", "+"], ["-"]),
    ],
)
def test_what_is_written_alike_stays(classes: list[str], answers: list[str]) -> None:
    assert spellings(classes, answers) == {}


@pytest.mark.parametrize(
    ("classes", "answers", "reason"),
    [
        (["a", "sea lion"], ["A"], "leave open whether 'sea lion' is written SEA LION or Sea Lion or Sea lion"),
        (["cat", "dog"], ["cAt"], "do not show how 'dog' is written"),
        (["1", "2"], ["1.0", "01"], "'1.0' and '01' stand for one label"),
        (["1", "01", "2"], ["2.0"], "'1' and '01' would both be written '1.0'"),
        (["0", "1", "2"], ["False"], "do not show how '1' is written"),
    ],
)
def test_what_is_not_clear_is_not_guessed(classes: list[str], answers: list[str], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        spellings(classes, answers)


def test_labels_that_are_the_same() -> None:
    assert len({same(text) for text in ("1", "01", "1.0", " 1 ", "1e0", "+1", "True", "true")}) == 1
    assert len({same(text) for text in ("1", "11", "-1", "0.1", "one", "1a", "10")}) == 7
    assert len({same(text) for text in ("a b", "A_b", " a-B", "a - b")}) == 1
    assert len({same(text) for text in ("ab", "a b", "-", "_", "f", "0", "n")}) == 7
    long = "1234567890123456789012345678901"
    assert same(long) != same(long[:-1] + "2") and same("-0") == same("0")


@pytest.mark.parametrize("text", ["", "nan", "inf", "1_0", "0x1", "1,5", "1e9999", ".", "--1"])
def test_no_number(text: str) -> None:
    assert as_number(text) is None


@given(st.lists(st.sampled_from(["1", "01", "1.0", "2", "True", "cat", "Cat", " cat", "dog"]), unique=True), st.data())
def test_no_two_classes_are_written_alike(classes: list[str], data: st.DataObject) -> None:
    answers = data.draw(st.sets(st.sampled_from(["1", "01", "2.0", "true", "CAT", "cat", "Dog", "x"])))
    try:
        found = spellings(classes, answers)
    except ValueError:
        return
    written = [found.get(name, name) for name in classes]
    assert len(set(written)) == len(classes)
    assert all(same(name) == same(way) for name, way in zip(classes, written, strict=True))


@pytest.mark.parametrize(
    ("columns", "classes", "first"),
    [
        (["b", "a"], ["a", "b"], {"b": "b"}),
        (["class_0", "class_1", "class_2"], ["0", "1", "2"], {"class_0": "0"}),
        (["P(cat)", "P(dog)"], ["dog", "cat"], {"P(cat)": "cat"}),
        (["Cat_prob", "Dog_prob"], ["cat", "dog"], {"Cat_prob": "cat"}),
        (["target_001", "target_010"], ["1", "10"], {"target_001": "1"}),
        (["c1", "c11"], ["1", "11"], {"c1": "1"}),
        (["1", "0"], ["0.0", "1.0"], {"1": "1.0"}),
        (["aa", "aaa"], ["a", "aa"], None),  # a before, or behind: the same classes all the same
    ],
)
def test_columns_of_classes(columns: list[str], classes: list[str], first: dict[str, str] | None) -> None:
    found = classes_of(columns, classes)
    assert found is not None and set(found) == set(columns) and sorted(found.values()) == sorted(classes)
    for column, name in (first or {"aa": "a"}).items():
        assert found[column] == name


@pytest.mark.parametrize(
    ("columns", "classes"),
    [
        (["class_0", "class_1"], ["0", "1", "2"]),
        (["class_0", "kind_1"], ["0", "1"]),
        (["x", "y"], ["cat", "dog"]),
        (["1ab2", "2ab1"], ["1", "2"]),  # the first number, or the second
        (["p_A", "p_a"], ["a", "A"]),
    ],
)
def test_columns_that_may_be_of_several_classes_or_none(columns: list[str], classes: list[str]) -> None:
    assert classes_of(columns, classes) is None
