"""What a stream's plan says of the messages that wait, and that it changes nothing."""

import pytest
from messages import document

from chains.errors import JobError, TableError
from jobs.stream_plan import run_stream_plan

pytestmark = [pytest.mark.spark, pytest.mark.process]


def files(folder):
    return {it: it.read_bytes() for it in folder.rglob("*") if it.is_file()}


def test_a_plan_tells_what_waits_and_changes_nothing(
    spark, stream, settings, send, endpoint, tmp_path
):
    priced = settings("chain.price={input: 1, output: 2}")
    send(*(document(i) for i in range(3)), document(1), b"no json {", None)
    first = run_stream_plan(spark, priced, sample=2)
    assert (first.rows, first.skipped, first.errors) == (6, 1, 1)
    assert (first.distinct, first.hits, first.misses, first.reasons) == (3, 0, 3, {"new": 4})
    assert first.cost["most"] > first.tokens["input"] / 1_000_000 > 0
    assert len(first.sample) == 2
    assert files(tmp_path).keys() == {tmp_path / "stream.yml"}
    assert endpoint.calls() == []

    stream()
    send(document(0), document(7))
    before = files(tmp_path)
    second = run_stream_plan(spark, priced)
    assert (second.rows, second.hits, second.misses) == (2, 1, 1)
    assert files(tmp_path) == before
    assert stream().new == second.misses
    assert run_stream_plan(spark, priced).rows == 0


def test_messages_without_a_key_are_errors_and_the_last_of_a_key_counts(spark, settings, send):
    send(
        {"id": "a", "body": "one"}, {"id": "a", "body": "two"}, {"id": None, "body": "three"}, None
    )
    planned = run_stream_plan(spark, settings("source.key=id", "target.mode=merge"), sample=3)
    assert (planned.rows, planned.misses, planned.errors) == (3, 1, 2)
    assert ["two" in it for it in planned.sample] == [True]


def test_what_the_stream_would_refuse_the_plan_refuses(spark, settings, tmp_path):
    with pytest.raises(TableError, match="nowhere"):
        run_stream_plan(spark, settings("source.columns.document=nowhere"))
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "other").write_text("")
    with pytest.raises(JobError, match=r"no gristmill\.json"):
        run_stream_plan(spark, settings())
