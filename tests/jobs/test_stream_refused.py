"""What a stream refuses: at its start, before anything is asked or made."""

import pytest
from messages import document

from chains.errors import SettingsError, TableError
from jobs.stream_plan import run_stream_plan

pytestmark = [pytest.mark.spark, pytest.mark.process]


@pytest.mark.parametrize(
    ("assignment", "error", "message"),
    [
        ("source.columns.document=text", TableError, "no column 'text'"),
        ("source.key=nr", TableError, "no column 'nr'"),
        ("source.kafka.schema=id strin", SettingsError, "source.kafka.schema"),
        ("source.kafka.schema=id string, body int", TableError, "expects string, found int"),
        ("source.kafka.schema=body string, source string", SettingsError, "of its own"),
        ("target.keep=[result]", TableError, "no column 'result'"),
        ("ledger.reuse=false", SettingsError, "a stream asks what the ledger lacks"),
        ("target.mode=overwrite", SettingsError, "expected append or merge"),
        ("source.table=t", SettingsError, "either kafka or table"),
        ("source.kafka.topic=", SettingsError, "either topic or pattern"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_is_asked(
    stream, send, endpoint, tmp_path, assignment, error, message
):
    send(document(0))
    with pytest.raises(error, match=message):
        stream(assignment)
    assert endpoint.calls() == []
    assert [it.name for it in tmp_path.iterdir()] == ["stream.yml"]


@pytest.mark.parametrize(
    ("table", "columns", "assignments", "message"),
    [
        ("target", "result int", [], "result: int there, string now"),
        ("target", "kafka_offset string", [], "kafka_offset: string there, bigint now"),
        ("target_errors", "result int", [], "result: int there, string now"),
        ("target", "fingerprint string", ["source.key=id"], r"lacks columns \['id'\]"),
        (
            "elsewhere",
            "a int",
            ["target.keep=[a b]", "source.kafka.schema=id string, body string, `a b` string"],
            r"no Delta table holds columns called \['a b'\]",
        ),
    ],
)
def test_a_target_that_cannot_hold_the_rows_is_told_before_anything_is_made(
    spark, stream, settings, send, endpoint, tmp_path, table, columns, assignments, message
):
    spark.sql(f"CREATE TABLE delta.`{tmp_path}/{table}` ({columns}) USING delta")
    send(document(0))
    with pytest.raises(TableError, match=message):
        stream(*assignments)
    with pytest.raises(TableError, match=message):
        run_stream_plan(spark, settings(*assignments))
    assert endpoint.calls() == []
    assert {it.name for it in tmp_path.iterdir()} == {"stream.yml", table}
