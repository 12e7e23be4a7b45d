"""The short way of a micro-batch: question and answer in one pass over the rows, on an executor."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from chains.answering import answer, fail
from chains.base import Chain
from chains.completion import Completion, Question
from chains.errors import CompletionError
from chains.models.base import Model
from udfs.arrow import Pinned, completion_row, windows
from udfs.known import Known


@dataclass(frozen=True)
class Straight:
    """Turns structs of variables into completions, except where a look-up has to come first.

    Equal questions of a task are asked once. A question that the ledger may know, and an input
    that is asked by its parts, are `deferred`: they come back without a completion.
    """

    pinned: Pinned
    kind: pa.DataType
    run_id: str
    known: Known

    def __call__(self, batches: Iterator[pa.Array]) -> Iterator[pa.Array]:
        """Return as many rows as there are variables, in order."""
        chain, model = self.pinned.load()
        answered: dict[str, dict[str, Any]] = {}
        for rows in windows(batches):
            asked = [chain.ask(row, model) for row in rows]
            questions = {it.fingerprint: it for it in asked if isinstance(it, Question)}
            new = [
                it
                for fingerprint, it in questions.items()
                if fingerprint not in answered and not self.known.may_know(fingerprint)
            ]
            unpaid = {}
            for question, done in zip(new, answer(chain, new, model), strict=True):
                unpaid[question.fingerprint] = self._row(done)
            answered |= unpaid
            given = [self._given(chain, model, it, answered, unpaid) for it in asked]
            yield pa.array(given, self.kind)

    def _given(
        self,
        chain: Chain,
        model: Model,
        asked: object,
        answered: Mapping[str, dict[str, Any]],
        unpaid: dict[str, dict[str, Any]],
    ) -> dict[str, Any]:
        """Return a row's completion; the first row of a question pays for it."""
        if isinstance(asked, CompletionError):
            return self._row(fail(chain, asked, model))
        if isinstance(asked, Question):
            pays = unpaid.pop(asked.fingerprint, None) is not None
            found = answered.get(asked.fingerprint)
            if found is not None:
                return found | {"cached": not pays, "pays": pays}
            return {"fingerprint": asked.fingerprint, "deferred": True, "pays": False}
        return {"deferred": True, "pays": False}

    def _row(self, completion: Completion) -> dict[str, Any]:
        row = completion_row(completion, self.run_id, typed=False)
        return row | {"deferred": False, "pays": False}
