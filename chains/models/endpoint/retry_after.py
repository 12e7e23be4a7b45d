"""How long a server asks to wait, in all the forms in which servers say it."""

import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)", re.ASCII)


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Return how long the server asks to wait; None where it says nothing usable.

    Understood: milliseconds (`retry-after-ms`), seconds, an HTTP date (against the server's own
    clock where it sends one), and, without these, `x-ratelimit-reset-*` of what is used up. Not
    usable: zero, negative, NaN, infinite, a date gone by, garbage.
    """
    said = headers.get("retry-after", "")
    readings = (
        (headers.get("retry-after-ms", ""), lambda text: float(text) / 1000),
        (said, float),
        (said, lambda text: _timestamp(text) - _timestamp(headers["date"])),
        (said, lambda text: _timestamp(text) - time.time()),
        ("reset", lambda text: _reset(headers)),
    )
    for text, read in readings:
        try:
            seconds = read(text)
        except (ValueError, KeyError, OverflowError):
            continue
        return seconds if math.isfinite(seconds) and seconds > 0 else None
    return None


def _timestamp(http_date: str) -> float:
    return parsedate_to_datetime(http_date).timestamp()


def _reset(headers: Mapping[str, str]) -> float:
    """Return the seconds until what is used up is there again; what is left resets by itself."""
    return max(
        _duration(headers[f"x-ratelimit-reset-{what}"])
        for what in ("requests", "tokens")
        if headers.get(f"x-ratelimit-remaining-{what}") == "0"
    )


def _duration(text: str) -> float:
    """Return the seconds in a text such as `6m0s`, `20ms` or `12`."""
    if _PART.sub("", text):
        return float(text)
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
