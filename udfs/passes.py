"""One pass of the flow: what rows ask, what the ledger knows, the misses, and what rows get."""

from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from functools import cached_property, partial, reduce
from operator import or_
from types import TracebackType
from uuid import uuid4

import numpy as np
from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from chains.answering import too_many_rounds
from chains.errors import EmptyInput, TableError
from chains.models.endpoint.settings import asks_in_batches
from chains.templates import as_text
from udfs.background import in_background
from udfs.budget import UNLIMITED, Budget, Spending
from udfs.claims import MOST_QUESTIONS
from udfs.columns import ledger_type
from udfs.completion import pay, question_udf
from udfs.heads import heads_of
from udfs.latencies import Latencies
from udfs.layout import (
    SHARES,
    WORTH_SHARING,
    beginning,
    in_tasks_of_alike_lengths,
    in_tasks_of_as_many_rows,
    in_tasks_of_like_beginnings,
    length,
    repeated_bytes,
)
from udfs.ledger import Ledger, answers_to, newest
from udfs.paying import LATENCY
from udfs.progress import Progress
from udfs.submitted import Submitted
from udfs.task_size import TaskSize
from udfs.work import PART_ERROR, Work, completed, error_column, key_json

_TOTALS = ("completed", "input_tokens", "output_tokens")


@dataclass(frozen=True)
class Counts:
    """Rows and prompts before the model is asked; `input_tokens` of the misses, where counted.

    `long` rows are asked in `parts` first; what they ask after that is not known before. `lengths`
    part the misses, by bytes, into LENGTH_CLASSES of about the same number. Of the `text_bytes` of
    their variables, `repeated_bytes` begin a prompt, behind the template's own text, as they begin
    another one (an estimate).
    """

    rows: int
    keys: int
    skipped: int
    failed: int
    long: int
    parts: int
    distinct: int
    hits: int
    misses: int
    input_tokens: int | None
    lengths: list[int] | None
    text_bytes: int = 0
    repeated_bytes: int = 0


@dataclass(frozen=True)
class Paid:
    """What calls gave: prompts answered, tokens as the model said, errors by code, times."""

    completed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)
    latencies: Latencies = field(default_factory=dict)

    @classmethod
    def of(cls, counted: Mapping[str, int]) -> "Paid":
        """Read what `udfs.paying` counted."""
        totals = {name: counted.get(name, 0) for name in _TOTALS}
        timed = {name for name in counted if name.startswith(LATENCY)}
        return cls(
            **totals,
            errors={it: n for it, n in counted.items() if it not in timed.union(_TOTALS)},
            latencies={int(it.removeprefix(LATENCY)): counted[it] for it in timed},
        )

    def __add__(self, other: "Paid") -> "Paid":
        return Paid(
            self.completed + other.completed,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            dict(Counter(self.errors) + Counter(other.errors)),
            dict(Counter(self.latencies) + Counter(other.latencies)),
        )


Watch = Callable[[int], AbstractContextManager[Progress | None]]


def unwatched(prompts: int) -> AbstractContextManager[Progress | None]:
    """Watch nothing: what `Pass.complete` calls with the number of prompts that it asks."""
    return nullcontext()


