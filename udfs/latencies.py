"""How long calls took, as counts by bucket: those of tasks, passes and runs add up."""

import math
from collections.abc import Mapping

_PER_DECADE = 10
_BUCKETS = 7 * _PER_DECADE  # up to ten million milliseconds, some three hours

Latencies = Mapping[int, int]
"""Calls by bucket. A bucket ends a quarter above where it begins; the first begins at 1 ms."""


def bucket_of(milliseconds: float) -> int:
    """Return the bucket of a call's time; shorter and longer ones fall into the first and last."""
    within = min(max(milliseconds, 1.0), begin_of(_BUCKETS - 1))
    return min(math.floor(_PER_DECADE * math.log10(within)), _BUCKETS - 1)


def begin_of(bucket: float) -> float:
    """Return the milliseconds at which a bucket begins; also at a part of it, as 3.5."""
    return float(10 ** (bucket / _PER_DECADE))


def quantile(latencies: Latencies, share: float) -> float:
    """Return the milliseconds that `share` of the calls, above 0 and at most 1, did not exceed.

    Within a bucket calls are taken as spread evenly, so it is right to about a tenth. NaN where
    there are no calls.
    """
    before, wanted = 0, share * sum(latencies.values())
    for bucket, calls in sorted(latencies.items()):
        if before + calls >= wanted and calls:
            return begin_of(bucket + (wanted - before) / calls)
        before += calls
    return math.nan
