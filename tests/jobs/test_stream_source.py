"""The source of a stream: brokers that do not answer are told at once."""

import socket
from datetime import UTC, datetime

import pytest

from chains.errors import JobError
from jobs.pinning import pin_stream
from jobs.stream_settings import StreamSettings
from jobs.stream_source import StreamSource, check_reachable


def test_a_broker_that_does_not_answer_is_told_with_its_setting():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        check_reachable(f"127.0.0.1:{port}")
        check_reachable(f"no-such-host.invalid:9092, PLAINTEXT://127.0.0.1:{port}")
    with pytest.raises(JobError, match=rf"source\.kafka\.bootstrap '127\.0\.0\.1:{port}'.*look at"):
        check_reachable(f"127.0.0.1:{port}")


def test_an_address_that_is_none_is_left_to_kafka():
    check_reachable("here")


@pytest.mark.spark
def test_headers_that_are_no_text_reach_a_template_as_valid_text(spark):
    message = (b"text", b"key", [("id", b"\x00\xff")], "t", 0, 0, datetime(2026, 1, 1, tzinfo=UTC))
    rows = spark.createDataFrame(
        [message],
        "value binary, key binary, headers array<struct<key string, value binary>>, topic string, "
        "partition int, offset bigint, timestamp timestamp",
    )
    settings = StreamSettings.model_validate(
        {
            "source": {"kafka": {"bootstrap": "none", "topic": "t", "format": "text"}},
            "target": {"table": "./target"},
            "chain": {"name": "summarize", "model": "extractive"},
            "ledger": {"table": "./ledger"},
            "checkpoint": "./checkpoint",
        }
    )
    decoded = StreamSource(settings).decode(rows, pin_stream(settings))
    (headers,) = decoded.select("kafka_headers").toArrow()["kafka_headers"].to_pylist()
    assert headers == [{"key": "id", "value": "\x00\N{REPLACEMENT CHARACTER}"}]
