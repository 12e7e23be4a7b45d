"""The flow over the micro-batches of a stream: a short way for what is new, the long for the rest.

    micro-batch ─ question and answer in one pass ─ journal ─┬─ rows
                                          deferred: look up ─┘   journals, some at a time ─ ledger

A micro-batch has to be done in about a second, so it does not count, plan and look up first, as a
batch does. Workers carry a filter of what the ledger may know and ask what it cannot know; only the
other rows are looked up. Journals go to the ledger in the background, several in one commit.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any
from uuid import uuid4

from pyspark.sql import Column, DataFrame, Observation, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from chains.errors import EmptyInput, error_codes
from udfs import flow
from udfs.columns import completion_type
from udfs.completion import straight_udf
from udfs.known import KnownFingerprints
from udfs.ledger import Ledger, answers_to, newest
from udfs.taking import Taking
from udfs.work import (
    PART_ERROR,
    Work,
    completed,
    key_json,
    part_error,
    typed_result,
    variable,
)

MESSAGE = "message"
TIME = "kafka_timestamp"
SECONDS_BETWEEN_LOOKS = 60.0
_JOURNALLED = [
    *completion_type(T.StringType()).fields,
    T.StructField("paid_by", T.StringType()),
    T.StructField("deferred", T.BooleanType()),
]


@dataclass(frozen=True)
class BatchCounts:
    """A micro-batch in numbers: `new` rows were paid for, `cached` ones cost nothing.

    `errors` are rows without an answer by code, `skipped` ones apart; `model_ms` is the sum of the
    calls' times; `newest` is the time of its newest row in seconds since 1970, where rows have one.
    """

    rows: int
    new: int
    cached: int
    skipped: int
    errors: Mapping[str, int]
    input_tokens: int
    output_tokens: int
    model_ms: float
    newest: float | None

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> "BatchCounts":
        """Read what `_counting` counted."""
        errors = {it: found[it] for it in error_codes() if found[it] and it != EmptyInput.code}
        totals = {name: found[name] or 0 for name in ("input_tokens", "output_tokens", "model_ms")}
        rows = {name: found[name] for name in ("rows", "new", "cached")}
        skipped, newest = found[EmptyInput.code], found["newest"]
        return cls(skipped=skipped, errors=errors, newest=newest, **rows, **totals)


@dataclass(frozen=True)
class Answered:
    """A row (key, kept columns, completion) for each row of a micro-batch, and their counts."""

    rows: DataFrame
    counts: BatchCounts


class MicroBatches:
    """Answers the micro-batches of one stream.

    `stream` names what is written once for each micro-batch: it is the same over restarts, and
    another one where numbers begin again. A context manager: at its end all answers are in the
    ledger.
    """

    def __init__(self, spark: SparkSession, ledger: Ledger, stream: str) -> None:
        self.ledger, self.stream = ledger, stream
        self._known = KnownFingerprints(spark, ledger)
        self._taking = Taking(spark, ledger, f"{stream}/{uuid4().hex}")
        self._looked_at = -SECONDS_BETWEEN_LOOKS

    def __enter__(self) -> "MicroBatches":
        return self

    def __exit__(self, *_: object) -> None:
        self._taking.close()

    @contextmanager
    def answered(
        self, source: DataFrame, work: Work, number: int, run_id: str
    ) -> Iterator[Answered]:
        """Answer the source's rows; give them, to be written in the block.

        A number that was answered before, by a run that was killed, asks nothing again.
        """
        self._follow_others()
        rows, found = self._journalled(source, work, number, run_id)
        self._known.add(found["fingerprints"])
        direct = _typed(rows.where(~F.col("deferred")), work)
        if found["deferred"] == 0:
            yield Answered(direct, BatchCounts.of(found))
        else:
            with self._resolved(source, rows.where("deferred"), work, run_id) as resolved:
                all_rows = direct.unionByName(resolved)
                yield Answered(all_rows, BatchCounts.of(_first(all_rows.agg(*_counting(work)))))
        self._taking.add(self._name(number))

    def forget(self, spark: SparkSession, number: int) -> None:
        """Let a micro-batch be answered anew; what was paid for goes to the ledger first."""
        name = self._name(number)
        self.ledger.take_all(spark, [name], f"{name}/{uuid4().hex}")
        self.ledger.journal(spark).drop(spark, name)

    def _follow_others(self) -> None:
        """Read what other jobs added to the ledger, from time to time."""
        now = monotonic()
        if now - self._looked_at >= SECONDS_BETWEEN_LOOKS:
            self._looked_at = now
            self._known.refresh(self._taking.version_of_others())

    def _journalled(
        self, source: DataFrame, work: Work, number: int, run_id: str
    ) -> tuple[DataFrame, Mapping[str, Any]]:
        """Return the rows that the short way gave, and what was counted of them."""
        spark, name = source.sparkSession, self._name(number)
        journal = self.ledger.journal(spark)
        counting = [
            *_counting(work),
            F.count_if("deferred").alias("deferred"),
            F.collect_list(F.when(F.col("paid_by").isNotNull(), F.col("fingerprint"))).alias(
                "fingerprints"
            ),
        ]
        of_row = [source.schema[name] for name in (*work.key, *work.keep)]
        schema = T.StructType([*of_row, *_JOURNALLED])
        if journal.is_whole(spark, name):
            rows = journal.read(spark, name, schema=schema)
            return rows, _first(rows.agg(*counting))
        observed = Observation()
        straight = self._straight(work.prepare(source), work, run_id)
        journal.write(name, straight.observe(observed, *counting))
        return journal.read(spark, name, schema=schema), observed.get

    def _straight(self, prepared: DataFrame, work: Work, run_id: str) -> DataFrame:
        """Return the micro-batch as it is journalled; equal questions meet in one task."""
        ask = straight_udf(work.pinned, run_id, self._known.filter)
        variables = [variable(name) for name in work.chain.template.variables]
        tasks = prepared.sparkSession.sparkContext.defaultParallelism
        spread = prepared.withColumn(PART_ERROR, part_error(prepared)).repartition(
            tasks, *variables
        )
        asked = spread.withColumn("given", ask(work.variables()))
        error = F.coalesce(PART_ERROR, "given.error")
        given = {
            "error": error,
            "paid_by": F.when(F.col("given.pays"), key_json(work.key)),
            "deferred": F.col("given.deferred") & F.col(PART_ERROR).isNull(),
        }
        needs_message = error.isNotNull() | F.col("given.deferred")
        of_row = {it: F.col(it) for it in (*work.key, *work.keep)}
        if MESSAGE in of_row:
            of_row[MESSAGE] = F.when(needs_message, F.col(MESSAGE))
        names = [field.name for field in _JOURNALLED]
        return asked.select(
            *(column.alias(name) for name, column in of_row.items()),
            *(given.get(name, F.col(f"given.{name}")).alias(name) for name in names),
        )

    @contextmanager
    def _resolved(
        self, source: DataFrame, deferred: DataFrame, work: Work, run_id: str
    ) -> Iterator[DataFrame]:
        """Give the rows of what was deferred: from the ledger, or asked the long way."""
        answers = self._taking.answers(source.sparkSession)
        hits = newest(answers_to(deferred, answers)).persist()
        found = deferred.join(hits.select("fingerprint"), "fingerprint", "left_semi")
        rest = deferred.join(hits.select("fingerprint"), "fingerprint", "left_anti")
        keys = rest.select(*work.key).persist()
        looked_up = completed(found, hits, work, run_id)
        try:
            if keys.isEmpty():
                yield looked_up
                return
            with flow.run(
                source.join(keys, list(work.key), "left_semi"), work, self.ledger, run_id
            ) as asked:
                yield looked_up.unionByName(asked.rows(run_id))
        finally:
            hits.unpersist()
            keys.unpersist()

    def _name(self, number: int) -> str:
        return f"{self.stream}-{number}"


def _typed(journalled: DataFrame, work: Work) -> DataFrame:
    """Return journalled rows as rows of a target."""
    names = [*work.key, *work.keep, *completion_type(T.StringType()).fieldNames()]
    return journalled.select(
        *(typed_result(work).alias(it) if it == "result" else F.col(it) for it in names)
    )


def _counting(work: Work) -> list[Column]:
    code = F.col("error.code")
    paid = F.col("fingerprint").isNotNull() & ~F.col("cached")
    sums = {"input_tokens": "input_tokens", "output_tokens": "output_tokens"}
    sums["model_ms"] = "latency_ms"
    newest = F.max(TIME) if TIME in work.keep else F.lit(None)
    return [
        newest.cast("double").alias("newest"),
        F.count("*").alias("rows"),
        F.count_if(paid).alias("new"),
        F.count_if("cached").alias("cached"),
        *(F.sum(F.when(paid, F.col(column))).alias(name) for name, column in sums.items()),
        *(F.count_if(code == it).alias(it) for it in error_codes()),
    ]


def _first(rows: DataFrame) -> dict[str, Any]:
    found = rows.first()
    assert found is not None
    return found.asDict()
