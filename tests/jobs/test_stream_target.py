"""What a stream's target makes of the rows of a micro-batch."""

import pytest

from jobs.checkpoint import NOTHING, Checkpoint
from jobs.stream_target import StreamTarget
from udfs.delta import Table

pytestmark = pytest.mark.spark


@pytest.fixture
def kept(spark):
    """Return a function from messages of one key to those that are kept, by their bodies."""

    def kept(mode, messages):
        rows = spark.sql(
            f"""
            SELECT 'a' id, body, 'topic' kafka_topic, partition kafka_partition,
                offset kafka_offset, timestamp_seconds(time) kafka_timestamp,
                CAST(NULL AS STRING) raw_message,
                CAST(NULL AS STRUCT<code STRING, message STRING, retryable BOOLEAN>) _part_error
            FROM VALUES {messages} AS messages (body, partition, offset, time)
            """
        )
        checkpoint = Checkpoint("", "", False, NOTHING, -1, None)
        target = StreamTarget(Table("nowhere"), ("id",), mode, checkpoint)
        return [row["body"] for row in target.one_a_key(rows).collect()]

    return kept


def test_of_messages_of_one_key_in_several_partitions_time_decides(kept):
    messages = "('newest', 0, 7, 30), ('between', 2, 0, 20), ('oldest', 1, 9, 10)"
    assert kept("merge", messages) == ["newest"]
    assert kept("append", messages) == ["oldest"]


def test_of_messages_of_one_key_in_one_partition_their_order_decides(kept):
    """Whatever the clocks of those who sent them say; also beside another partition."""
    messages = "('first', 0, 7, 30), ('second', 0, 8, 10)"
    assert kept("merge", messages) == ["second"]
    assert kept("append", messages) == ["first"]
    beside = f"{messages}, ('elsewhere', 1, 0, 20)"
    assert kept("merge", beside) == kept("append", beside) == ["elsewhere"]


def test_of_messages_of_one_key_and_time_in_several_partitions_the_partition_decides(kept):
    messages = "('low', 0, 7, 10), ('high', 1, 0, 10)"
    assert kept("merge", messages) == ["high"]
    assert kept("append", messages) == ["low"]
