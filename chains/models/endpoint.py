"""Models behind an endpoint that speaks the OpenAI API."""

import asyncio
import math
import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    wait_random_exponential,
)

from chains.errors import (
    CompletionError,
    CredentialRejected,
    ModelCrashed,
    RateLimited,
    SettingsError,
    TransientError,
)
from chains.models.base import Answer, Message, ModelRef, Outcome, Request
from chains.models.loop_thread import LoopThread
from chains.secrets import check_reference, resolve_secret
from chains.text import clean_text

if TYPE_CHECKING:
    from chains.models.openai_client import ChatClient

_CHARACTERS_PER_TOKEN = 4
_TOKENS_AROUND_MESSAGE = 4
_FIRST_BACKOFF_SECONDS = 0.5


def _check_base_url(value: str) -> str:
    """Refuse what is no plain URL. The value is not repeated: it may carry a password."""
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise PydanticCustomError("base_url", "expected http(s)://HOST[:PORT]/PATH")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise PydanticCustomError("base_url", "expected no user, password, query or fragment")
    return value


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class EndpointSettings(BaseModel):
    """How to reach an endpoint, and how hard to try; times in seconds.

    `timeout_seconds` is the total deadline of one attempt, connecting included. A server that asks
    to wait longer than `max_retry_wait_seconds` leaves its rows to the next run. Models that reject
    sampling parameters (OpenAI's reasoning models do) need them in `omit_parameters`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    base_url: Annotated[str, AfterValidator(_check_base_url)]
    api_key: Annotated[str, AfterValidator(check_reference)] | None = None
    timeout_seconds: float = Field(120.0, gt=0, allow_inf_nan=False)
    attempts: int = Field(5, ge=1)
    concurrency: int = Field(16, ge=1)
    max_retry_wait_seconds: float = Field(60.0, ge=0, allow_inf_nan=False)
    context_window: int | None = Field(None, ge=1)
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    omit_parameters: tuple[Literal["temperature", "top_p", "seed", "stop"], ...] = ()

    @model_validator(mode="after")
    def _key_is_not_sent_in_the_clear(self) -> "EndpointSettings":
        plain = urlsplit(self.base_url).scheme == "http"
        if plain and self.api_key is not None and not _is_loopback(self.base_url):
            message = "base_url: expected https, or api_key would cross the network in the clear"
            raise PydanticCustomError("base_url", message)
        return self


def resolve_endpoint(
    spec: str, name: str, model: str, settings: EndpointSettings | Mapping[str, Any]
) -> ModelRef:
    """Return the reference of `model` at the endpoint `name`.

    The digest leaves the URL out: the same model behind another gateway is the same question.
    Raises SettingsError naming the key that is wrong.
    """
    try:
        checked = EndpointSettings.model_validate(settings)
    except ValidationError as error:
        lines = error.errors(include_input=False, include_url=False)
        wrong = [": ".join([*map(str, line["loc"]), line["msg"]]) for line in lines]
        raise SettingsError(f"endpoint {name!r}: {'; '.join(wrong)}") from None
    return ModelRef(
        spec=spec,
        kind="endpoint",
        name=f"{name}/{model}",
        location=model,
        digest=f"endpoint:{name}/{model}",
        options=tuple(sorted(checked.model_dump().items())),
    )


class EndpointModel:
    """A model at an endpoint: requests in flight together, one owner of retries.

    A 429 holds back every request of this object, not only its own row. A rejected credential
    stops it: nothing more is sent until the reference resolves to another value.
    """

    def __init__(self, ref: ModelRef) -> None:
        self.ref = ref
        self._model = ref.location
        self._settings = EndpointSettings(**dict(ref.options))
        self.context_window = self._settings.context_window
        self._lock = threading.Lock()
        self._connection: LoopThread[ChatClient] | None = None
        self._api_key: str | None = None
        self._rejected: str | None = None
        self._not_before = 0.0
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
        """Answer every request, in order.

        Raises SettingsError where the credential cannot be had. A row that breaks the client comes
        back as ModelCrashed and is not raised: halving the batch would pay its neighbours again.
        """
        connection = self._connect()
        return connection.run(self._complete(connection.held, requests))

    def close(self) -> None:
        """Close the connections; the next `complete` opens new ones."""
        with self._lock:
            self._disconnect()

    def _connect(self) -> "LoopThread[ChatClient]":
        with self._lock:
            if self._connection is None or self._rejected is not None:
                api_key = _resolve_api_key(self._settings.api_key)
                if api_key != self._api_key:
                    self._disconnect()
                    self._api_key, self._rejected = api_key, None
            if self._connection is None:
                self._connection = LoopThread(partial(_open_client, self._settings, self._api_key))
            return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _complete(self, client: "ChatClient", requests: Sequence[Request]) -> list[Outcome]:
        return list(await asyncio.gather(*(self._outcome(client, one) for one in requests)))

    async def _outcome(self, client: "ChatClient", request: Request) -> Outcome:
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(TransientError),
            wait=self._wait,
            stop=self._gives_up,
            reraise=True,
        )
        try:
            return await retrying(self._attempt, client, self._body(request))
        except CompletionError as error:
            return error.with_traceback(None)
        except Exception as error:
            return ModelCrashed(f"the request raised {type(error).__name__}")

    async def _attempt(self, client: "ChatClient", body: Mapping[str, Any]) -> Answer:
        """Send one request, when it may be sent.

        Cool-down and credential are looked at with the slot in hand: while a row waits for its
        slot, another row's answer may change both.
        """
        async with client.slots:
            await self._cool_down()
            if self._rejected is not None:
                raise CredentialRejected(f"not asked, after: {self._rejected}")
            try:
                return await client.ask(body)
            except CredentialRejected as error:
                self._rejected = str(error)
                raise

    async def _cool_down(self) -> None:
        while (left := self._not_before - time.monotonic()) > 0:
            if left > self._settings.max_retry_wait_seconds:
                raise RateLimited("not asked: the endpoint is cooling down", retry_after=left)
            await asyncio.sleep(left)

    def _wait(self, state: RetryCallState) -> float:
        """Return the seconds until the row's next attempt; a 429 makes them everybody's."""
        error = state.outcome.exception() if state.outcome else None
        seconds = self._backoff(state)
        if isinstance(error, RateLimited):
            seconds = error.retry_after or seconds
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
        if schema is not None:
            json_schema = {"name": "answer", "strict": True, "schema": dict(schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": json_schema}
        return {key: body[key] for key in body if key not in self._settings.omit_parameters}


def _resolve_api_key(reference: str | None) -> str | None:
    """Return the key. Raises SettingsError where it cannot stand in a header, without its value."""
    if reference is None:
        return None
    api_key = resolve_secret(reference)
    if not (api_key.isascii() and api_key.isprintable()):
        raise SettingsError(f"secret {reference}: holds characters that no HTTP header can carry")
    return api_key


def _open_client(settings: EndpointSettings, api_key: str | None) -> "ChatClient":
    from chains.models.openai_client import ChatClient

    return ChatClient(
        settings.base_url,
        api_key,
        timeout_seconds=settings.timeout_seconds,
        concurrency=settings.concurrency,
        use_proxy=not _is_loopback(settings.base_url),
    )