class Pass:
    """One pass over prepared rows (`Work.prepare`); a context manager.

    When its block ends, what it asked is in the ledger and nothing is persisted any more.
    `questions` has a row for each source row (key, kept columns, fingerprint or error), `prompts`
    a row for each distinct fingerprint (the key of the row that pays for it, and whether the
    ledger knows it). No text of a document stays in them. In the `last` round an input that is
    still too long becomes an error.
    """

    def __init__(
        self,
        source: DataFrame,
        work: Work,
        ledger: Ledger,
        *,
        last: bool = False,
        count_tokens: bool = False,
        budget: Budget = UNLIMITED,
    ) -> None:
        self.source, self.work, self.ledger = source, work, ledger
        self.spark: SparkSession = source.sparkSession
        self.paid = Paid()
        self.budget = budget
        self._looked_at = ledger.table.version(self.spark)
        self._ledger_rows = ledger.rows(self.spark, self._looked_at)
        self._journal: str | None = None
        self._taking: Future[None] | None = None
        self._submitted: Submitted | None = None
        self._begins = [F.col("_flow_begins")] if beginning(work.chain) else []
        self.questions = self._ask(last, count_tokens or budget.needs_tokens).persist(
            StorageLevel.MEMORY_AND_DISK
        )
        self.prompts = self._distinct().persist(StorageLevel.MEMORY_AND_DISK)
        self._asked = self.prompts.where(~F.col("known"))

    @cached_property
    def counts(self) -> Counts:
        """What a run would do. Renders every row; asks no model.

        Raises TableError where a key is null or names more than one row.
        """
        skipped = F.col("error.code") == EmptyInput.code
        rows = self.questions.agg(
            F.count("*").alias("rows"),
            F.count_distinct(*self.work.key).alias("keys"),
            F.count_if(skipped).alias("skipped"),
            F.count_if(F.col("error").isNotNull() & ~skipped).alias("failed"),
            F.count("_flow_parts").alias("long"),
            F.coalesce(F.sum(F.size("_flow_parts")), F.lit(0)).alias("parts"),
        ).first()
        missed = partial(F.when, ~F.col("known"))
        prompts = self.prompts.agg(
            F.count("*").alias("distinct"),
            F.count_if("known").alias("hits"),
            F.count_if(~F.col("known")).alias("misses"),
            F.sum(missed(F.col("input_tokens"))).alias("input_tokens"),
            F.percentile_approx(missed(F.col("_flow_length")), SHARES).alias("lengths"),
            F.coalesce(F.sum(missed(F.col("_flow_length"))), F.lit(0)).alias("text_bytes"),
            *(repeated_bytes(missed(it)).alias("repeated_bytes") for it in self._begins),
        ).first()
        assert rows is not None
        assert prompts is not None
        counts = Counts(**rows.asDict(), **prompts.asDict())
        if counts.keys < counts.rows:
            raise self._broken_keys()
        return counts

    def sample(self, count: int) -> list[str]:
        """Return some prompts of the misses, as text; renders them on the driver."""
        if count == 0 or self.counts.misses == 0:
            return []
        payers = self._asked.limit(count).select("payer.*")
        rows = self.source.join(payers, list(self.work.key))
        given = rows.select(self.work.variables().alias("variables")).toArrow()
        render = self.work.chain.template.render  # by Arrow, as executors get the variables
        return [as_text(render(row["variables"])) for row in given.to_pylist()]

    def complete(self, run_id: str, watch: Watch = unwatched) -> bool:
        """Ask the model for the misses, each once: into the journal, then into the ledger.

        What is in the journal is safe, so the ledger takes it while the caller goes on. Misses
        that the budget does not hold are not asked. Where another run is asking some of them, or
        has answered some since the ledger was looked at, nothing is asked: that run's end is waited
        for, and False returned.
        """
        asked = self._affordable()
        if asked.prompts == 0:
            return True
        self.budget.ask(asked)
        journal, name = self.ledger.journal(self.spark), f"{run_id}-{uuid4().hex[:8]}"
        with ExitStack() as alive:
            alive.enter_context(journal.alive(name))
            before = journal.claims.make(name, self._asker(), self._claimed(asked.prompts))
            if self.work.reuse and (before or self._is_answered_meanwhile()):
                alive.close()
                journal.drop(name)
                journal.claims.wait(before)
                return False
            with watch(asked.prompts) as progress, journal.written(name):
                self.paid += self._pay(journal.path_of(name), run_id, progress)
            self._journal = name
            self._taking = in_background(partial(self._take, name, alive.pop_all()))
        return True

    def _take(self, name: str, alive: ExitStack) -> None:
        with alive:
            self.ledger.take(self.spark, name)

    def rows(
        self, run_id: str, questions: DataFrame | None = None, typed: bool = True
    ) -> DataFrame:
        """Return key, kept columns and completion columns for the questions (default: all).

        Every question has exactly one row. With `typed`, `result` has the type of the response
        schema, otherwise it is text.
        """
        asked = self.questions if questions is None else questions
        return completed(asked, self._answers(asked), self.work, run_id, typed)

    def __enter__(self) -> "Pass":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give back what was persisted; forget the journal once the ledger has taken it."""
        self._asked.unpersist()
        self.prompts.unpersist()
        self.questions.unpersist()
        if self._journal is None or self._taking is None:
            return
        failure = self._taking.exception()
        if failure is None:
            self.ledger.journal(self.spark).drop(self._journal)
            if self._submitted is not None:
                self._submitted.settle()
        elif error is None:
            raise failure

    # -- questions

    def _ask(self, last: bool, count_tokens: bool) -> DataFrame:
        ask = question_udf(self.work.pinned, count_tokens)
        chain, of_row = self.work.chain, [*self.work.key, *self.work.keep]
        asked = self.source.select(
            *of_row,
            length(chain).alias("_flow_length"),
            *beginning(chain),
            PART_ERROR,
            ask(self.work.variables()).alias("_flow_question"),
        )
        asks = F.col(PART_ERROR).isNull()
        parts = F.when(asks, F.col("_flow_question.parts"))
        too_long = F.when(parts.isNotNull() & F.lit(last), error_column(too_many_rounds()))
        return asked.select(
            *of_row,
            "_flow_length",
            *self._begins,
            F.when(asks, F.col("_flow_question.fingerprint")).alias("fingerprint"),
            F.coalesce(PART_ERROR, "_flow_question.error", too_long).alias("error"),
            F.when(~F.lit(last), parts).alias("_flow_parts"),
            F.col("_flow_question.input_tokens").alias("input_tokens"),
        )

    def _broken_keys(self) -> TableError:
        key = list(self.work.key)
        rows = self.questions.groupBy(*key).agg(F.count("*").alias("_flow_rows"))
        is_null = reduce(or_, (F.col(column).isNull() for column in key))
        broken = rows.where((F.col("_flow_rows") > 1) | is_null).limit(3).collect()
        found = "; ".join(f"{[it[k] for k in key]!r:.80} {it['_flow_rows']} times" for it in broken)
        return TableError(
            f"table {self.work.source}, key {key}: expected each key once and not null, found "
            f"{found}. Set source.key to columns that name a row, or source.duplicates to last"
        )

    def _distinct(self) -> DataFrame:
        asked = self.questions.where("fingerprint is not null")
        prompts = asked.groupBy("fingerprint").agg(
            F.min(F.struct(*self.work.key)).alias("payer"),
            F.first("_flow_length").alias("_flow_length"),
            *(F.first(it).alias("_flow_begins") for it in self._begins),
            F.first("input_tokens").alias("input_tokens"),
        )
        if not self.work.reuse or self._ledger_rows is None:
            return prompts.withColumn("known", F.lit(False))
        known = answers_to(asked, self._ledger_rows).select("fingerprint").distinct()
        joined = prompts.join(known.withColumn("known", F.lit(True)), "fingerprint", "left")
        return joined.withColumn("known", F.coalesce("known", F.lit(False)))

    # -- misses

    def _affordable(self) -> Spending:
        """Return what is to be asked, and leave the other misses out of `_asked`."""
        counts, answer = self.counts, self.work.chain.parameters.max_output_tokens
        most = self.budget.spending(counts.misses, counts.input_tokens or 0, answer)
        if self.budget.holds(most):
            return most
        self._asked = self.budget.fitting(self._asked, answer).persist()
        fits = self._asked.agg(F.count("*"), F.coalesce(F.sum("input_tokens"), F.lit(0))).first()
        assert fits is not None
        return self.budget.spending(fits[0], fits[1], answer)

    def _is_answered_meanwhile(self) -> bool:
        """Whether the ledger has got an answer that would be asked for again."""
        version = self.ledger.table.version(self.spark)
        rows = self.ledger.rows(self.spark, version) if version > self._looked_at else None
        return rows is not None and not answers_to(self._asked, rows).isEmpty()

    def _asker(self) -> str:
        """Return what names chain and model; the questions of others are never the same."""
        chain = self.work.chain
        return f"{chain.ref} {chain.template.ref} {self.work.pinned.model.digest}"

    def _claimed(self, prompts: int) -> np.ndarray | None:
        return heads_of(self._asked) if prompts <= MOST_QUESTIONS else None

    def _pay(self, journal: str, run_id: str, progress: Progress | None) -> Paid:
        pinned = self.work.pinned
        if asks_in_batches(pinned.model):
            return Paid.of(pay(self._submit(progress), pinned, journal, run_id, progress=None))
        misses = self._misses().select(*self._to_pay())
        return Paid.of(pay(misses, pinned, journal, run_id, progress))

    def _submit(self, progress: Progress | None) -> DataFrame:
        """Return the rows that pay, each with what a provider's batch answers to it."""
        payers = self._asked.select("payer.*", "fingerprint")
        rows = self.source.join(payers, list(self.work.key)).select(*self._to_pay(), "fingerprint")
        self._submitted = Submitted(self.spark, self.work.pinned, self.ledger.batches(self.spark))
        answers = self._submitted.answers(self._asked, rows, self.counts.misses, progress)
        # Spark takes answers for a small table, which they are not, and would broadcast them.
        return rows.join(answers.hint("merge"), "fingerprint", "left")

    def _to_pay(self) -> list[Column]:
        variables = self.work.variables().alias("variables")
        return [variables, key_json(self.work.key).alias("paid_by")]

    def _misses(self) -> DataFrame:
        """Return the source rows that pay, laid out in tasks (see udfs/layout.py)."""
        counts, size = self.counts, TaskSize.of(self.work.pinned.model.kind)
        rounds = size.rounds(counts.misses, self.spark.sparkContext.defaultParallelism)
        tasks = sum(it.tasks for it in rounds)
        payers = self._asked.select("payer.*", "_flow_length", *self._begins)
        order = [F.desc("_flow_length")]
        if counts.repeated_bytes > WORTH_SHARING * counts.text_bytes:
            laid_out = in_tasks_of_like_beginnings(payers, tasks)
            order = [*self._begins, *order]
        elif size.by_length:
            bounds = counts.lengths or []
            work = size.work(bounds, counts.misses, counts.text_bytes)
            laid_out = in_tasks_of_alike_lengths(payers, bounds, work, rounds)
        else:
            laid_out = in_tasks_of_as_many_rows(payers, tasks)
        rows = self.source.join(laid_out, list(self.work.key))
        return rows.repartitionById(tasks, F.col("_flow_task")).sortWithinPartitions(*order)

    # -- rows

    def _answers(self, asked: DataFrame) -> DataFrame:
        """Return a row for each answered fingerprint: from the ledger as it was, or the journal."""
        found = self._journalled()
        if self._ledger_rows is None or (self._journal and self.counts.hits == 0):
            return found
        return newest(answers_to(asked, self._ledger_rows)).unionByName(found)

    def _journalled(self) -> DataFrame:
        if self._journal is None:
            return self.spark.createDataFrame([], ledger_type())
        return self.ledger.journalled(self.spark, self._journal)
