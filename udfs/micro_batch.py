"""The flow over the micro-batches of a stream: a short way for what is new, the long for the rest.

    micro-batch ─ question and answer in one pass ─┬─ rows
                                deferred: look up ─┘   journals, some at a time ─ ledger

A micro-batch has to be done in about a second, so it does not count, plan and look up first, as a
batch does. Workers carry a filter of what the ledger may know and ask what it cannot know; only the
other rows are looked up. Journals go to the ledger in the background, several in one commit.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, SparkSession

from udfs import flow
from udfs.commits import session_conf
from udfs.completion import straight_udf
from udfs.known import KnownFingerprints
from udfs.ledger import Ledger
from udfs.looking_up import looked_up
from udfs.slices import Slice
from udfs.straight import first_time
from udfs.straight_columns import DEFERRED, GIVEN, BatchCounts, StraightColumns
from udfs.taking import Taking
from udfs.work import Work, completed

SECONDS_BETWEEN_LOOKS = 60.0

# Adaptive execution plans again after each shuffle, as a job of its own: more than these rows need.
_AS_PLANNED = {"spark.sql.adaptive.enabled": "false"}


@dataclass(frozen=True)
class Answered:
    """A row (key, kept columns, completion) for each row of a micro-batch, and their counts."""

    rows: DataFrame
    counts: BatchCounts


class MicroBatches:
    """Answers the micro-batches of one stream.

    `stream` names what is written once for each micro-batch: it is the same over restarts, and
    another one where numbers begin again. The ledger has been opened. A context manager: at its end
    all answers are in the ledger.
    """

    def __init__(self, spark: SparkSession, ledger: Ledger, stream: str) -> None:
        self._spark, self.ledger, self.stream = spark, ledger, stream
        self._journal = ledger.journal(spark)
        self._known = KnownFingerprints(spark, ledger)
        self._taking = Taking(spark, ledger, f"{stream}/{uuid4().hex}")
        self._looked_at = -SECONDS_BETWEEN_LOOKS
        self._columns: tuple[Work, StraightColumns] | None = None

    def __enter__(self) -> "MicroBatches":
        return self

    def __exit__(self, *_: object) -> None:
        self._taking.close()

    @contextmanager
    def answered(
        self, source: DataFrame, work: Work, piece: Slice, run_id: str
    ) -> Iterator[Answered]:
        """Answer a micro-batch's rows, or a slice of them; give them, to be written in the block.

        What was answered before, by a run that was killed or in another slice, is not asked again.
        """
        self._follow_others()
        columns = self._columns_of(work, source)
        name = self._name(piece)
        with self._given(source, work, columns, name, run_id) as (rows, found):
            self._known.add(found["paid_head"].drop_null().to_pylist())
            if not pc.any(found["deferred"]).as_py():
                yield Answered(rows.select(*columns.typed), BatchCounts.of(found))
            else:
                direct = rows.where(f"not {DEFERRED}").select(*columns.typed)
                deferred = rows.where(DEFERRED)
                with self._resolved(source, deferred, found, work, run_id) as resolved:
                    together = direct.unionByName(resolved)
                    counts = BatchCounts.of(together.select(*columns.counted).toArrow())
                    yield Answered(together, counts)
        self._end(piece)

    def passed_over(self, piece: Slice) -> None:
        """End a piece that is written already; what it was answered is not asked again.

        So was what came before it of its micro-batch: one journal has all.
        """
        name = self._name(piece)
        if self._journal.exists(name):
            answers = self.ledger.lasting(self._spark, [name]).select("fingerprint")
            self._known.add(answers.toArrow()["fingerprint"].to_pylist())
        self._end(piece)

    def _name(self, piece: Slice) -> str:
        return f"{self.stream}-{piece.batch}"

    def _end(self, piece: Slice) -> None:
        """Let the ledger take the journal of a micro-batch that is done."""
        name = self._name(piece)
        if piece.is_last and self._journal.exists(name):
            self._journal.finish(name)
            self._taking.add(name)

    def _follow_others(self) -> None:
        """Read what other jobs added to the ledger, from time to time."""
        now = monotonic()
        if now - self._looked_at >= SECONDS_BETWEEN_LOOKS:
            self._looked_at = now
            self._known.refresh(self._taking.version_of_others())

    def _columns_of(self, work: Work, source: DataFrame) -> StraightColumns:
        if self._columns is None or self._columns[0] is not work:
            self._columns = (work, StraightColumns.of(work, source))
        return self._columns[1]

    @contextmanager
    def _given(
        self, source: DataFrame, work: Work, columns: StraightColumns, name: str, run_id: str
    ) -> Iterator[tuple[DataFrame, pa.Table]]:
        """Give the rows that the short way gave, and of each what the stream has to know.

        They are held by the executors; where one is lost, its rows come from the journal.
        """
        folder, comes_again = self._journal.path_of(name), self._journal.exists(name)
        ask = straight_udf(work.pinned, folder, comes_again, run_id, self._known.filter)
        spark = source.sparkSession
        tasks = spark.sparkContext.defaultParallelism
        prepared = source.select(*columns.prepared).repartition(tasks, *columns.variables)
        rows = prepared.withColumn(GIVEN, ask(columns.asked)).select(*columns.given)
        try:
            with session_conf(spark, _AS_PLANNED), first_time(spark.sparkContext):
                found = rows.persist().select(*columns.followed).toArrow()
            yield rows, found
        finally:
            rows.unpersist()

    @contextmanager
    def _resolved(
        self, source: DataFrame, deferred: DataFrame, followed: pa.Table, work: Work, run_id: str
    ) -> Iterator[DataFrame]:
        """Give the rows of what was deferred: from the ledger, or asked the long way."""
        ledger = self._taking.answers(source.sparkSession)
        with looked_up(deferred, followed, ledger) as found:
            known = completed(found.known, found.answers, work, run_id)
            if found.rest is None:
                yield known
                return
            keys = found.rest.select(*work.key).persist()
            try:
                if keys.isEmpty():
                    yield known
                    return
                rest = source.join(keys, list(work.key), "left_semi")
                with flow.run(rest, work, self.ledger, run_id) as asked:
                    yield known.unionByName(asked.rows(run_id))
            finally:
                keys.unpersist()
