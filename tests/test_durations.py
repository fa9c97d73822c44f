"""Time spans in settings and in words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import ConfigError
from pipeline.config_file import check
from pipeline.durations import in_words, seconds_of, span_of


@pytest.mark.parametrize(
    ("span", "seconds"), [("90s", 90), ("15m", 900), ("2h", 7200), ("1h30m", 5400), ("1h1m1s", 3661), ("0h5m", 300)]
)
def test_seconds_of(span: str, seconds: int) -> None:
    assert seconds_of(span) == seconds


@pytest.mark.parametrize("wrong", ["30", "0s", "0h0m", "1m1h", "1.5h", "-1m", "1 h", "half an hour", "\u0661m", "m"])
def test_what_is_no_time_is_one_sentence(wrong: str) -> None:
    with pytest.raises(ConfigError) as error:
        check({"train": {"time_limit": wrong}})
    assert str(error.value) == (
        "settings: [train.time_limit] a time must be hours, minutes, seconds, such as 90s, 15m, 2h or 1h30m. "
        f"Got {wrong!r}"
    )


@given(st.floats(0.0, 1e6))
def test_a_span_is_a_setting_of_no_less_and_little_more(seconds: float) -> None:
    assert seconds <= seconds_of(span_of(seconds)) < seconds + 61


@pytest.mark.parametrize(("seconds", "span"), [(0, "1s"), (94.2, "95s"), (721, "13m"), (7200, "120m"), (9000, "2h30m")])
def test_span_of(seconds: float, span: str) -> None:
    assert span_of(seconds) == span


@pytest.mark.parametrize(
    ("seconds", "words"), [(119, "119 seconds"), (165, "2.8 minutes"), (600, "10 minutes"), (9000, "2.5 hours")]
)
def test_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
