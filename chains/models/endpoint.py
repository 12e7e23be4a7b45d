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
    wait_random_exponential,
)

from chains.errors import (
    CompletionError,
    ConnectionBroken,
    CredentialRejected,
    ModelCrashed,
    RateLimited,
    ServerError,
    SettingsError,
    TimedOut,
    TransientError,
)
from chains.models.base import (
    Answer,
    Message,
    ModelRef,
    Outcome,
    Outcomes,
    Request,
    in_order,
)
from chains.models.circuit import Circuit
from chains.models.endpoint_kinds import chat_path, credential_headers
from chains.models.endpoint_settings import EndpointSettings, is_loopback
from chains.models.handover import Handover
from chains.models.latency import pace_of
from chains.models.limiter import AdaptiveLimit, FixedLimit, Limit, Signal
from chains.models.loop_thread import LoopThread
from chains.models.slots import Slots
from chains.secrets import resolve_secret
from chains.text import clean_text

if TYPE_CHECKING:
    from chains.models.openai_client import ChatClient

Keep = Callable[[Outcome], Awaitable[None]]

_CHARACTERS_PER_TOKEN = 4
_TOKENS_AROUND_MESSAGE = 4
_FIRST_BACKOFF_SECONDS = 0.5
_SIGNALS: dict[type[CompletionError], Signal] = {
    RateLimited: "refused",
    ServerError: "failed",
    TimedOut: "failed",
    ConnectionBroken: "failed",
}


class EndpointModel:
    """A model at an endpoint: requests in flight together, one owner of retries.

    A 429 holds back every request of this object, not only its own row. A rejected credential
    stops it: nothing more is sent until the reference resolves to another value.
    """

    def __init__(self, ref: ModelRef) -> None:
        self.ref = ref
        self._model = ref.location
        self._settings = EndpointSettings(**dict(ref.options))
        self._path = chat_path(ref.location, self._settings.api_version)
        self.context_window = self._settings.context_window
        self._lock = threading.Lock()
        self._connection: LoopThread[ChatClient] | None = None
        self._api_key: str | None = None
        self._rejected: str | None = None
        self._not_before = 0.0
        self._adapts = self._settings.concurrency == "auto"
        self._limit = _limit_of(self._settings)
        self._circuit = Circuit(
            self._settings.circuit_failures, self._settings.max_retry_wait_seconds
        )
        self._backoff = wait_random_exponential(
            multiplier=_FIRST_BACKOFF_SECONDS, max=self._settings.max_retry_wait_seconds
        )

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
            if self._connection is None or self._rejected is not None:
                api_key = resolve_credential(self._settings.credential)
                if api_key != self._api_key:
                    self._disconnect()
                    self._api_key, self._rejected = api_key, None
            if self._connection is None:
                self._connection = LoopThread(
                    partial(open_client, self._settings, self._api_key, self._limit)
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
            wait=self._wait,
            stop=self._gives_up,
            reraise=True,
        )
        try:
            await retrying(self._attempt, client, self._body(request), keep)
        except CompletionError as error:
            await keep(error.with_traceback(None))
        except Exception as error:
            await keep(ModelCrashed(f"the request raised {type(error).__name__}"))

    async def _attempt(self, client: "ChatClient", body: Mapping[str, Any], keep: Keep) -> None:
        """Send one request, when it may be sent; give the slot back when its answer is kept.

        Cool-down and credential are looked at with the slot in hand: while a row waits for its
        slot, another row's answer may change both.
        """
        async with client.slots:
            await self._may_send()
            if self._rejected is not None:
                raise CredentialRejected(f"not asked, after: {self._rejected}")
            try:
                answer = await self._send(client, body)
            except CredentialRejected as error:
                self._rejected = str(error)
                raise
            await keep(answer)

    async def _send(self, client: "ChatClient", body: Mapping[str, Any]) -> Answer:
        """Ask, and tell limit and circuit how it went."""
        sent, probe = self._limit.send(), self._circuit.send()
        signal: Signal = "nothing"
        pace = None
        try:
            answer = await client.ask(self._path, body)
            signal, usage = "answered", answer.usage
            pace = pace_of(answer.latency_ms / 1000, usage.input_tokens, usage.output_tokens)
            return answer
        except CompletionError as error:
            signal = _SIGNALS.get(type(error), "rejected")
            raise
        finally:
            self._limit.end(sent, signal, pace)
            self._circuit.end(signal, probe)

    async def _may_send(self) -> None:
        """Wait out cool-down and open circuit; another row's answer may begin either meanwhile."""
        while (left := max(self._cool_down(), self._circuit.wait())) > 0:
            await asyncio.sleep(left)

    def _cool_down(self) -> float:
        left = self._not_before - time.monotonic()
        if left > self._settings.max_retry_wait_seconds:
            raise RateLimited("not asked: the endpoint is cooling down", retry_after=left)
        return left

    def _wait(self, state: RetryCallState) -> float:
        """Return the seconds until the row's next attempt.

        What the server says is everybody's; a 429 that says nothing too, unless slots adapt to it.
        """
        error = state.outcome.exception() if state.outcome else None
        said = error.retry_after if isinstance(error, TransientError) else None
        seconds = said or self._backoff(state)
        if said or (isinstance(error, RateLimited) and not self._adapts):
            # Nothing awaits between the answer and this line: no waiting row slips through.
            self._not_before = max(self._not_before, time.monotonic() + seconds)
        return seconds

    def _gives_up(self, state: RetryCallState) -> bool:
        too_long = state.upcoming_sleep > self._settings.max_retry_wait_seconds
        return too_long or state.attempt_number >= self._settings.attempts

    def _body(self, request: Request) -> dict[str, Any]:
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
        if self._settings.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
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


def _limit_of(settings: EndpointSettings) -> Limit:
    if settings.concurrency == "auto":
        return AdaptiveLimit(settings.max_concurrency)
    return FixedLimit(settings.concurrency)


def open_client(settings: EndpointSettings, secret: str | None, limit: Limit) -> "ChatClient":
    """Open a client; call it in the event loop that will use it."""
    from chains.models.openai_client import ChatClient

    key, token = (None, secret) if settings.token else (secret, None)
    return ChatClient(
        settings.base_url,
        credential_headers(settings.kind, key, token),
        timeout_seconds=settings.timeout_seconds,
        slots=Slots(limit),
        connections=settings.most_in_flight,
        use_proxy=not is_loopback(settings.base_url),
    )
