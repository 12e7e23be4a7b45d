import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udfs.latencies import begin_of, bucket_of, quantile

milliseconds = st.floats(1, 1e6)


@given(milliseconds)
def test_a_call_lies_in_its_bucket(ms):
    bucket = bucket_of(ms)
    assert begin_of(bucket) <= ms * (1 + 1e-9)
    assert ms <= begin_of(bucket + 1) * (1 + 1e-9)


@pytest.mark.parametrize(("ms", "bucket"), [(0.0, 0), (0.3, 0), (1e12, 69), (math.inf, 69)])
def test_what_no_bucket_holds_falls_into_the_outer_ones(ms, bucket):
    assert bucket_of(ms) == bucket


@given(st.lists(milliseconds, min_size=1), st.floats(0.01, 1))
def test_a_quantile_is_right_to_a_bucket(times, share):
    exact = sorted(times)[math.ceil(share * len(times)) - 1]
    found = quantile(Counter(map(bucket_of, times)), share)
    assert exact / 1.2590 <= found <= exact * 1.2590


def test_of_no_calls_there_is_no_quantile():
    assert math.isnan(quantile({}, 0.5))
