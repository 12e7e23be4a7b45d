"""Several models for the same rows, in turn: each gets the rows that those before it left.

    rows ─ first model ─┬────────────────────────────── rows
                        └─ its errors ─ next model ──── rows

Each model has passes of its own, so that every call has its fingerprint and its place in the
ledger, as with one model: what goes on is decided by the errors that stand there.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import reduce
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from chains.models.base import ModelRef
from udfs.passes import Counts, Paid, Pass
from udfs.work import Work

_MODEL_NUMBER = "_flow_model_number"


class Passes:
    """The passes over the rows of a job, one for each model that was reached; a context manager.

    When its block ends, what they asked is in the ledger and nothing is persisted any more.
    `questions` has a row for each source row, with its question to the last model that it reached.
    """

    def __init__(
        self, work: Work, passes: Sequence[Pass], questions: DataFrame, held: ExitStack
    ) -> None:
        self.work, self.passes, self.questions = work, passes, questions
        self.spark = questions.sparkSession
        self._held = held

    @property
    def counts(self) -> Counts:
        """The rows as the first model has them, and the prompts of all models."""
        first, *others = (it.counts for it in self.passes)
        sums = {
            name: getattr(first, name) + sum(getattr(it, name) for it in others)
            for name in ("long", "parts", "distinct", "hits", "misses")
        }
        return replace(first, **sums)

    @property
    def paid(self) -> Paid:
        """What the calls of all models gave."""
        return reduce(Paid.__add__, (it.paid for it in self.passes))

    @property
    def paid_by_model(self) -> list[tuple[ModelRef, Paid]]:
        """What the calls of each model gave."""
        return [(it.work.pinned.model, it.paid) for it in self.passes]

    @property
    def completed_by(self) -> dict[str, int]:
        """Prompts that each model answered now."""
        return {it.work.pinned.model.name: it.paid.completed for it in self.passes}

    def rows(
        self, run_id: str, questions: DataFrame | None = None, typed: bool = True
    ) -> DataFrame:
        """Return key, kept columns and completion columns for the questions; see `Pass.rows`."""
        asked = self.questions if questions is None else questions
        if len(self.passes) == 1:
            return self.passes[0].rows(run_id, asked, typed)
        of_each = (
            it.rows(run_id, asked.where(F.col(_MODEL_NUMBER) == number), typed)
            for number, it in enumerate(self.passes)
        )
        return reduce(DataFrame.unionByName, of_each)

    def sample(self, count: int) -> list[str]:
        """Return some prompts of the misses, as text; those of the first model first."""
        prompts: list[str] = []
        for it in self.passes:
            prompts += it.sample(count - len(prompts))
        return prompts

    def __enter__(self) -> "Passes":
        return self

    def __exit__(self, *raised: Any) -> None:
        """End every pass."""
        self._held.__exit__(*raised)


def in_turn(
    source: DataFrame, work: Work, run_id: str, ask: Callable[[DataFrame, Work], Pass]
) -> Passes:
    """Ask one model after the other, as long as rows go on; `ask` makes a pass of prepared rows."""
    key = list(work.key)
    with ExitStack() as held:
        passes: list[Pass] = []
        settled: list[DataFrame] = []
        rows = source
        for number, mine in enumerate(work.in_turn()):
            current = held.enter_context(ask(mine.prepare(rows), mine))
            passes.append(current)
            stays, left = current.questions, None
            if mine.next_model_on:
                left = _left(current, run_id).persist()
                held.callback(left.unpersist)
                stays = stays.join(left, key, "left_anti")
                rows = source.join(left, key, "left_semi")
            settled.append(stays.withColumn(_MODEL_NUMBER, F.lit(number)))
            if left is None or left.isEmpty():
                break
        questions = reduce(DataFrame.unionByName, settled)
        return Passes(work, passes, questions, held.pop_all())


def _left(current: Pass, run_id: str) -> DataFrame:
    """Return the keys of the rows that go on to the next model."""
    rows = current.rows(run_id, typed=False)
    goes_on = F.col("error.code").isin(*current.work.next_model_on)
    return rows.where(goes_on).select(*current.work.key)
