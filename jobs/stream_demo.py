"""The streaming demo: events flow into a real broker while the stream answers them."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread
from time import time

from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from rich.console import Console
from rich.table import Table as Grid

from chains.models.fake_endpoint import FakeEndpoint
from jobs.broker import Broker
from jobs.producer import Record, produce
from jobs.sample.events import demo_events
from jobs.settings import load_settings_of
from jobs.stream import Stream, Trigger
from jobs.stream_progress import StreamTotals
from jobs.stream_settings import StreamSettings
from udfs.delta import Table

LOG = logging.getLogger("gristmill")
EVENTS = 300
EVENTS_A_SECOND = 25.0
_SHOWN = 6


def run_demo_stream(
    spark: SparkSession, conf: Path, assignments: tuple[str, ...]
) -> tuple[StreamTotals, StreamSettings]:
    """Start a broker and a stand-in for a model's endpoint, produce events, stream all of them.

    The stand-in speaks the OpenAI protocol and answers by the response schema, not by sense: no
    model that follows instructions comes with this project.
    """
    work = load_settings_of(StreamSettings, conf, assignments).work_dir
    broker = Broker(work / "kafka")
    started = broker.start()
    LOG.info("Kafka %s at %s", "runs" if started else "ran already", broker.bootstrap)
    try:
        with FakeEndpoint() as endpoint:
            settings = load_settings_of(
                StreamSettings, conf, (*_at(broker.bootstrap, endpoint.base_url), *assignments)
            )
            return _stream(spark, settings), settings
    finally:
        if started:
            broker.stop()


def _at(bootstrap: str, base_url: str) -> tuple[str, ...]:
    return (
        f"source.kafka.bootstrap={bootstrap}",
        f"endpoints.demo.base_url={base_url}",
    )


def _stream(spark: SparkSession, settings: StreamSettings) -> StreamTotals:
    kafka = settings.source.kafka
    assert kafka is not None
    assert kafka.topic is not None
    topic, bootstrap = kafka.topic, kafka.bootstrap
    produce(bootstrap, topic, [], partitions=2)  # makes the topic
    stream = Stream(spark, settings)

    def send() -> None:
        produce(bootstrap, topic, _happening(), EVENTS_A_SECOND)
        stream.stop()

    producer = Thread(target=send)
    producer.start()
    stream.run(Trigger(interval="1 second"))
    producer.join()
    return Stream(spark, settings, totals=stream.totals).run(Trigger(available_now=True))


def _happening() -> Iterator[Record]:
    """Give events that happen when they are sent, so that their lag is that of the stream."""
    for record in demo_events(EVENTS):
        yield replace(record, timestamp_ms=round(time() * 1000))


def show_messages(spark: SparkSession, settings: StreamSettings, console: Console) -> None:
    """Print the first messages, and the dead letters by reason."""
    target = Table.named(settings.target.table)
    grid = Grid("event", "customer", "subject", "language", box=None)
    for row in (
        target.read(spark).where("error is null").orderBy("event_id").limit(_SHOWN).collect()
    ):
        result = row["result"]
        grid.add_row(row["event_id"], row["customer"], result["subject"], result["language"])
    console.print(grid, "")
    letters = target.beside("_errors")
    if letters.exists(spark):
        reasons = Grid("dead letters", "code", "reason", box=None)
        by_reason = letters.read(spark).groupBy("error.code", "error.message")
        for row in by_reason.agg(F.count("*").alias("rows")).collect():
            reasons.add_row(str(row["rows"]), row["code"], row["message"])
        console.print(reasons, "")
