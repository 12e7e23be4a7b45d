"""Send records to a Kafka topic, at a steady rate."""

import time
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass

from kafka import KafkaAdminClient, KafkaProducer
from kafka.errors import KafkaError, TopicAlreadyExistsError

from chains.errors import JobError

_REACH_MS = 10_000


@dataclass(frozen=True)
class Record:
    """One record of a topic: `timestamp_ms` is its event's time, a `value` of None a tombstone."""

    key: bytes | None
    value: bytes | None
    timestamp_ms: int


def produce(
    bootstrap: str,
    topic: str,
    records: Iterable[Record],
    per_second: float | None = None,
    partitions: int = 1,
) -> int:
    """Send the records in their order; return how many, all confirmed by the broker.

    A topic that is missing is made with `partitions`. Without `per_second`, as fast as it goes.
    Raises JobError where the broker is not reached or does not take a record.
    """
    try:
        _make_topic(bootstrap, topic, partitions)
        producer = KafkaProducer(bootstrap_servers=bootstrap, bootstrap_timeout_ms=_REACH_MS)
        with closing(producer):
            return _send(producer, topic, _paced(records, per_second))
    except KafkaError as error:
        raise JobError(f"Kafka at {bootstrap}, topic {topic!r}: {error}") from error


def _make_topic(bootstrap: str, topic: str, partitions: int) -> None:
    admin = KafkaAdminClient(bootstrap_servers=bootstrap, bootstrap_timeout_ms=_REACH_MS)
    with closing(admin), suppress(TopicAlreadyExistsError):
        admin.create_topics({topic: {"num_partitions": partitions}}, wait_for_metadata=True)


def _send(producer: KafkaProducer, topic: str, records: Iterable[Record]) -> int:
    sent, failures = 0, list[Exception]()
    for sent, record in enumerate(records, 1):  # noqa: B007
        future = producer.send(topic, record.value, record.key, timestamp_ms=record.timestamp_ms)
        future.add_errback(failures.append)
    producer.flush()
    if failures:
        raise failures[0]
    return sent


def _paced(records: Iterable[Record], per_second: float | None) -> Iterator[Record]:
    """Hold each record back until its turn, counted from the first; so delays do not add up."""
    start = time.monotonic()
    for i, record in enumerate(records):
        if per_second is not None:
            time.sleep(max(0.0, start + i / per_second - time.monotonic()))
        yield record
