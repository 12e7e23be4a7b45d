import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.models.endpoint.retry_after import retry_after_seconds

REMAINING, RESET = "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"
NAMES = ["retry-after", "retry-after-ms", "date", REMAINING, RESET]


def limits(remaining, reset):
    return {
        REMAINING: str(remaining),
        RESET: reset,
        "x-ratelimit-remaining-requests": "9",
        "x-ratelimit-reset-requests": "1h",
    }


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "3600"}, 3600.0),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "x", "retry-after": "9"}, 9.0),
        (
            {
                "retry-after": "Tue, 03 Nov 2026 10:00:30 GMT",
                "date": "Tue, 03 Nov 2026 10:00:00 GMT",
            },
            30.0,
        ),
        (
            {
                "retry-after": "Tue, 03 Nov 2026 10:00:00 GMT",
                "date": "Tue, 03 Nov 2026 10:00:30 GMT",
            },
            None,
        ),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:37 GMT"}, None),
        ({"retry-after": "1e999"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({}, None),
        (limits(remaining=0, reset="6m0s"), 360.0),
        (limits(remaining=0, reset="1m2.5s"), 62.5),
        (limits(remaining=0, reset="20ms"), 0.02),
        (limits(remaining=0, reset="12"), 12.0),
        (limits(remaining=0, reset="soon"), None),
        (limits(remaining=0, reset=""), None),
        (limits(remaining=3, reset="6m0s"), None),
        ({"retry-after": "2", **limits(remaining=0, reset="6m0s")}, 2.0),
    ],
)
def test_retry_after_in_all_its_forms(headers, seconds):
    assert retry_after_seconds(headers) == seconds


@given(st.dictionaries(st.sampled_from(NAMES), st.text()))
def test_no_retry_after_raises_or_waits_for_nothing(headers):
    seconds = retry_after_seconds(headers)
    assert seconds is None or 0 < seconds < float("inf")
