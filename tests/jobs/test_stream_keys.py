"""Messages whose keys are no text: dead letters where the key is taken, else rows like others."""

import base64

import pytest
from messages import answers, document

from jobs.producer import Record, produce
from jobs.replay import run_replay

pytestmark = [pytest.mark.spark, pytest.mark.process]

ADDRESSED = """---
name: addressed
version: "1"
description: A document and whose it is.
variables: {document: string, customer: any}
---
{{ document }} for {{ customer }}
"""
BROKEN = (b"\xfe", b"\xff")


@pytest.fixture
def send_under_broken_keys(send, broker, topic):
    """Send one message under a key of text, and two under keys that are none."""
    send(document(0))
    records = [Record(key, b'{"id": "a", "body": "key=b"}', 1_700_000_000_000) for key in BROKEN]
    produce(broker.bootstrap, topic, records)


def test_a_key_that_is_no_text_is_a_dead_letter_where_a_template_takes_it(
    send_under_broken_keys, spark, stream, settings, read, endpoint, tmp_path
):
    """Also at a replay, which finds the key as it is kept."""
    template = tmp_path / "addressed.md"
    template.write_text(ADDRESSED)
    chosen = (f"chain.template={template}", "source.columns.customer=kafka_key")
    assert stream(*chosen).errors == {"undecodable": 2}
    assert run_replay(spark, settings(*chosen)).left == {"undecodable": 2}
    assert answers(read("target")) == {"r000"}
    assert [base64.b64decode(it["raw_message"]) for it in read("target_errors")] == [
        b'{"id": "a", "body": "key=b"}'
    ] * 2
    assert len(endpoint.calls()) == 1


def test_keys_that_are_no_text_name_no_rows(send_under_broken_keys, stream, read, endpoint):
    totals = stream("source.key=kafka_key", "target.mode=merge")
    assert totals.errors == {"undecodable": 2}
    assert [row["kafka_key"] for row in read("target")] == ["r000"]
    assert len(read("target_errors")) == 2
    assert len(endpoint.calls()) == 1


def test_a_key_that_is_no_text_and_not_used_keeps_a_message_from_nothing(
    send_under_broken_keys, stream, read
):
    assert stream().errors == {}
    kept = sorted(row["kafka_key"] for row in read("target"))
    assert kept == ["r000", *["\N{REPLACEMENT CHARACTER}"] * 2]


def test_fields_may_be_called_like_anything_on_the_way(stream, send, read):
    names = ("given", "deferred", "looked_up", "_rank", "_tokens", "_corrupt")
    send({"id": "a", "body": "key=a"} | {name: f"its {name}" for name in names})
    fields = ", ".join(f"{name} string" for name in ("id", "body", *names))
    stream(
        f"source.kafka.schema={fields}",
        "source.key=id",
        "target.mode=merge",
        f"target.keep=[{', '.join(names)}]",
        "max_tokens_per_batch=1000",
    )
    (row,) = read("target")
    assert {name: row[name] for name in names} == {name: f"its {name}" for name in names}
