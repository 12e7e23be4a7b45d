"""Micro-batches above `max_tokens_per_batch`: slice after slice, each once, whatever comes between.

A prompt of `document` has some 85 tokens by the endpoint's estimate, and 10 more for the answer.
"""

from pathlib import Path

import pytest
from messages import answers, document
from rounds import long

from chains.errors import JobError
from chains.models.fake.endpoint import FakeEndpoint, FakeSettings
from jobs.stream import Stream, Trigger

pytestmark = [pytest.mark.spark, pytest.mark.process]

SHORT = "chain.parameters.max_output_tokens=10"
ROWS = 7


@pytest.fixture
def stopped(spark, settings):
    """Return a function that runs the stream and asks it to stop after its first line."""

    def run(*assignments):
        told = []

        def tell(report):
            told.append(report)
            stream.stop()

        stream = Stream(spark, settings(SHORT, *assignments), tell)
        stream.run(Trigger(available_now=True))
        return told

    return run


def test_each_slice_is_a_commit_and_a_line_of_its_own(stream, send, read, tmp_path, endpoint):
    send(*(document(i) for i in range(ROWS)), b"no json", None)
    totals = stream(SHORT, "max_tokens_per_batch=300")
    metrics = sorted(read("target_metrics"), key=lambda it: it["slice"]["first"])
    assert len(metrics) > 2
    assert {(it["batch"], it["slice"]["of"]) for it in metrics} == {(0, 9)}
    spans = [(it["slice"]["first"], it["slice"]["end"]) for it in metrics]
    assert [first for first, _ in spans] == [0, *(end for _, end in spans[:-1])]
    assert all(it["input_tokens"] + 10 * it["new"] <= 300 for it in metrics)
    assert len(list((tmp_path / "target" / "_delta_log").glob("*.json"))) == len(metrics)
    assert (totals.batches, totals.rows, totals.new) == (1, 9, ROWS)
    assert answers(it for it in read("target") if it["error"] is None) == ids()
    assert len(read("target_errors")) == 1
    assert len(endpoint.calls()) == ROWS


def ids():
    return {f"r{i:03d}" for i in range(ROWS)}


@long
def test_stopped_between_slices_it_goes_on_there(stopped, stream, send, read, endpoint):
    """Also where the limit is another one by then."""
    send(*(document(i) for i in range(ROWS)))
    told = stopped("max_tokens_per_batch=200")
    assert [(it.piece.first, it.piece.of) for it in told] == [(0, ROWS)]
    done = len(read("target"))
    assert 0 < done < ROWS
    assert len(endpoint.calls()) == done
    stream(SHORT, "max_tokens_per_batch=120")
    assert len(read("target")) == ROWS
    assert answers(read("target")) == ids()
    assert len(endpoint.calls()) == ROWS


@long
def test_a_slice_whose_dead_letters_cannot_be_written_comes_with_the_restart(
    stream, send, read, endpoint, tmp_path
):
    """The rest comes in one, since the setting is gone by then."""
    blocked = Path(tmp_path, "target_errors")
    blocked.write_text("in the way")
    send(*(document(i) for i in range(3)), b"no json", *(document(i) for i in range(3, ROWS)))
    with pytest.raises(JobError):
        stream(SHORT, "max_tokens_per_batch=200")
    assert len(read("target")) < ROWS
    blocked.unlink()
    stream(SHORT)
    assert answers(read("target")) == ids()
    assert len(read("target")) == ROWS
    assert len(read("target_errors")) == 1
    assert len(endpoint.calls()) == ROWS


@long
def test_an_outage_in_a_later_slice_keeps_the_earlier_ones(stream, send, read):
    send(*({"id": "a", "body": f"key=r{i:03d} says {i}"} for i in range(ROWS)))
    faults = {f"r{i:03d}": {"status": 500} for i in range(3, ROWS)}
    with (
        FakeEndpoint(FakeSettings(faults=faults)) as broken,
        pytest.raises(JobError, match=r"batch 0, rows \d to \d of 7: .*endpoint failed"),
    ):
        stream(SHORT, "max_tokens_per_batch=300", f"endpoints.fake.base_url={broken.base_url}")
    assert answers(read("target")) == {"r000", "r001", "r002"}
    with FakeEndpoint() as healed:
        stream(SHORT, "max_tokens_per_batch=300", f"endpoints.fake.base_url={healed.base_url}")
        assert {call.key for call in healed.calls()} == set(faults)
    assert answers(read("target")) == ids()


@long
def test_a_table_is_sliced_by_its_key(spark, settings, read, endpoint, tmp_path):
    table = f"{tmp_path}/documents"
    rows = [(f"r{i:03d}" if i else None, f"key=r{i:03d}") for i in range(ROWS)]
    spark.createDataFrame(rows, "id string, body string").write.format("delta").save(table)
    chosen = (SHORT, f"source={{table: {table}, key: id, columns: {{document: body}}}}")
    told = []
    Stream(spark, settings(*chosen, "max_tokens_per_batch=200"), told.append).run(
        Trigger(available_now=True)
    )
    assert len(told) > 2
    assert {row["id"] for row in read("target")} == ids() - {"r000"}
    assert [row["error"]["code"] for row in read("target_errors")] == ["undecodable"]
