"""Time spans: as settings give them (1h30m), and as one says them."""

import re

_SPAN = re.compile(r"(?:([0-9]{1,5})h)?(?:([0-9]{1,5})m)?(?:([0-9]{1,6})s)?")


def seconds_of(span: str) -> int:
    """The seconds of a time span such as 90s, 15m, 2h or 1h30m.

    Raises:
        ValueError: it is none.
    """
    match = _SPAN.fullmatch(span)
    hours, minutes, seconds = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    if not hours + minutes + seconds:
        raise ValueError(f"a time must be hours, minutes, seconds, such as 90s, 15m, 2h or 1h30m. Got {span!r}")
    return 3600 * hours + 60 * minutes + seconds


def span_or_none(span: str) -> str:
    """A time span as it is; "" for none.

    Raises:
        ValueError: it is no time span.
    """
    if span:
        seconds_of(span)
    return span


def span_of(seconds: float) -> str:
    """A time span as a setting takes it, no shorter than these seconds and rounded up as one would: 95s, 12m, 1h30m."""
    whole = max(1, -int(-seconds // 1))
    if whole <= 120:
        return f"{whole}s"
    minutes = -(-whole // 60)
    hours, rest = divmod(minutes, 60)
    if minutes <= 120:
        return f"{minutes}m"
    return f"{hours}h{rest}m" if rest else f"{hours}h"


def in_words(seconds: float) -> str:
    """A time span as one says it."""
    if seconds < 120:
        return f"{max(1, round(seconds))} seconds"
    if seconds < 5400:
        return f"{seconds / 60:.{int(seconds < 600)}f} minutes"
    return f"{seconds / 3600:.1f} hours"
