"""The streaming demo: events flow into a real broker while the stream answers them."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from time import time

from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from rich.console import Console
from rich.table import Table as Grid

from chains.models.fake.endpoint import FakeEndpoint
from jobs.broker import Broker
from jobs.producer import Record, produce
from jobs.sample.events import demo_events
from jobs.settings import load_settings_of
from jobs.stream import Stream, Trigger
from jobs.stream_progress import BatchReport, StreamTotals
from jobs.stream_settings import StreamSettings
from udfs.delta import Table

LOG = logging.getLogger("gristmill")
EVENTS, FIRST_EVENTS = 300, 20
FIRST_BATCH_SECONDS = 120.0
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
    events = demo_events(EVENTS)
    produce(bootstrap, topic, _happening(events[:FIRST_EVENTS]), partitions=2)
    running = Event()

    def tell(report: BatchReport) -> None:
        LOG.info(report.line())
        running.set()

    stream = Stream(spark, settings, tell)

    def send() -> None:
        """Send the other events once the stream has done its first, slow micro-batch."""
        if running.wait(FIRST_BATCH_SECONDS):
            produce(bootstrap, topic, _happening(events[FIRST_EVENTS:]), EVENTS_A_SECOND)
        stream.stop()

    producer = Thread(target=send)
    producer.start()
    stream.run(Trigger(interval="1 second"))
    producer.join()
    return Stream(spark, settings, tell, stream.totals).run(Trigger(available_now=True))


def _happening(events: Iterable[Record]) -> Iterator[Record]:
    """Give events that happen when they are sent, so that their lag is that of the stream."""
    for record in events:
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
