"""What a stream's plan says of the messages that wait, and that it changes nothing."""

import pytest
from messages import document

from chains.errors import JobError, TableError
from jobs.stream_plan import run_stream_plan

pytestmark = [pytest.mark.spark, pytest.mark.process]

PRICED = "chain.price={input: 1, output: 2}"


def files(folder):
    return {it: it.read_bytes() for it in folder.rglob("*") if it.is_file()}


def test_a_plan_tells_what_waits_and_changes_nothing(
    spark, stream, settings, send, endpoint, tmp_path
):
    priced = settings(PRICED)
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


def test_a_plan_counts_the_parts_of_long_inputs(spark, stream, settings, send, endpoint):
    """What the ledger has of them costs nothing."""
    in_parts = ("chain.on_long_input=chunk", "endpoints.fake.context_window=700", PRICED)
    body = "key=long " + " ".join(f"Sentence number {i} is here." for i in range(200))
    long = {"id": "long", "body": body}
    send(long)
    planned = run_stream_plan(spark, settings(*in_parts))
    stream(*in_parts)
    parts = endpoint.calls()[: planned.parts]
    assert (planned.long, planned.parts, len(endpoint.calls())) == (1, 4, 5)
    assert planned.tokens["input"] >= sum(call.input_tokens for call in parts)
    send({**long, "id": "again"})
    again = run_stream_plan(spark, settings(*in_parts))
    assert (again.long, again.parts, again.tokens["input"]) == (1, planned.parts, 0)
    assert again.cost["expected"] == 0


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
