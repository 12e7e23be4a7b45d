"""Models behind an endpoint that speaks the OpenAI API."""

import asyncio
import math
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
)

from chains.errors import (
    CompletionError,
    ConnectionBroken,
    CredentialRejected,
    ModelCrashed,
    NoCredit,
    NotFound,
    RateLimited,
    ServerError,
    SettingsError,
    TimedOut,
    TransientError,
    Unsupported,
)
from chains.models.base import (
    Answer,
    Message,
    ModelRef,
    Outcome,
    Outcomes,
    Request,
    Usage,
    in_order,
)
from chains.models.endpoint.circuit import Circuit
from chains.models.endpoint.handover import Handover
from chains.models.endpoint.kinds import chat_path, credential_headers
from chains.models.endpoint.latency import pace_of
from chains.models.endpoint.limiter import AdaptiveLimit, FixedLimit, Limit, Signal
from chains.models.endpoint.loop_thread import LoopThread
from chains.models.endpoint.patience import Patience, failure, said_by_server
from chains.models.endpoint.quota import NOTHING, UNLIMITED, Lease, Quota
from chains.models.endpoint.quota_client import QuotaClient
from chains.models.endpoint.rejection import Rejection
from chains.models.endpoint.settings import EndpointSettings, is_loopback
from chains.models.endpoint.slots import Slots
from chains.secrets import resolve_secret
from chains.telemetry import Asked, begin
from chains.text import clean_text

if TYPE_CHECKING:
    from chains.models.endpoint.client import ChatClient

Keep = Callable[[Outcome], Awaitable[None]]

_CHARACTERS_PER_TOKEN = 4
_TOKENS_AROUND_MESSAGE = 4
_SIGNALS: dict[type[CompletionError], Signal] = {
    RateLimited: "refused",
    NoCredit: "refused",
    ServerError: "failed",
    TimedOut: "failed",
    ConnectionBroken: "failed",
    NotFound: "failed",
    Unsupported: "failed",
}
_PERHAPS_PAID = (TimedOut, ConnectionBroken)


