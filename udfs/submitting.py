"""Misses on an executor on their way to a provider's batches, and what those say on its way back.

A batch is submitted behind a file that names it and its fingerprints. Whoever is killed after that
leaves enough for the next one: the file says which prompts, the provider's list says whether.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyspark import TaskContext

from chains.completion import Question
from chains.models.endpoint.batch_format import ProviderBatch, missing, request_line
from chains.models.endpoint.kinds import KINDS
from chains.models.endpoint.model import EndpointModel
from chains.models.endpoint.provider_batches import ProviderBatches
from chains.models.endpoint.settings import EndpointSettings
from udfs.arrow import Pinned, windows
from udfs.storage import Folder

ASKED_IN = "batch string, fingerprint string"
SUBMITTED = "submitted string"
SAID = "fingerprint string, answer string"
_ROWS_A_BATCH = 1024


@dataclass(frozen=True)
class Submitting:
    """Submits the rows of a task; `folder` keeps which fingerprints are in which batch.

    Names of batches begin with `name`, which is a pass's own.
    """

    pinned: Pinned
    folder: str
    name: str

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Take batches of `variables`; give what was SUBMITTED, as `ProviderBatch.json`."""
        chain, model = self.pinned.load()
        context = TaskContext.get()
        assert context is not None
        assert isinstance(model, EndpointModel)
        settings = endpoint_settings(self.pinned)
        task = f"{self.name}-{context.partitionId():05d}"
        with ProviderBatches(settings) as provider:
            submission = Submission(
                provider, settings, Folder(self.folder), task, context.taskAttemptId()
            )
            for rows in windows(it.to_struct_array() for it in batches):
                for row in rows:
                    asked = chain.ask(row["variables"], model)
                    if isinstance(asked, Question):
                        submission.add(asked.fingerprint, model.body(asked.request))
            submitted = [it.json() for it in submission.close()]
        yield pa.RecordBatch.from_pydict({"submitted": pa.array(submitted, pa.string())})


class Submission:
    """The requests of a task, gathered into batches as large as the provider takes.

    What an earlier attempt of the task has submitted is not submitted again.
    """

    def __init__(
        self,
        provider: ProviderBatches,
        settings: EndpointSettings,
        folder: Folder,
        task: str,
        attempt: int,
    ) -> None:
        self._provider, self._settings, self._folder = provider, settings, folder
        self._name = f"{task}-{attempt:08d}"
        self._path = str(KINDS[settings.kind].batched_path)
        self._lines: dict[str, bytes] = {}
        self._bytes = 0
        left = [name for name in batch_names(folder.names()) if name.startswith(f"{task}-")]
        self._batches = provider.find(left) if left else []
        self._submitted = {
            fingerprint for it in self._batches for fingerprint in asked_in(folder, it.name)
        }

    def add(self, fingerprint: str, body: dict[str, Any]) -> None:
        """Add a request; submit those before it where it would be one too many."""
        if fingerprint in self._submitted:
            return
        line = request_line(self._path, fingerprint, body)
        full = len(self._lines) >= self._settings.batch_requests
        if self._lines and (full or self._bytes + len(line) > self._settings.batch_bytes):
            self._submit()
        self._lines[fingerprint] = line
        self._bytes += len(line)

    def close(self) -> list[ProviderBatch]:
        """Submit the rest; return all batches of the task."""
        if self._lines:
            self._submit()
        return self._batches

    def _submit(self) -> None:
        """Write who is asked, then ask: a batch without its file would be paid for twice."""
        name = f"{self._name}-{len(self._batches):04d}"
        write_asked_in(self._folder, name, list(self._lines))
        self._batches.append(self._provider.submit(name, b"".join(self._lines.values())))
        self._lines, self._bytes = {}, 0


@dataclass(frozen=True)
class Fetching:
    """Gives what batches that have ended say of each fingerprint in them."""

    pinned: Pinned
    folder: str

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Take batches of SUBMITTED; give batches of SAID, for `read_outcome`."""
        folder = Folder(self.folder)
        with ProviderBatches(endpoint_settings(self.pinned)) as provider:
            for rows in batches:
                for text in rows.column("submitted").to_pylist():
                    yield from said_in(provider, folder, ProviderBatch.of_json(text))


def said_in(
    provider: ProviderBatches, folder: Folder, batch: ProviderBatch
) -> Iterator[pa.RecordBatch]:
    """Give batches of SAID: a row for each fingerprint of a batch that has ended."""
    said = dict.fromkeys(asked_in(folder, batch.name), missing(batch))
    said |= {it: outcome for it, outcome in provider.outcomes(batch) if it in said}
    fingerprints, answers = list(said), list(said.values())
    for start in range(0, len(said), _ROWS_A_BATCH):
        some = slice(start, start + _ROWS_A_BATCH)
        yield pa.RecordBatch.from_pydict(
            {"fingerprint": fingerprints[some], "answer": answers[some]}
        )


def endpoint_settings(pinned: Pinned) -> EndpointSettings:
    """Return the settings of the endpoint behind a model."""
    return EndpointSettings(**dict(pinned.model.options))


def batch_names(files: list[str]) -> list[str]:
    """Return the batches that files of the folder are of."""
    return [it.removesuffix(".parquet") for it in files if it.endswith(".parquet")]


def asked_in(folder: Folder, batch: str) -> list[str]:
    """Return the fingerprints of a batch."""
    return list(folder.read(f"{batch}.parquet").column("fingerprint").to_pylist())


def write_asked_in(folder: Folder, batch: str, fingerprints: list[str]) -> None:
    """Write, or write again, the fingerprints of a batch."""
    table = pa.table({"batch": [batch] * len(fingerprints), "fingerprint": fingerprints})
    folder.write(f"{batch}.parquet", table)
