"""The one place that speaks through the OpenAI SDK, and turns what it raises into our errors.

Imported only where a request is about to be sent: the SDK takes a second to load.
"""

import asyncio
import json
import os
import re
import time
from collections.abc import Awaitable, Mapping
from statistics import fmean
from typing import Any, Self

import httpx2
import openai

from chains.errors import (
    CompletionError,
    ConnectionBroken,
    ContentFiltered,
    ContextLengthExceeded,
    CredentialRejected,
    InvalidRequest,
    NoCredit,
    NotFound,
    RateLimited,
    Refused,
    ServerError,
    TimedOut,
    TransientError,
    Unsupported,
)
from chains.models.base import Answer, Usage
from chains.models.endpoint.quota import Quota
from chains.models.endpoint.retry_after import retry_after_seconds
from chains.models.endpoint.server_sent_events import read_stream
from chains.models.endpoint.slots import Slots
from chains.text import clean_text


class ChatClient:
    """An open client of one endpoint. Retries nothing, follows no redirect, has one deadline.

    Hold one of `slots` while asking, of which there are at most as many as connections, and a lease
    of `quota`.
    """

    def __init__(
        self,
        base_url: str,
        credential: Mapping[str, str],
        *,
        timeout_seconds: float,
        slots: Slots,
        quota: Quota,
        connections: int,
        use_proxy: bool,
        is_openai: bool,
    ) -> None:
        """Open it; nothing is sent. `credential` is the header that carries the key.

        `use_proxy`: obey the environment's proxies; they cannot reach a loopback server.
        `is_openai`: send the headers that the environment has for OpenAI.
        """
        self.slots = slots
        self.quota = quota
        self._timeout_seconds = timeout_seconds
        # Without a key no header is sent. The SDK is never left to look for a key itself: it would
        # hand OPENAI_API_KEY, the user's own, to a server that it was not meant for.
        unsent = ["Authorization", *(() if is_openai else _meant_for_openai())]
        self._headers: dict[str, str | openai.Omit] = dict.fromkeys(unsent, openai.Omit())
        self._headers |= credential
        limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections)
        self._client = openai.AsyncOpenAI(
            base_url=base_url,
            api_key="sent with each request",
            max_retries=0,
            timeout=None,
            http_client=httpx2.AsyncClient(limits=limits, timeout=None, trust_env=use_proxy),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.quota.close()
        await self._client.close()

    async def ask(self, path: str, body: Mapping[str, Any]) -> Answer:
        """Send one chat completion request and return its answer.

        Raises CompletionError only. The SDK's error is not chained: it holds the request, and with
        it the prompt and the key.
        """
        started = time.perf_counter()
        response = await self._post(path, self._headers, body=body)
        latency_ms = (time.perf_counter() - started) * 1000
        return read_answer(response.content, latency_ms, _is_stream(response))

    async def get(self, url: str) -> Any:
        """Return a JSON document. Raises CompletionError only."""
        return _json(await self._get(url))

    async def download(self, path: str) -> bytes:
        """Return a file. Raises CompletionError only."""
        return (await self._get(path)).content

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Send a JSON document and return the one that answers it. Raises CompletionError only."""
        return _json(await self._post(path, self._headers, body=body))

    async def upload(self, path: str, purpose: str, name: str, content: bytes) -> Any:
        """Send a file and return the JSON document that answers it. Raises CompletionError only."""
        headers = {**self._headers, "Content-Type": "multipart/form-data"}
        files = {"file": (name, content)}
        return _json(await self._post(path, headers, body={"purpose": purpose}, files=files))

    async def _get(self, url: str) -> httpx2.Response:
        return await self._within_deadline(
            self._client.get(url, cast_to=httpx2.Response, options={"headers": self._headers})
        )

    async def _post(
        self, path: str, headers: Mapping[str, str | openai.Omit], **sent: Any
    ) -> httpx2.Response:
        return await self._within_deadline(
            self._client.post(path, cast_to=httpx2.Response, options={"headers": headers}, **sent)
        )

    async def _within_deadline(self, call: Awaitable[httpx2.Response]) -> httpx2.Response:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await call
        except (TimeoutError, openai.OpenAIError) as error:
            failure = translate(error)
        raise failure


def _meant_for_openai() -> list[str]:
    """Return the names of the headers that the SDK takes from the environment."""
    lines = os.environ.get("OPENAI_CUSTOM_HEADERS", "").split("\n")
    named = [line.partition(":")[0].strip() for line in lines if ":" in line]
    return ["OpenAI-Organization", "OpenAI-Project", *named]


_OF_STATUS: dict[int, type[CompletionError]] = {
    400: InvalidRequest,
    401: CredentialRejected,
    402: CredentialRejected,
    403: CredentialRejected,
    404: NotFound,
    413: InvalidRequest,
    422: InvalidRequest,
    429: RateLimited,
}
_OF_WORD: dict[str, type[CompletionError]] = {
    "insufficient_quota": NoCredit,
    "billing_not_active": NoCredit,
    "model_not_found": NotFound,
    "unknown_model": NotFound,
    "unsupported_parameter": Unsupported,
    "unsupported_value": Unsupported,
    "unknown_parameter": Unsupported,
}
_SAID_IN = ("type", "code", "error_code")
_OF_REASON: tuple[tuple[re.Pattern[str], type[CompletionError]], ...] = (
    (
        re.compile(r"context[ _-]?(length|window|size)|maximum context|prompt is too long", re.I),
        ContextLengthExceeded,
    ),
    (re.compile(r"content[ _-]?(filter|policy|management)", re.I), ContentFiltered),
)


def translate(error: Exception) -> CompletionError:
    """Return our error for one of the SDK; its message is safe to log and to store.

    A status that is not in the table (5xx, 408, 409, a redirect) is taken as passing.
    """
    if isinstance(error, openai.APIStatusError):
        return error_of_status(error.status_code, error.body, error.response.headers)
    if isinstance(error, TimeoutError | openai.APITimeoutError):
        return TimedOut("no whole answer within the deadline")
    if isinstance(error, openai.APIConnectionError):
        cause = error.__cause__
        why = f": {cause}" if isinstance(cause, httpx2.ConnectError) else ""  # nothing was sent
        return ConnectionBroken(f"no whole answer: {type(cause).__name__}{why}")
    return ServerError(f"the client failed: {type(error).__name__}")


def error_of_status(
    status: int, body: object, headers: Mapping[str, str] | None = None
) -> CompletionError:
    """Return our error for a response; `body` is what it says under `error`."""
    body = body if isinstance(body, Mapping) else {}
    words = safe_words(body)
    reason = " ".join([str(status), *words])
    kind = _OF_STATUS.get(status, ServerError)
    if kind in (InvalidRequest, RateLimited):
        kind = next((_OF_WORD[word] for word in words if word in _OF_WORD), kind)
    if issubclass(kind, TransientError):
        return kind(reason, retry_after=retry_after_seconds(headers or {}))
    if kind is InvalidRequest:
        said = " ".join(str(body.get(name)) for name in (*_SAID_IN, "message"))
        kind = next((of for pattern, of in _OF_REASON if pattern.search(said)), kind)
    return kind(reason)


def safe_words(body: Mapping[str, Any]) -> list[str]:
    """Return the values that are one word of letters: a key has digits, a prompt has spaces."""
    values = [body.get(name) for name in _SAID_IN]
    return [v for v in values if isinstance(v, str) and re.fullmatch(r"[A-Za-z_]{1,64}", v)]


def _json(response: httpx2.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        page = ServerError("status 200 without JSON")
    raise page


def _is_stream(response: httpx2.Response) -> bool:
    """Go by what came, not by what was asked for: servers stream unasked, or do not when asked."""
    return str(response.headers.get("content-type", "")).startswith("text/event-stream")


def read_answer(body: bytes, latency_ms: float, streamed: bool = False) -> Answer:
    """Return the answer in a response of status 200.

    Raises Refused where the model declined, ServerError where the body is not a whole completion:
    a sign-in page, an error in disguise, no choices, a stream without its end, a server that gave
    up. Both have the usage, which is paid all the same.
    """
    completion = _document(body, streamed)
    usage = _usage(completion)
    found = _read(completion)
    if found is None:
        raise ServerError("status 200 without a completion", usage=usage)
    refusal, text, finish_reason, log_probability = found
    if finish_reason in _BROKEN_OFF:
        raise ServerError(f"status 200 with finish_reason {finish_reason}", usage=usage)
    if refusal:
        raise Refused("the model declined to answer", raw=clean_text(refusal)[0], usage=usage)
    cleaned, replaced = clean_text(text)
    flags = ("replaced_surrogates",) if replaced else ()
    return Answer(cleaned, finish_reason, usage, latency_ms, flags, log_probability)


def _document(body: bytes, streamed: bool) -> Any:
    """Return what a body holds, None where that is not whole; no error, which would hold it too."""
    try:
        return read_stream(body) if streamed else json.loads(body)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def _usage(completion: Any) -> Usage:
    try:
        told = completion["usage"]
        return Usage(_count(told.get("prompt_tokens")), _count(told.get("completion_tokens")))
    except (LookupError, TypeError, AttributeError):
        return Usage()


_Found = tuple[str | None, str, str | None, float | None]


def _read(completion: Any) -> _Found | None:
    """Return refusal, text, finish reason and mean log-probability of a completion.

    Written for documents of any shape: what is looked for and not there ends in None, and not in an
    error, which would hold the document.
    """
    try:
        choice = completion["choices"][0]
        message, finish_reason = choice["message"], choice.get("finish_reason")
        refusal = message.get("refusal")
        text = "" if refusal else _text(message.get("content"), finish_reason)
    except (LookupError, TypeError, AttributeError):
        return None
    finish_reason = finish_reason if isinstance(finish_reason, str) else None
    finish_reason = "length" if finish_reason in _CUT else finish_reason
    said = str(refusal) if refusal else None
    return said, text, finish_reason, _log_probability(choice.get("logprobs"))


def _log_probability(told: Any) -> float | None:
    """Return the mean over the tokens, None where they are not told of in the OpenAI form."""
    tokens = told.get("content") if isinstance(told, Mapping) else None
    try:
        return fmean(token["logprob"] for token in tokens) if tokens else None
    except (LookupError, TypeError):
        return None


_BROKEN_OFF = ("error", "abort")  # OpenRouter and Mistral; SGLang and vLLM
_CUT = ("max_tokens", "model_length")  # Anthropic's and Mistral's words for length
_ENDS = ("stop", "length", "content_filter", "tool_calls")


def _text(content: Any, finish_reason: str | None) -> str:
    """Return the text; reasoning models on Databricks answer in parts, of which the text counts.

    Those that end after thinking (gpt-oss, Qwen) say null: an empty answer, of a call that went
    well and would be no other if it were sent again.
    """
    if isinstance(content, list):
        return "".join(part["text"] for part in content if part["type"] == "text")
    if isinstance(content, str):
        return content
    if content is None and finish_reason in _ENDS:
        return ""
    raise TypeError("no text")


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) else None