class EndpointModel:
    """A model at an endpoint: requests in flight together, one owner of retries.

    A 429 holds back every request of this object, not only its own row, and with a quota those of
    all executors. A rejected credential stops it: nothing more is sent until the reference resolves
    to another value, but a probe now and then.
    """

    def __init__(self, ref: ModelRef, clock: Callable[[], float] = time.monotonic) -> None:
        self.ref = ref
        self._model = ref.location
        self._settings = EndpointSettings(**dict(ref.options))
        self._path = chat_path(ref.location, self._settings.api_version)
        self.context_window = self._settings.context_window
        self._lock = threading.Lock()
        self._connection: LoopThread[ChatClient] | None = None
        self._api_key: str | None = None
        self._clock = clock
        self._not_before = 0.0
        self._adapts = self._settings.concurrency == "auto"
        self._limit = _limit_of(self._settings)
        self._circuit = Circuit(
            self._settings.circuit_failures, self._settings.max_retry_wait_seconds, clock
        )
        self._rejection = Rejection(clock)
        self._patience = Patience(self._settings)
        self._answers = 0

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Return an estimate: a token for each 4 characters, and 4 around each message.

        The endpoint's tokenizer is not known here. English prose comes out about right; code,
        digits and non-Latin scripts come out too low.
        """
        return sum(
            math.ceil(len(message["content"]) / _CHARACTERS_PER_TOKEN) + _TOKENS_AROUND_MESSAGE
            for message in messages
        )

    def complete(self, requests: Sequence[Request]) -> list[Outcome]:
        """Answer every request, in order; see `stream`."""
        return in_order(self.stream(requests))

    def stream(self, requests: Sequence[Request]) -> Iterator[Outcomes]:
        """Answer every request, as answers come: each keeps its slot until the caller is back.

        Raises SettingsError where the credential cannot be had. A row that breaks the client comes
        back as ModelCrashed and is not raised: halving the batch would pay its neighbours again.
        """
        connection = self._connect()
        given: Handover[tuple[int, Outcome]] = Handover()
        asking = connection.start(self._ask_all(connection.held, requests, given))
        try:
            while outcomes := connection.run(given.take()):
                yield outcomes
            asking.result()
        finally:
            asking.cancel()

    def close(self) -> None:
        """Close the connections; the next `complete` opens new ones."""
        with self._lock:
            self._disconnect()

    def _connect(self) -> "LoopThread[ChatClient]":
        with self._lock:
            if self._connection is None or self._rejection.stands:
                api_key = resolve_credential(self._settings.credential)
                if api_key != self._api_key:
                    self._disconnect()
                    self._api_key = api_key
                    self._rejection.lift()
            if self._connection is None:
                quota = _quota_of(self.ref, self._settings.max_retry_wait_seconds)
                self._connection = LoopThread(
                    partial(open_client, self._settings, self._api_key, self._limit, quota)
                )
            return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _ask_all(
        self,
        client: "ChatClient",
        requests: Sequence[Request],
        given: Handover[tuple[int, Outcome]],
    ) -> None:
        async def ask(position: int, request: Request) -> None:
            async def keep(outcome: Outcome) -> None:
                await given.give((position, outcome))

            await self._ask(client, request, keep)

        try:
            await asyncio.gather(*(ask(i, request) for i, request in enumerate(requests)))
        finally:
            given.close()

    async def _ask(self, client: "ChatClient", request: Request, keep: Keep) -> None:
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(TransientError),
            wait=partial(self._wait, client),
            stop=self._patience.gives_up,
            reraise=True,
        )
        answers = self._answers
        most = Usage(self.count_tokens(request.messages), request.parameters.max_output_tokens)
        try:
            await retrying(self._attempt, client, self._asked(request), most, keep)
        except CompletionError as error:
            if isinstance(error, NoCredit) and self._answers == answers:
                self._rejection.begin(error)
            await keep(error.with_traceback(None))
        except Exception as error:
            await keep(ModelCrashed(f"the request raised {type(error).__name__}"))

    async def _attempt(
        self, client: "ChatClient", body: Mapping[str, Any], most: Usage, keep: Keep
    ) -> None:
        """Send one request, when it may be sent; give the slot back when its answer is kept.

        What holds back is looked at with slot and lease in hand: while a row waits for them,
        another row's answer may change it.
        """
        async with client.slots:
            answer = None
            while answer is None:
                while (left := self._held_back()) > 0:
                    await asyncio.sleep(left)
                async with client.quota.lease(most) as lease:
                    if self._held_back() <= 0:
                        answer = await self._send(client, body, lease)
            await keep(answer)

    async def _send(self, client: "ChatClient", body: Mapping[str, Any], lease: Lease) -> Answer:
        """Ask, and tell limit, circuit, rejection, lease and telemetry how it went."""
        sent, probe, again = self._limit.send(), self._circuit.send(), self._rejection.send()
        signal: Signal = "nothing"
        pace = None
        lease.used = Usage()
        call = begin(Asked(self._settings.kind, self._settings.base_url, body))
        try:
            answer = await client.ask(self._path, body)
            call.answered(answer)
            signal, lease.used = "answered", answer.usage
            self._answers += 1
            usage = answer.usage
            pace = pace_of(answer.latency_ms / 1000, usage.input_tokens, usage.output_tokens)
            return answer
        except CompletionError as error:
            call.failed(error)
            signal = _SIGNALS.get(type(error), "rejected")
            lease.used = _used(error)
            if said := said_by_server(error):
                self._hold_back(client, said)
            if isinstance(error, CredentialRejected) or (again and isinstance(error, NoCredit)):
                signal = "rejected"
                self._rejection.begin(error)
            raise
        finally:
            self._limit.end(sent, signal, pace)
            self._circuit.end(signal, probe)
            self._rejection.end(signal, again)

    def _held_back(self) -> float:
        """Return the seconds for which nothing may be sent.

        Raises the error of a row that should not wait so long.
        """
        return max(self._rejection.wait(), self._cool_down(), self._circuit.wait())

    def _cool_down(self) -> float:
        left = self._not_before - self._clock()
        if left > self._settings.max_retry_wait_seconds:
            raise RateLimited("not asked: the endpoint is cooling down", retry_after=left)
        return left

    def _hold_back(self, client: "ChatClient", seconds: float) -> None:
        """Let nothing be sent for so long, by nobody who shares the quota."""
        self._not_before = max(self._not_before, self._clock() + seconds)
        client.quota.cool_down(seconds)

    def _wait(self, client: "ChatClient", state: RetryCallState) -> float:
        """Return the seconds until the row's next attempt.

        A 429 that says nothing holds back all rows too, unless slots adapt to it.
        """
        seconds, error = self._patience.wait(state), failure(state)
        says_nothing = isinstance(error, RateLimited) and not said_by_server(error)
        if says_nothing and not self._adapts:
            self._hold_back(client, seconds)
        return seconds

    def _asked(self, request: Request) -> dict[str, Any]:
        body = self.body(request)
        if self._settings.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return body

    def body(self, request: Request) -> dict[str, Any]:
        """Return the request in the OpenAI form; a surrogate cannot be sent and is replaced."""
        parameters, schema = request.parameters, request.response_schema
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [
                {**message, "content": clean_text(message["content"])[0]}
                for message in request.messages
            ],
            self._settings.max_tokens_field: parameters.max_output_tokens,
            "temperature": parameters.temperature,
            "top_p": parameters.top_p,
            "seed": parameters.seed,
        }
        if parameters.stop:
            body["stop"] = list(parameters.stop)
        if parameters.min_log_probability is not None:
            body["logprobs"] = True
        if schema is not None:
            json_schema = {"name": "answer", "strict": True, "schema": dict(schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": json_schema}
        return {key: body[key] for key in body if key not in self._settings.omit_parameters}


def resolve_credential(reference: str | None) -> str | None:
    """Return the key or token.

    Raises SettingsError where it cannot stand in a header, without its value.
    """
    if reference is None:
        return None
    api_key = resolve_secret(reference)
    if not (api_key.isascii() and api_key.isprintable()):
        raise SettingsError(f"secret {reference}: holds characters that no HTTP header can carry")
    return api_key


def _used(error: CompletionError) -> Usage:
    """Return what a failed call took; a status of failure took nothing."""
    return error.usage or (Usage() if isinstance(error, _PERHAPS_PAID) else NOTHING)


def _limit_of(settings: EndpointSettings) -> Limit:
    if settings.concurrency == "auto":
        return AdaptiveLimit(settings.max_concurrency)
    return FixedLimit(settings.concurrency)


def _quota_of(ref: ModelRef, patience_seconds: float) -> Quota:
    if ref.quota is None:
        return UNLIMITED
    return QuotaClient(ref.quota, ref.name, patience_seconds)


def open_client(
    settings: EndpointSettings,
    secret: str | None,
    limit: Limit,
    quota: Quota = UNLIMITED,
) -> "ChatClient":
    """Open a client; call it in the event loop that will use it."""
    from chains.models.endpoint.client import ChatClient

    key, token = (None, secret) if settings.token else (secret, None)
    return ChatClient(
        settings.base_url,
        credential_headers(settings.kind, key, token),
        timeout_seconds=settings.timeout_seconds,
        slots=Slots(limit),
        quota=quota,
        connections=settings.most_in_flight,
        use_proxy=not is_loopback(settings.base_url),
        is_openai=settings.kind == "openai",
    )
