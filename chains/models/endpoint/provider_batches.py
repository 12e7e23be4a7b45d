"""The batch API of a provider: requests in files, answered within a day at a lower price."""

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import quote, urlencode

from tenacity import Retrying, retry_if_exception_type

from chains.errors import (
    CompletionError,
    ConnectionBroken,
    NotFound,
    ServerError,
    TimedOut,
    TransientError,
)
from chains.models.endpoint.batch_format import NAME, ProviderBatch, read_line
from chains.models.endpoint.kinds import KINDS
from chains.models.endpoint.limiter import FixedLimit
from chains.models.endpoint.loop_thread import LoopThread
from chains.models.endpoint.model import open_client, resolve_credential
from chains.models.endpoint.patience import Patience
from chains.models.endpoint.settings import EndpointSettings

if TYPE_CHECKING:
    from chains.models.endpoint.client import ChatClient

LOG = logging.getLogger("gristmill")
_SECONDS_FOR_A_FILE = 600.0
_SECONDS_BETWEEN_LOOKS_AT_A_FILE = 2.0
_PAGE = 100
_COMPLETION_WINDOW = "24h"
_MAY_HAVE_LANDED = (ServerError, TimedOut, ConnectionBroken)

Result = TypeVar("Result")


class ProviderBatches:
    """The batches of an endpoint's account; a context manager.

    Methods raise CompletionError where the provider gives no answer, after all attempts.
    """

    def __init__(self, settings: EndpointSettings) -> None:
        self._settings = settings
        patient = max(settings.timeout_seconds, _SECONDS_FOR_A_FILE)
        self._connection: LoopThread[ChatClient] = LoopThread(
            partial(
                open_client,
                settings.model_copy(update={"timeout_seconds": patient}),
                resolve_credential(settings.credential),
                FixedLimit(1),
            )
        )
        self._client = self._connection.held
        self._run = self._connection.run
        self._patience = Patience(settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def submit(self, name: str, requests: bytes) -> ProviderBatch:
        """Have lines of requests answered, once.

        Where the provider's word got lost, its list tells whether it has a batch of that name.
        Raises nothing: a batch that was refused has failed, one that may be there is `unknown`.
        """
        uncertain = False

        def create() -> ProviderBatch:
            nonlocal uncertain
            if uncertain and (found := self._find([name])):
                return found[0]
            try:
                return self._create(name, file)
            except _MAY_HAVE_LANDED:
                uncertain = True
                raise

        try:
            file = self._upload(f"{name}.jsonl", requests)
            return self._retried(create)
        except CompletionError as error:
            status = "unknown" if uncertain else "failed"
            return ProviderBatch(name, "", status, reason=f"not submitted: {error}")

    def find(self, names: Collection[str]) -> list[ProviderBatch]:
        """Return those of the named batches that the provider has."""
        return self._retried(lambda: self._find(names))

    def look(self, batch: ProviderBatch) -> ProviderBatch:
        """Return the batch as it is now."""
        return ProviderBatch.of(self._get(f"/batches/{quote(batch.id, safe='')}"))

    def outcomes(self, batch: ProviderBatch) -> Iterator[tuple[str, str]]:
        """Give fingerprint and outcome of each request in the batch's files, see `read_line`.

        A file that the provider has no more is left out.
        """
        for file in batch.files:
            try:
                content = self._download(f"/files/{quote(file, safe='')}/content")
            except NotFound:
                continue
            for line in content.splitlines():
                if (read := read_line(line, batch)) is not None:
                    yield read

    def _upload(self, name: str, requests: bytes) -> str:
        """Return the id of a new file; Azure makes batches only of files that it has looked at."""
        path = self._path("/files")
        file = self._retried(lambda: self._run(self._client.upload(path, "batch", name, requests)))
        deadline = time.monotonic() + _SECONDS_FOR_A_FILE
        while _said(file, "status") in ("pending", "running") and time.monotonic() < deadline:
            time.sleep(min(_SECONDS_BETWEEN_LOOKS_AT_A_FILE, self._settings.batch_poll_seconds))
            file = self._get(f"/files/{quote(_said(file, 'id'), safe='')}")
        return _said(file, "id")

    def _create(self, name: str, file: str) -> ProviderBatch:
        body = {
            "input_file_id": file,
            "endpoint": KINDS[self._settings.kind].batched_path,
            "completion_window": _COMPLETION_WINDOW,
            "metadata": {NAME: name},
        }
        return ProviderBatch.of(self._run(self._client.post(self._path("/batches"), body)))

    def _find(self, names: Collection[str]) -> list[ProviderBatch]:
        """Read the provider's list until all are found, or to its end.

        One that does not know `after` gives the same page again: that is its end too.
        """
        found: dict[str, ProviderBatch] = {}
        after: dict[str, str] = {}
        while found.keys() < set(names):
            page = self._run(self._client.get(self._path("/batches", limit=_PAGE, **after)))
            batches = _listed(page)
            found |= {it.name: it for it in batches if it.name in names}
            if not batches or not page.get("has_more") or batches[-1].id == after.get("after"):
                break
            after = {"after": batches[-1].id}
        return list(found.values())

    def _get(self, path: str) -> Any:
        return self._retried(lambda: self._run(self._client.get(self._path(path))))

    def _download(self, path: str) -> bytes:
        return self._retried(lambda: self._run(self._client.download(self._path(path))))

    def _path(self, path: str, **query: str | int) -> str:
        version = self._settings.api_version
        asked = query if version is None else {**query, "api-version": version}
        return f"{path}?{urlencode(asked)}" if asked else path

    def _retried(self, call: Callable[[], Result]) -> Result:
        retrying = Retrying(
            retry=retry_if_exception_type(TransientError),
            wait=self._patience.wait,
            stop=self._patience.gives_up,
            reraise=True,
        )
        return retrying(call)


def wait(
    settings: EndpointSettings, batches: Sequence[ProviderBatch], tell: Callable[[int], None]
) -> list[ProviderBatch]:
    """Return the batches when all have ended, or `batch_wait_seconds` have passed.

    `tell` gets the number of requests done since it was last called. The credential is resolved
    before every look, for it may be renewed meanwhile; one that is rejected ends the waiting.
    """
    deadline = time.monotonic() + settings.batch_wait_seconds
    now, told = list(batches), 0
    while True:
        if (done := sum(it.done for it in now)) > told:
            tell(done - told)
            told = done
        left = deadline - time.monotonic()
        if left <= 0 or not any(it.is_open for it in now):
            return now
        time.sleep(min(settings.batch_poll_seconds, left))
        try:
            with ProviderBatches(settings) as provider:
                now = [provider.look(it) if it.is_open else it for it in now]
        except TransientError as error:
            LOG.info("the provider's batches could not be looked at: %s", error)
        except CompletionError as error:
            LOG.warning("the provider's batches are not waited for: %s", error.told)
            return now


def _listed(page: Any) -> list[ProviderBatch]:
    if isinstance(page, Mapping) and isinstance(page.get("data"), list):
        return [ProviderBatch.of(it) for it in page["data"]]
    raise ServerError("status 200 without a list of batches")


def _said(file: Any, key: str) -> str:
    if isinstance(file, Mapping) and isinstance(file.get(key), str):
        return str(file[key])
    raise ServerError("status 200 without a file")
