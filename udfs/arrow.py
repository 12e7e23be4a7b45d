"""On an executor: Arrow batches of variables in, Arrow batches of questions or completions out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyspark import TaskContext

from chains.asking import prompt_tokens
from chains.base import Chain, ChainSpec
from chains.completion import Completion, Parts, Question, as_row, result_text
from chains.models.base import Model, ModelRef
from chains.models.registry import load
from chains.telemetry import Telemetry
from udfs.garbage import keep_what_is_loaded
from udfs.sidecar import placed

WINDOW_ROWS = 1024
WINDOW_BYTES = 64 << 20


@dataclass(frozen=True)
class Pinned:
    """A chain and a model, resolved once on the driver: plain data for executors.

    `telemetry` is where calls of the run are told, if anywhere.
    """

    chain: ChainSpec
    model: ModelRef
    telemetry: Telemetry | None = None

    def load(self) -> tuple[Chain, Model]:
        """Return both, as a task begins; a Python worker makes the model once."""
        if TaskContext.get() is not None:
            keep_what_is_loaded()
        return Chain.from_spec(self.chain), load(placed(self.model))


@dataclass(frozen=True)
class Asking:
    """Turns structs of variables into questions; asks no model."""

    pinned: Pinned
    kind: pa.DataType
    count_tokens: bool

    def __call__(self, batches: Iterator[pa.Array]) -> Iterator[pa.Array]:
        """Return a batch of questions for each batch of variables."""
        chain, model = self.pinned.load()
        for batch in batches:
            yield pa.array([self._row(chain, model, row) for row in batch.to_pylist()], self.kind)

    def _row(self, chain: Chain, model: Model, variables: Mapping[str, Any]) -> dict[str, Any]:
        asked = chain.ask(variables, model)
        if isinstance(asked, Question):
            tokens = prompt_tokens(model, asked) if self.count_tokens else None
            return {"fingerprint": asked.fingerprint, "input_tokens": tokens}
        if isinstance(asked, Parts):
            return {"parts": list(asked.texts)}
        error = {"code": asked.code, "message": asked.told, "retryable": asked.retryable}
        return {"error": error}


@dataclass(frozen=True)
class Answering:
    """Turns structs of variables into completions, in windows over the batches of a task.

    They have no run.
    """

    pinned: Pinned
    kind: pa.DataType

    def __call__(self, batches: Iterator[pa.Array]) -> Iterator[pa.Array]:
        """Return as many completions as there are rows, in order."""
        chain, model = self.pinned.load()
        for rows in windows(batches):
            yield pa.array([as_row(it) for it in chain.complete(rows, model)], self.kind)


def completion_row(completion: Completion, run_id: str) -> dict[str, Any]:
    """Return a completion as the ledger keeps it: its result as text."""
    row = as_row(completion) | {"run_id": run_id}
    if completion.result is not None:
        row["result"] = result_text(completion.result)
    return row


def windows(batches: Iterator[pa.Array]) -> Iterator[list[dict[str, Any]]]:
    """Gather the rows of a task's Arrow batches into lists large enough to batch well."""
    rows: list[dict[str, Any]] = []
    size = 0
    for batch in batches:
        for start in range(0, len(batch), WINDOW_ROWS):
            piece = batch.slice(start, WINDOW_ROWS)
            if rows and (len(rows) + len(piece) > WINDOW_ROWS or size > WINDOW_BYTES):
                yield rows
                rows, size = [], 0
            rows.extend(piece.to_pylist())
            size += piece.nbytes
    if rows:
        yield rows
