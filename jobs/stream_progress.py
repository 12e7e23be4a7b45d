"""What a stream tells of itself: a line and a row of the metrics table for each micro-batch."""

import json
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from threading import Lock
from time import monotonic

from pyspark.sql import SparkSession
from pyspark.sql import types as T
from pyspark.sql.streaming.listener import (
    QueryIdleEvent,
    QueryProgressEvent,
    QueryStartedEvent,
    QueryTerminatedEvent,
    StreamingQueryListener,
    StreamingQueryProgress,
)

from jobs.spending import Cost
from jobs.stream_target import TABLE_PROPERTIES
from udfs.commits import Told
from udfs.delta import Table
from udfs.slices import Slice
from udfs.straight_columns import BatchCounts

LOG = logging.getLogger("gristmill")
SECONDS_A_COMMIT = 30.0
_SLICE = T.StructType([T.StructField(name, T.LongType()) for name in ("first", "end", "of")])
_METRICS = T.StructType(
    [
        T.StructField("stream", T.StringType()),
        T.StructField("batch", T.LongType()),
        T.StructField("slice", _SLICE),
        T.StructField("ended_at", T.TimestampType()),
        T.StructField("rows", T.LongType()),
        T.StructField("new", T.LongType()),
        T.StructField("cached", T.LongType()),
        T.StructField("skipped", T.LongType()),
        T.StructField("errors", T.MapType(T.StringType(), T.LongType())),
        T.StructField("input_tokens", T.LongType()),
        T.StructField("output_tokens", T.LongType()),
        T.StructField("model_seconds", T.DoubleType()),
        T.StructField("seconds", T.MapType(T.StringType(), T.DoubleType())),
        T.StructField("lag_messages", T.LongType()),
        T.StructField("lag_seconds", T.DoubleType()),
        T.StructField("model", T.StringType()),
        T.StructField("template", T.StringType()),
    ]
)


@dataclass(frozen=True)
class BatchReport:
    """The numbers of one micro-batch, or of a slice of it.

    `new` prompts were paid for; `seconds` by step; `lag_messages` is how many messages the source
    has beyond it, `lag_seconds` the age of its newest message when it was written (None: unknown).
    Spark tells `lag_messages` and the step `all` at the end of a micro-batch, with its last slice.
    """

    piece: Slice
    counts: BatchCounts
    seconds: Mapping[str, float]
    model: str
    template: str
    lag_seconds: float | None = None
    lag_messages: int | None = None

    def line(self) -> str:
        """Return one line for people."""
        counts, errors = self.counts, sum(self.counts.errors.values())
        steps = " ".join(f"{step} {seconds:.2f}" for step, seconds in self.seconds.items())
        behind = "?" if self.lag_messages is None else f"{self.lag_messages:,}"
        age = "?" if self.lag_seconds is None else f"{self.lag_seconds:.1f}"
        return (
            f"{self.piece}: {counts.rows:,} rows, {counts.new:,} new, "
            f"{counts.cached:,} cached, {counts.skipped:,} skipped, {errors:,} errors; "
            f"tokens {counts.input_tokens:,} in {counts.output_tokens:,} out; "
            f"seconds {steps}; lag {behind} messages, {age} s"
        )


@dataclass
class StreamTotals:
    """The numbers of all micro-batches of a run."""

    batches: int = 0
    rows: int = 0
    new: int = 0
    cached: int = 0
    skipped: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=lambda: {"input": 0, "output": 0})
    seconds: dict[str, float] = field(default_factory=dict)
    cost: Cost | None = None

    @property
    def is_pending(self) -> bool:
        """Never: what a stream does not write comes again at its next start."""
        return False

    def add(self, report: BatchReport) -> None:
        """Add a micro-batch."""
        counts = report.counts
        self.batches += report.piece.is_last
        for name in ("rows", "new", "cached", "skipped"):
            setattr(self, name, getattr(self, name) + getattr(counts, name))
        _sum_into(self.errors, counts.errors)
        _sum_into(self.tokens, {"input": counts.input_tokens, "output": counts.output_tokens})
        _sum_into(self.seconds, report.seconds)

    def json(self) -> str:
        """Return one JSON object."""
        rounded = {step: round(seconds, 3) for step, seconds in self.seconds.items()}
        return json.dumps(asdict(self) | {"seconds": rounded})


