"""The streaming job: messages become completions in a Delta table, each once."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from threading import Event, Lock
from time import time

from pyspark.errors import StreamingQueryException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from chains.errors import (
    CapReached,
    GristmillError,
    JobError,
    Pending,
    ServerError,
    StoppedAtCap,
    TimedOut,
    TransientError,
    error_codes,
    hint_of,
)
from chains.registered import FollowedTemplate, follow_template
from jobs.checkpoint import Checkpoint, open_checkpoint
from jobs.failures import told
from jobs.leasing import Leased, leasing
from jobs.observing import Run, observed
from jobs.pinning import pin_stream
from jobs.report import Stopwatch
from jobs.spending import Cost, cost_of
from jobs.stream_progress import BatchReport, StreamProgress, StreamTotals
from jobs.stream_settings import StreamSettings
from jobs.stream_source import StreamSource
from jobs.stream_target import StreamTarget, check_target, send_answers
from udfs.delta import Table
from udfs.ledger import Ledger
from udfs.micro_batch import MicroBatches
from udfs.passes import Paid
from udfs.slices import Slice, cut
from udfs.straight_columns import BatchCounts
from udfs.work import Work

LOG = logging.getLogger("gristmill")
SECONDS_BETWEEN_LOOKS = 1
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 1.0, 60.0
_MESSAGES_GONE = "failOnDataLoss"
_NOT_ASKED = set(error_codes(Pending))
_MAY_PASS = set(error_codes(TransientError))
_MAY_BE_THE_PROMPTS = {ServerError.code, TimedOut.code}
_FEWEST_OF_AN_OUTAGE = 3


@dataclass(frozen=True)
class Trigger:
    """When micro-batches begin: one after the other, at an interval, or until all is read."""

    interval: str | None = None
    available_now: bool = False


class Stopped(JobError):
    """The stream was asked to stop: what it would begin now comes again at the next start."""


@dataclass
class Stream:
    """A stream of micro-batches; `stop` may be called from a signal handler.

    Killed at any point and started again, it loses nothing and doubles nothing: Spark's checkpoint
    names the messages of a micro-batch before it begins, the journal keeps its answers, and the
    target's history tells its number.
    """

    spark: SparkSession
    settings: StreamSettings
    tell: Callable[[BatchReport], None] = lambda report: LOG.info(report.line())
    totals: StreamTotals = field(default_factory=StreamTotals)
    _stopping: Event = field(default_factory=Event)
    _busy: Lock = field(default_factory=Lock)
    _failure: BaseException | None = None

    def stop(self) -> None:
        """Let the micro-batch (or slice) in progress end, then stop."""
        self._stopping.set()

    def run(self, trigger: Trigger) -> StreamTotals:
        """Run until there is nothing left (`available_now`), `stop` is called, or it fails."""
        with observed(self.spark, self.settings, "stream") as run:
            run.reports(self.totals)
            self._run(trigger, run)
        return self.totals

    def _run(self, trigger: Trigger, run: Run) -> None:
        source = StreamSource(self.settings)
        rows = source.open(self.spark)
        prompt = follow_template(self.settings.chain.template, self.settings.tracking_uri)
        work = pin_stream(self.settings, prompt.template if prompt else None)
        decoded = source.decode(rows, work)
        source.check(decoded, work)
        check_target(self.settings, work, decoded)
        with open_checkpoint(self.spark, self.settings) as checkpoint:
            ledger = Ledger(Table.named(self.settings.ledger.table))
            ledger.open(self.spark)
            target = StreamTarget.of(self.settings, checkpoint)

            def tell(report: BatchReport) -> None:
                self.tell(report)
                run.measured(report)

            def pinned(work: Work) -> Work:
                return run.pinned(leased(work), self.settings.source.name)

            with (
                StreamProgress(
                    self.spark, target.metrics, checkpoint.generation, tell, self.totals
                ) as progress,
                MicroBatches(self.spark, ledger, checkpoint.generation) as batches,
                leasing(self.spark, self.settings, work) as leased,
            ):
                job = _MicroBatchJob(
                    self.settings,
                    self._stopping,
                    source,
                    target,
                    batches,
                    progress,
                    pinned,
                    pinned(work),
                    prompt,
                    run,
                )
                try:
                    self._await(self._start(rows, job, trigger, checkpoint))
                finally:
                    self.totals.cost = self._cost(job.work)

    def _cost(self, work: Work) -> Cost | None:
        tokens = self.totals.tokens
        paid = Paid(input_tokens=tokens["input"], output_tokens=tokens["output"])
        return cost_of(self.settings, [(work.pinned.model, paid)])

    def _start(
        self,
        rows: DataFrame,
        job: "_MicroBatchJob",
        trigger: Trigger,
        checkpoint: Checkpoint,
    ) -> StreamingQuery:
        def guarded(micro_batch: DataFrame, number: int) -> None:
            """Keep what went wrong: Spark tells of it as text alone."""
            try:
                with self._not_stopping(), job.run.step("micro_batch", number=number):
                    job(micro_batch, number)
            except BaseException as error:
                self._failure = error
                raise

        writer = rows.writeStream.option("checkpointLocation", checkpoint.path)
        writer = writer.queryName(f"gristmill-{checkpoint.generation[:8]}")
        if trigger.available_now:
            writer = writer.trigger(availableNow=True)
        elif trigger.interval is not None:
            writer = writer.trigger(processingTime=trigger.interval)
        return writer.foreachBatch(guarded).start()

    @contextmanager
    def _not_stopping(self) -> Iterator[None]:
        """Hold the lock that `query.stop` waits for; it would wait for ever for one that waits."""
        while not self._busy.acquire(timeout=0.1):
            if self._stopping.is_set():
                raise Stopped("stopped")
        try:
            if self._stopping.is_set():
                raise Stopped("stopped")
            yield
        finally:
            self._busy.release()

    def _await(self, query: StreamingQuery) -> None:
        try:
            while not query.awaitTermination(SECONDS_BETWEEN_LOOKS):
                if self._stopping.is_set():
                    with self._busy:
                        query.stop()
        except StreamingQueryException as error:
            if isinstance(self._failure, Stopped):
                return
            if isinstance(self._failure, GristmillError):
                raise self._failure from None
            said = f"{error}\n{self._failure}"
            if _MESSAGES_GONE in said:
                raise JobError(_gone(self.settings, said)) from None
            cause = self._failure or error
            raise JobError(f"the stream failed: {told(cause, said)}") from cause


@dataclass
class _MicroBatchJob:
    """Pin, cut, answer and write one micro-batch."""

    settings: StreamSettings
    stopping: Event
    source: StreamSource
    target: StreamTarget
    batches: MicroBatches
    progress: StreamProgress
    leased: Leased
    work: Work
    prompt: FollowedTemplate | None
    run: Run
    failed_in_a_row: int = 0

    def __call__(self, rows: DataFrame, number: int) -> None:
        clock = self.run.stopwatch()
        with clock.step("pin"):
            self._pin(partial(self.source.decode, rows))
            decoded = self.target.one_a_key(self.source.decode(rows, self.work))
        with ExitStack() as stack:
            for piece, its_rows in self._cut(decoded, number, clock, stack):
                if self.stopping.is_set():
                    raise Stopped("stopped")
                if self.target.has(piece):
                    self._pass_over(its_rows, piece)
                else:
                    self._answer(its_rows, piece, clock)
                clock = self.run.stopwatch()

    def _cut(
        self, rows: DataFrame, number: int, clock: Stopwatch, stack: ExitStack
    ) -> list[tuple[Slice, DataFrame]]:
        """Return what is to be done of a micro-batch: all of it, or its slices one by one."""
        limit, begun = self.settings.max_tokens_per_batch, self.target.begun(number)
        with nullcontext() if limit is None else clock.step("cut"):
            pieces = cut(rows, self.work, self.source.places, limit, begun)
            return stack.enter_context(pieces)

    def _pass_over(self, rows: DataFrame, piece: Slice) -> None:
        """Leave what the target has; it may be that a run died before it sent the answers."""
        LOG.info("%s: the target has it already; nothing is asked or written twice", piece)
        if self.settings.output is not None:
            send_answers(self.target.those_of(rows), self.work.key, self.settings.output)
        self.batches.passed_over(piece)

    def _answer(self, rows: DataFrame, piece: Slice, clock: Stopwatch) -> None:
        """Answer and write; ask again and again where an outage is to be waited for."""
        self.target.take_back(rows, piece)
        wait = FIRST_WAIT_SECONDS
        while not self._written(rows, piece, clock):
            LOG.warning("%s: the endpoint fails; asked again in %.0f s", piece, wait)
            if self.stopping.wait(wait):
                raise Stopped("stopped")
            wait = min(2 * wait, LONGEST_WAIT_SECONDS)
            self._pin(lambda _: rows)

    def _written(self, rows: DataFrame, piece: Slice, clock: Stopwatch) -> bool:
        """Answer and write; return False where an outage is to be waited for."""
        answering = self.batches.answered(rows, self.work, piece, self.run.id)
        try:
            with ExitStack() as stack:
                with clock.step("answer"):
                    answered = stack.enter_context(answering)
                _check_cap(answered.counts, piece)
                self._check_outage(answered.counts)
                with clock.step("write"):
                    landed = self.target.write(answered, piece)
                    if self.settings.output is not None:
                        send_answers(answered.rows, self.work.key, self.settings.output)
        except _OutageError as outage:
            if self.settings.on_outage == "stop":
                raise JobError(f"{piece}: {outage}") from None
            return False
        if not landed:
            LOG.info("%s: the target had it already; nothing was written twice", piece)
        self.progress.counted(self._report(piece, answered.counts, clock))
        return True

    def _pin(self, decoded: Callable[[Work], DataFrame]) -> None:
        """Follow aliases: what they name now answers from this micro-batch on."""
        (model,) = self.settings.chain.model
        template = self.prompt.look() if self.prompt else None
        moved = template is not None and template.source != self.work.pinned.chain.template
        if not moved and not (model.startswith("models:/") and "@" in model):
            return
        now = self.leased(pin_stream(self.settings, template))
        if now.pinned != self.work.pinned:
            rows = decoded(now)
            self.source.check(rows, now)
            check_target(self.settings, now, rows)
            self.work = now

    def _check_outage(self, counts: BatchCounts) -> None:
        """Raise _OutageError where it is the endpoint that fails, not a prompt that breaks it.

        A prompt that no server can answer would hold up all that come after it.
        """
        failed = {code: n for code, n in counts.failed.items() if code in _MAY_PASS | _NOT_ASKED}
        count = sum(failed.values())
        before = self.failed_in_a_row if count >= counts.new else 0
        self.failed_in_a_row = before + count
        few = self.failed_in_a_row < _FEWEST_OF_AN_OUTAGE and failed.keys() <= _MAY_BE_THE_PROMPTS
        too_many = count > self.settings.outage_share * counts.new and not few
        if too_many or _NOT_ASKED.intersection(failed):
            to_do = "".join(f". {code}: {hint}" for code in failed if (hint := hint_of(code)))
            raise _OutageError(
                f"the model's endpoint failed for {failed} (by code) of {counts.new} prompts; "
                f"nothing of it was written, and it comes again at the next start{to_do}"
            )

    def _report(self, piece: Slice, counts: BatchCounts, clock: Stopwatch) -> BatchReport:
        return BatchReport(
            piece=piece,
            counts=counts,
            seconds=clock.seconds,
            model=self.work.pinned.model.name,
            template=self.work.chain.template.ref,
            lag_seconds=None if counts.newest is None else round(time() - counts.newest, 3),
        )


class _OutageError(Exception):
    """Too much of a micro-batch failed in a way that may pass."""


def _check_cap(counts: BatchCounts, piece: Slice) -> None:
    """Raise StoppedAtCap where a cap left prompts unasked."""
    if unasked := counts.failed.get(CapReached.code):
        raise StoppedAtCap(
            f"{piece}: a cap left {unasked} of {counts.new} prompts unasked. Nothing of it was "
            "written; it comes again at the next start, where the answered ones cost nothing"
        )


def _gone(settings: StreamSettings, told: str) -> str:
    """Say that the topic no longer has what comes next, and what to do."""
    lines = [line.strip() for line in told.splitlines()]
    where = next((it for it in lines if "offset" in it and "artition" in it), "")
    return (
        f"topic {settings.source.name!r} no longer has messages that the stream has not read: "
        f"retention or a new topic took them. {where[:300]} Nothing was written past them. To go "
        "on with what is there, choose a new checkpoint with on_new_checkpoint: continue, or for a "
        "topic that was made anew another target, since its offsets begin again"
    )
