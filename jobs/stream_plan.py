"""What a stream would ask of the messages that wait for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import reduce
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pyspark.errors import StreamingQueryException
from pyspark.sql import DataFrame, SparkSession

from chains.errors import GristmillError, JobError
from jobs.checkpoint import STREAMS, Checkpoint, look_at_checkpoint
from jobs.pinning import pin_stream
from jobs.plan import PlanReport, counts_to_pay, of_models, report_of
from jobs.report import Stopwatch
from jobs.stream_settings import StreamSettings
from jobs.stream_source import StreamSource
from jobs.stream_target import StreamTarget, check_target, has_key
from udfs import flow
from udfs.delta import Table
from udfs.files import Place
from udfs.ledger import Ledger
from udfs.passes import Counts

_SUMMED = (
    *("rows", "keys", "skipped", "failed", "long", "parts", "distinct", "hits", "misses"),
    *("text_bytes", "repeated_bytes"),
)


def run_stream_plan(spark: SparkSession, settings: StreamSettings, sample: int = 0) -> PlanReport:
    """Count what waits in the source, from the checkpoint to now; see `run_plan`.

    Spark reads it as the stream would, with a copy of the checkpoint. A micro-batch that was killed
    counts whole unless the target has it: what of it is answered already only its journal knows.
    """
    clock = Stopwatch()
    with clock.step("pin"):
        work = replace(pin_stream(settings), source=settings.source.name)
        source = StreamSource(settings)
        waiting = source.open(spark, whole=True)
        decoded = source.decode(waiting, work)
        source.check(decoded, work)
        check_target(settings, work, decoded)
        checkpoint = look_at_checkpoint(spark, settings)
        target = StreamTarget.of(settings, checkpoint)
    counted, to_pay, prompts = [_nothing()], [_nothing()], list[str]()
    ledger = Ledger(Table.named(settings.ledger.table))

    def look(rows: DataFrame, number: int) -> None:
        if target.begun(number).is_last:
            return
        asked = target.one_a_key(source.decode(rows, work)).persist()
        keyed = asked.where(has_key(target.key))
        with flow.plan(keyed, work, ledger) as planned:
            counted.append(planned.counts)
            to_pay.extend(map(counts_to_pay, planned.passes))
            prompts.extend(planned.sample(sample - len(prompts)))
        nameless = asked.count() - counted[-1].rows
        counted.append(replace(_nothing(), rows=nameless, failed=nameless))
        asked.unpersist()

    with clock.step("plan"):
        _read(waiting, checkpoint, look)
        counts = reduce(_add, counted)
        of_each = of_models(spark, settings, ledger, work, [(work, reduce(_add, to_pay))])
    new = counts.rows - counts.skipped - counts.failed
    return report_of(work, counts, {"new": new} if new else {}, of_each, prompts, clock)


def _read(waiting: DataFrame, checkpoint: Checkpoint, look: Any) -> None:
    failures: list[BaseException] = []

    def guarded(rows: DataFrame, number: int) -> None:
        """Keep what went wrong: Spark tells of it as text alone."""
        try:
            look(rows, number)
        except BaseException as error:
            failures.append(error)
            raise

    with _copied(Place(waiting.sparkSession, checkpoint.path)) as copy:
        writer = waiting.writeStream.option("checkpointLocation", copy).trigger(availableNow=True)
        query = writer.foreachBatch(guarded).start()
        try:
            query.awaitTermination()
        except StreamingQueryException as error:
            if failures and isinstance(failures[0], GristmillError):
                raise failures[0] from None
            raise JobError(f"what waits for the stream cannot be read: {error}") from error


@contextmanager
def _copied(checkpoint: Place) -> Iterator[str]:
    """Give the path of a copy on the driver's disk, empty where there is no checkpoint."""
    with TemporaryDirectory(prefix="gristmill-plan-") as folder:
        copy = (Path(folder) / "checkpoint").as_uri()
        for name in checkpoint.names():
            if name != STREAMS:  # which a stream that runs writes to
                (checkpoint / name).copy_to(f"{copy}/{name}")
        yield copy


def _nothing() -> Counts:
    return Counts(**dict.fromkeys(_SUMMED, 0), input_tokens=0, lengths=None)


def _add(one: Counts, other: Counts) -> Counts:
    sums = {name: getattr(one, name) + getattr(other, name) for name in _SUMMED}
    tokens = (one.input_tokens or 0) + (other.input_tokens or 0)
    return replace(one, **sums, input_tokens=tokens)
