"""Which types of a table's columns do not fit those of now."""

import pytest
from pyspark.sql import types as T

from jobs.fitting import misfits

pytestmark = pytest.mark.spark


@pytest.fixture
def found(spark):
    """Return a function from columns there and columns now to what does not fit."""
    return lambda *ddl: list(misfits(*map(T.StructType.fromDDL, ddl), ""))


def test_what_is_the_same_or_new_fits(found):
    there = "id bigint, result struct<score: double, tags: array<string>>, gone int"
    assert found(there, "ID bigint, result struct<tags: array<string>, new: int>") == []
    assert found("m map<string, int>", "m map<string, int> NOT NULL") == []


def test_each_place_that_does_not_fit_is_named(found):
    there = (
        "result struct<score: bigint, tags: array<struct<n: int>>>, m map<string, int>, t string"
    )
    now = (
        "result struct<score: double, tags: array<struct<n: string>>>, m map<string, double>, t int"
    )
    assert found(there, now) == [
        "result.score: bigint there, double now",
        "result.tags[].n: int there, string now",
        "m[]: int there, double now",
        "t: string there, int now",
    ]
    assert found("result string", "result struct<a: int>") == [
        "result: string there, struct<a:int> now"
    ]
