"""Who is told of a run: an MLflow store, a collector of OpenTelemetry, or nobody."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, Protocol, TypeVar
from uuid import uuid4

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from jobs.mlflow_run import MlflowRun
from jobs.report import Stopwatch, versions
from jobs.run_record import RunRecord
from jobs.settings import JobSettings
from jobs.stream_progress import BatchReport
from jobs.tracing import Tracing
from udfs.delta import Table
from udfs.passes import Watch
from udfs.progress import Progress
from udfs.work import Work


class AnyReport(Protocol):
    """What a job reports: a dataclass of plain values."""

    @property
    def is_pending(self) -> bool:
        """Whether rows wait for the next run."""
        ...


Report = TypeVar("Report", bound=AnyReport)


class Run:
    """One run of a job, as those who are told of it know it; `id` is what rows carry.

    Nothing that it does raises, but for beginning it: SettingsError where one who is to be told
    cannot be had, before anything is paid.
    """

    def __init__(self, spark: SparkSession, settings: JobSettings, job: str) -> None:
        self.id, self.job = uuid4().hex, job
        self._spark, self._settings = spark, settings
        self._began_at, self._began = datetime.now(UTC), perf_counter()
        self._pinned_to: Mapping[str, str] = {}
        self._report: AnyReport | None = None
        otel, experiment = settings.otel.endpoint, settings.mlflow.experiment
        self._tracing = Tracing(settings.otel, job, self.id) if otel else None
        self._log = MlflowRun(settings, job, self.id) if experiment else None
        self._asking = self.stopwatch()

    def stopwatch(self) -> Stopwatch:
        """Return a watch whose steps are spans of the run."""
        return Stopwatch(self.step)

    def step(self, name: str, **attributes: Any) -> AbstractContextManager[None]:
        """Do a step within a span of the run."""
        tracing = self._tracing
        return nullcontext() if tracing is None else tracing.step(name, **attributes)

    def pinned(self, work: Work, source: str | None = None) -> Work:
        """Take what the run is pinned to; return the work as executors tell of its calls.

        `source` is what the source is called, where the work does not say.
        """
        pinned_to = versions(work) | ({} if source is None else {"source": source})
        moved, self._pinned_to = pinned_to != self._pinned_to, pinned_to
        if moved and self._log is not None:
            self._log.pinned(work, pinned_to)
        if self._tracing is None:
            return work
        self._tracing.pinned(pinned_to)
        telemetry = self._tracing.telemetry
        return work.with_each(lambda it: replace(it, telemetry=telemetry))

    def watching(self, watch: Watch) -> Watch:
        """Return a watch that also times the asking."""

        @contextmanager
        def timed(prompts: int) -> Iterator[Progress | None]:
            with self._asking.step("ask"), watch(prompts) as progress:
                yield progress

        return timed

    def measured(self, report: BatchReport) -> None:
        """Tell of a micro-batch."""
        counts, errors = report.counts, report.counts.errors
        tokens = {"input": counts.input_tokens, "output": counts.output_tokens}
        plain = asdict(counts) | {"tokens": tokens}
        if self._tracing is not None:
            self._tracing.counted(plain)
        if self._log is not None:
            values = {name: plain[name] for name in ("rows", "new", "cached", "skipped")}
            values |= {f"{kind}_tokens": count for kind, count in tokens.items()}
            values |= {f"seconds.{step}": it for step, it in report.seconds.items()}
            lags = {"lag_seconds": report.lag_seconds, "lag_messages": report.lag_messages}
            values |= {name: it for name, it in lags.items() if it is not None}
            if counts.new:
                values["latency_ms.mean"] = counts.model_ms / counts.new
            values["errors"] = sum(errors.values())
            batch = {f"batch.{name}": it for name, it in values.items()}
            self._log.measured(batch, report.piece.batch)

    def reports(self, report: Report) -> Report:
        """Take what the job reports, which may grow until its end; return it."""
        self._report = report
        return report

    def close(self, error: BaseException | None) -> None:
        """Tell how it ended."""
        record = self._record() if self._tracing or self._log else None
        if self._tracing is not None:
            if error is not None:
                self._tracing.failed(error)
            if record is not None and self.job != "stream":  # it told of each micro-batch
                self._tracing.counted(record.report)
            self._tracing.close()
        if self._log is not None:
            self._log.end(record, error)

    def _record(self) -> RunRecord | None:
        if self._report is None:
            return None
        report: dict[str, Any] = asdict(self._report)  # type: ignore[call-overload]
        return RunRecord(
            run_id=self.id,
            job=self.job,
            began_at=self._began_at.isoformat(timespec="seconds"),
            seconds=round(perf_counter() - self._began, 3),
            asking_seconds=self._asking.seconds.get("ask", 0.0),
            is_pending=self._report.is_pending,
            versions={**self._pinned_to, **self._target()},
            report=report,
        )

    def _target(self) -> dict[str, str]:
        table = Table.named(self._settings.target.table)
        with suppress(PySparkException, Py4JError):
            return {"target": f"{table.name}@{table.version(self._spark)}"}
        return {"target": table.name}


@contextmanager
def observed(spark: SparkSession, settings: JobSettings, job: str) -> Iterator[Run]:
    """Give a run of the job; tell how it ended those who are to be told.

    Raises SettingsError, before the block, where one of them cannot be had.
    """
    run, error = Run(spark, settings, job), None
    try:
        yield run
    except BaseException as raised:
        error = raised
        raise
    finally:
        run.close(error)
