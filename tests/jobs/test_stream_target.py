"""What a stream's target makes of the rows of a micro-batch."""

import pytest

from jobs.checkpoint import NOTHING, Checkpoint
from jobs.stream_target import StreamTarget
from udfs.delta import Table

pytestmark = pytest.mark.spark


@pytest.mark.parametrize(("mode", "kept"), [("merge", "newest"), ("append", "oldest")])
def test_of_messages_of_one_key_time_decides_not_their_partition(spark, mode, kept):
    rows = spark.sql(
        """
        SELECT 'a' id, body, 'topic' kafka_topic, partition kafka_partition, offset kafka_offset,
            timestamp_seconds(time) kafka_timestamp, CAST(NULL AS STRING) raw_message,
            CAST(NULL AS STRUCT<code STRING, message STRING, retryable BOOLEAN>) _part_error
        FROM VALUES ('newest', 0, 7, 30), ('between', 2, 0, 20), ('oldest', 1, 9, 10)
            AS messages (body, partition, offset, time)
        """
    )
    checkpoint = Checkpoint("", "", False, NOTHING, -1, None)
    target = StreamTarget(Table("nowhere"), ("id",), mode, checkpoint)
    assert [row["body"] for row in target.one_a_key(rows).collect()] == [kept]