class StreamProgress(StreamingQueryListener):
    """Joins what a micro-batch counted with what Spark says of it; a context manager.

    Rows of the metrics table are written some at a time, in the background: a micro-batch does not
    wait for them. At the end of the block all are written.
    """

    def __init__(
        self,
        spark: SparkSession,
        metrics: Table,
        stream: str,
        tell: Callable[[BatchReport], None],
        totals: StreamTotals,
    ) -> None:
        self._spark, self._metrics, self._stream = spark, metrics, stream
        self._tell, self._totals = tell, totals
        self._open: dict[int, BatchReport] = {}
        self._rows: list[dict[str, object]] = []
        self._lock, self._wrote_at = Lock(), monotonic()
        self._pool = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None

    def __enter__(self) -> "StreamProgress":
        self._spark.streams.addListener(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._spark.streams.removeListener(self)
        with self._lock:  # an event may be on its way still
            left, self._open = self._open, {}
        for report in sorted(left.values(), key=lambda it: it.piece.batch):
            self._finish(report)
        self._flush()
        self._pool.shutdown()
        if self._writing is not None:
            self._writing.result()

    def counted(self, report: BatchReport) -> None:
        """Take the numbers of what has been written; of the end of a micro-batch Spark tells."""
        with self._lock:
            self._totals.add(report)
            if report.piece.is_last:
                self._open[report.piece.batch] = report
        if not report.piece.is_last:
            self._finish(report)

    def onQueryStarted(self, event: QueryStartedEvent) -> None:  # noqa: D102
        return

    def onQueryIdle(self, event: QueryIdleEvent) -> None:  # noqa: D102
        return

    def onQueryTerminated(self, event: QueryTerminatedEvent) -> None:  # noqa: D102
        return

    def onQueryProgress(self, event: QueryProgressEvent) -> None:
        """Finish a micro-batch's report."""
        with self._lock:
            report = self._open.pop(event.progress.batchId, None)
        if report is not None:
            self._finish(_completed(report, event.progress))

    def _finish(self, report: BatchReport) -> None:
        self._tell(report)
        with self._lock:
            self._rows.append(self._row(report))
            due = monotonic() - self._wrote_at >= SECONDS_A_COMMIT
        if due:
            self._flush()

    def _flush(self) -> None:
        with self._lock:
            rows, self._rows = self._rows, []
            self._wrote_at = monotonic()
        if rows:
            self._writing = self._pool.submit(self._write, rows)

    def _write(self, rows: list[dict[str, object]]) -> None:
        frame = self._spark.createDataFrame(rows, _METRICS)
        self._metrics.append(frame, Told({}), TABLE_PROPERTIES)

    def _row(self, report: BatchReport) -> dict[str, object]:
        counts = asdict(report.counts)
        model_ms = counts.pop("model_ms")
        return counts | {
            "stream": self._stream,
            **{"slice": None, **report.piece.told()},
            "ended_at": datetime.now(UTC),
            "model_seconds": model_ms / 1000,
            "seconds": dict(report.seconds),
            "lag_messages": report.lag_messages,
            "lag_seconds": report.lag_seconds,
            "model": report.model,
            "template": report.template,
        }


def _completed(report: BatchReport, progress: StreamingQueryProgress) -> BatchReport:
    """Return the report with the source's lag and the time of the whole micro-batch."""
    behind = [source.metrics.get("maxOffsetsBehindLatest") for source in progress.sources]
    lag = int(behind[0]) if behind and behind[0] is not None else None
    whole = progress.durationMs.get("triggerExecution")
    seconds = dict(report.seconds) | ({} if whole is None else {"all": whole / 1000})
    return replace(report, seconds=seconds, lag_messages=lag)


def _sum_into(totals: dict[str, int] | dict[str, float], more: Mapping[str, float]) -> None:
    for name, value in more.items():
        totals[name] = totals.get(name, 0) + value  # type: ignore[assignment]
