import time
import uuid

import pytest
from kafka import KafkaConsumer, TopicPartition

from chains.errors import JobError
from jobs.producer import Record, produce
from jobs.sample.events import demo_events

pytestmark = pytest.mark.process


@pytest.fixture
def topic():
    return f"test-{uuid.uuid4().hex[:8]}"


def records_of(bootstrap, topic):
    """Return what a topic holds, by partition, as records."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    partitions = [TopicPartition(topic, p) for p in sorted(consumer.partitions_for_topic(topic))]
    consumer.assign(partitions)
    ends = consumer.end_offsets(partitions)
    found = {it.partition: [] for it in partitions}
    while any(consumer.position(it) < ends[it] for it in partitions):
        for it, batch in consumer.poll(1000).items():
            found[it.partition] += [Record(m.key, m.value, m.timestamp) for m in batch]
    consumer.close()
    return found


def test_all_records_arrive_as_they_are_and_in_order(broker, topic):
    records = demo_events(50)
    assert produce(broker.bootstrap, topic, records) == 50
    assert records_of(broker.bootstrap, topic) == {0: records}


def test_a_customer_stays_on_one_partition(broker, topic):
    records = demo_events(50)
    produce(broker.bootstrap, topic, records, partitions=3)
    found = records_of(broker.bootstrap, topic)
    assert sorted(found) == [0, 1, 2]
    assert sum(map(len, found.values())) == 50
    keys = [{record.key for record in part} for part in found.values()]
    assert sum(map(len, keys)) == len(set.union(*keys))


def test_a_topic_that_is_there_is_added_to(broker, topic):
    for record in demo_events(10)[:2]:
        assert produce(broker.bootstrap, topic, [record], partitions=2) == 1
    assert sum(map(len, records_of(broker.bootstrap, topic).values())) == 2


def test_the_rate_is_kept(broker, topic):
    start = time.monotonic()
    produce(broker.bootstrap, topic, demo_events(10), per_second=10)
    assert time.monotonic() - start >= 0.9


def test_a_record_that_is_too_large_is_an_error(broker, topic):
    with pytest.raises(JobError, match=topic):
        produce(broker.bootstrap, topic, [Record(b"k", b"x" * 2_000_000, 0)])
