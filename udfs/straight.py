"""The short way of a micro-batch: question and answer in one pass over the rows, on an executor."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyspark import SparkContext, TaskContext

from chains.answering import answer, fail
from chains.base import Chain
from chains.completion import Completion, Question
from chains.errors import CompletionError
from chains.models.base import Model
from chains.telemetry import told
from udfs.arrow import Pinned, completion_row, windows
from udfs.known import Known
from udfs.task_journal import Row, TaskJournal, may_pass

Asked = tuple[object, str]
_FIRST_TIME = "gristmill.first_time"


@contextmanager
def first_time(context: SparkContext) -> Iterator[None]:
    """Tell the tasks of jobs in the block that nobody has computed their rows before.

    They need no look at each other's answers then. A job after it may compute the rows that a lost
    executor held, and in tasks of its own: one may compute what several had asked.
    """
    context.setLocalProperty(_FIRST_TIME, "true")
    try:
        yield
    finally:
        context.setLocalProperty(_FIRST_TIME, "")


def is_first_time() -> bool:
    """Whether the Spark task of this process is in such a block."""
    context = TaskContext.get()
    assert context is not None
    return bool(context.getLocalProperty(_FIRST_TIME))


@dataclass(frozen=True)
class Straight:
    """Turns rows of `variables` and `key` into completions, unless a look-up has to come first.

    Equal questions of a task are asked once, and what the micro-batch's journal has is not asked
    again: of this task, which may be tried again, and of all tasks where the micro-batch
    `comes_again` or its rows are not computed for the `first_time`. A question that the ledger may
    know, and an input that is asked by its parts, are `deferred`: they come back without a
    completion. A row that is null is not asked. `kind` is the struct of what is returned.
    """

    pinned: Pinned
    kind: pa.StructType
    folder: str
    comes_again: bool
    run_id: str
    known: Known

    def __call__(self, batches: Iterator[pa.Array]) -> Iterator[pa.Array]:
        """Return as many rows as there are variables, in order."""
        chain, model = self.pinned.load()
        with told(self.pinned.telemetry), TaskJournal.of_this_task(self.folder) as journal:
            answered = self._answered(journal)
            for rows in windows(batches):
                asked = [
                    (chain.ask(row["variables"], model), row["key"]) if row else (None, "")
                    for row in rows
                ]
                for paid in self._paid(asked, answered, chain, model):
                    journal.add(paid)
                    answered |= {str(row["fingerprint"]): row for row in paid}
                given = [self._given(chain, model, it, key, answered) for it, key in asked]
                yield pa.array(given, self.kind)

    def _answered(self, journal: TaskJournal) -> dict[str, Row]:
        """Return what is not asked again, by fingerprint.

        Rows that are computed again get what they got, be it an error that may pass: the target may
        be written without them, and dead letters that lack them too would lose them. What the
        ledger may know was deferred, and is again.
        """
        if is_first_time():
            return journal.found(all_tasks=self.comes_again)
        found = journal.found(all_tasks=True, passing=True)
        return {
            it: row for it, row in found.items() if not (may_pass(row) and self.known.may_know(it))
        }

    def _paid(
        self, asked: Sequence[Asked], answered: Collection[str], chain: Chain, model: Model
    ) -> Iterator[list[Row]]:
        """Ask what is new; the first row of a question pays for it."""
        new: dict[str, tuple[Question, str]] = {}
        for it, key in asked:
            if isinstance(it, Question) and it.fingerprint not in answered:
                new.setdefault(it.fingerprint, (it, key))
        new = {it: pair for it, pair in new.items() if not self.known.may_know(it)}
        questions, payers = [it for it, _ in new.values()], [key for _, key in new.values()]
        for completions in answer(chain, questions, model):
            yield [self._row(done) | {"paid_by": payers[i]} for i, done in completions]

    def _given(
        self, chain: Chain, model: Model, asked: object, key: str, answered: Mapping[str, Row]
    ) -> Row:
        if isinstance(asked, CompletionError):
            return self._row(fail(chain, asked, model)) | {"deferred": False}
        if not isinstance(asked, Question):
            return {"deferred": True}
        found = answered.get(asked.fingerprint)
        if found is None:
            return {"fingerprint": asked.fingerprint, "deferred": True}
        return {**found, "cached": found["paid_by"] != key, "deferred": False}

    def _row(self, completion: Completion) -> dict[str, Any]:
        return completion_row(completion, self.run_id)
