"""The misses of a pass on an executor: asked, and kept in the journal answer by answer."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from chains.answering import answer
from chains.base import Chain
from chains.completion import Question
from chains.models.base import Model
from chains.models.endpoint.batch_format import read_outcome
from chains.telemetry import told
from udfs.arrow import Pinned, completion_row, windows
from udfs.latencies import bucket_of
from udfs.progress import Progress
from udfs.task_journal import Row, TaskJournal

COUNTED = "name string, number long"
LATENCY = "latency "


@dataclass(frozen=True)
class Paying:
    """Asks for the rows of a task; `folder` is the pass's journal.

    An attempt that follows another asks for nothing that the other had journalled.
    """

    pinned: Pinned
    folder: str
    run_id: str
    progress: Progress | None

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Take batches of `variables` and `paid_by`; give what was COUNTED.

        With a column `answer` (see `read_outcome`) rows were asked before, in a provider's batches.
        Counted are errors by code, `completed`, `input_tokens` and `output_tokens`, and calls by
        the bucket of their time, as LATENCY and its number.
        """
        chain, model = self.pinned.load()
        counted: Counter[str] = Counter()
        with told(self.pinned.telemetry), TaskJournal.of_this_task(self.folder) as journal:
            found = journal.found()
            counted.update(_counted(found.values()))
            for rows in windows(it.to_struct_array() for it in batches):
                for answered in self._answered(rows, found, chain, model):
                    journal.add(answered)
                    counted.update(_counted(answered))
                    if self.progress is not None:
                        self.progress.add(len(answered))
        yield pa.RecordBatch.from_pydict(
            {
                "name": pa.array(counted, pa.string()),
                "number": pa.array(counted.values(), pa.int64()),
            }
        )

    def _answered(
        self, rows: list[dict[str, Any]], found: Collection[str], chain: Chain, model: Model
    ) -> Iterator[list[Row]]:
        asked = [(chain.ask(row["variables"], model), row) for row in rows]
        new = [
            (it, row)
            for it, row in asked
            if isinstance(it, Question) and it.fingerprint not in found
        ]
        known = {it.fingerprint: read_outcome(row["answer"]) for it, row in new if "answer" in row}
        for completions in answer(chain, [it for it, _ in new], model, known):
            yield [
                completion_row(done, self.run_id) | {"paid_by": new[i][1]["paid_by"]}
                for i, done in completions
            ]


def _counted(rows: Iterable[Row]) -> Counter[str]:
    counted: Counter[str] = Counter()
    for row in rows:
        counted["completed" if row["error"] is None else row["error"]["code"]] += 1
        for tokens in ("input_tokens", "output_tokens"):
            counted[tokens] += row[tokens] or 0
        if row["latency_ms"] is not None:
            counted[f"{LATENCY}{bucket_of(row['latency_ms'])}"] += 1
    return counted
