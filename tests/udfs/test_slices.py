"""Slices of a micro-batch: what fits in one, their names, and what is left of a begun one."""

from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from chains import Parameters, load_chain, resolve_model
from chains.errors import JobError
from udfs.completion import pin
from udfs.slices import Slice, cut, ends, nothing
from udfs.work import Work

TOKENS = st.lists(st.integers(0, 50), max_size=40)


@given(TOKENS, st.integers(1, 100))
def test_slices_hold_all_rows_and_no_more_than_fits(tokens, limit):
    found = ends(tokens, 0, limit)
    assert found == sorted(set(found))
    assert (found or [0])[-1] == len(tokens)
    for first, end in zip([0, *found], found, strict=False):
        assert end - first == 1 or sum(tokens[first:end]) <= limit


@given(TOKENS, st.integers(1, 100))
def test_whoever_goes_on_at_a_slice_cuts_the_rest_alike(tokens, limit):
    found = ends(tokens, 0, limit)
    for i, end in enumerate(found):
        assert ends(tokens, end, limit) == found[i + 1 :]


def test_a_row_above_the_limit_is_a_slice_of_its_own():
    assert ends([0, 1, 90, 0, 1], 0, 10) == [2, 3, 5]
    assert ends([5, 5], 0, None) == [2]


def test_numbers_grow_with_slices_and_micro_batches():
    """Those of a whole micro-batch, too, so that the setting may come and go."""
    ordered = [
        nothing(-1),
        Slice(0),
        nothing(1),
        Slice(1, 0, 4, 9),
        Slice(1, 4, 9, 9),
        Slice(2, 0, 3, 5),
        Slice(3),
    ]
    numbers = [it.number for it in ordered]
    assert numbers == sorted(set(numbers))
    assert all(Slice.read(it.told()) == it for it in ordered if it.end != 0)


@pytest.fixture(scope="module")
def work():
    """Return work whose calls take 10 tokens at most for the answer."""
    chain = load_chain("summarize")
    named = pin(chain, resolve_model("python:local_models:Echo", {}))
    short = named.chain.model_copy(update={"parameters": Parameters(max_output_tokens=10)})
    return Work(type(named)(short, named.model), ("id",), {"document": "body"})


@pytest.fixture
def rows(spark):
    """Return ten rows, the seventh empty."""
    bodies = [(i, "" if i == 6 else f"word {i}") for i in range(10)]
    return spark.createDataFrame(bodies, "id int, body string").repartition(3)


def sliced(rows, work, limit, begun):
    """Return the ids of each slice."""
    with cut(rows, work, [F.col("id")], limit, begun) as pieces:
        named = [its.select(F.lit(i).alias("piece"), "id") for i, (_, its) in enumerate(pieces)]
        found = reduce(DataFrame.unionByName, named).collect()
    return {
        piece: sorted(row["id"] for row in found if row["piece"] == i)
        for i, (piece, _) in enumerate(pieces)
    }


@pytest.mark.spark
def test_a_begun_micro_batch_goes_on_after_its_last_slice(rows, work):
    """With the same limit, another one, or none; the last slice comes again."""
    assert sliced(rows, work, 1_000_000, nothing(5)) == {Slice(5): list(range(10))}
    first = sliced(rows, work, 100, nothing(5))
    assert len(first) > 2
    assert [i for ids in first.values() for i in ids] == list(range(10))
    names = list(first)
    assert sliced(rows, work, 100, names[1]) == {it: first[it] for it in names[1:]}
    rest = sliced(rows, work, None, names[0])
    assert list(rest) == [names[0], Slice(5, names[0].end, 10, 10)]
    assert [i for ids in rest.values() for i in ids] == list(range(10))


@pytest.mark.spark
def test_a_micro_batch_that_is_another_one_is_refused(rows, work):
    with pytest.raises(JobError, match="begun with 12 rows and has 10 now"):
        sliced(rows, work, 100, Slice(5, 0, 4, 12))
