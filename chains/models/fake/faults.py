"""What the fake endpoint can do wrong: named faults, and where in a run they strike.

A fault is a mapping. `{"status": 429, "retry_after": "2"}` answers with that status (also `code`,
`type`, `message`, `headers`). `{"fault": NAME}` is a row of `EDITS`, where the completion says
something odd, or of `BREAKS`, where the connection does; NAME alone is short for it.
`{"times": n}` beside either: only the first n requests it fits.
"""

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from chains.models.fake.answers import Document

Fault = Mapping[str, Any]
EVERY = "*"


class FaultPlan:
    """Faults by the number of a request (1-based), by row key, or `"*"` for every request.

    The number wins over the key, the key over `"*"`. `POST /v1/batches` is that of such a request:
    a status comes instead of its effect, a break after it. Raises ValueError for an unknown fault.
    """

    def __init__(self, faults: Mapping[int | str, Fault | str]) -> None:
        self._faults = {where: _checked(fault) for where, fault in faults.items()}
        self._struck = dict.fromkeys(faults, 0)

    def strike(self, sequence: int, key: str | None) -> Fault:
        """Return the fault of this request; an empty one where it has none."""
        return self._strike(sequence, key, EVERY)

    def strike_path(self, method: str, path: str) -> Fault:
        """Return the fault of a request that is no question, by `METHOD PATH` without its query."""
        return self._strike(f"{method} {path.partition('?')[0]}")

    def _strike(self, *places: int | str | None) -> Fault:
        for where in places:
            if where is None or where not in self._faults:
                continue
            fault = self._faults[where]
            if self._struck[where] < fault.get("times", float("inf")):
                self._struck[where] += 1
                return fault
        return {}


def parse_faults(text: str) -> dict[int | str, Fault | str]:
    """Read a plan from JSON, where keys are digits (the n-th request), `"*"` or `key=ROW_KEY`."""
    plan: dict[str, Fault | str] = json.loads(text)
    return {
        int(where) if where.isdigit() else where.removeprefix("key="): fault
        for where, fault in plan.items()
    }


def _checked(fault: Fault | str) -> Fault:
    fault = {"fault": fault} if isinstance(fault, str) else fault
    name = fault.get("fault")
    if "status" not in fault and name not in EDITS and name not in BREAKS:
        known = sorted([*EDITS, *BREAKS])
        raise ValueError(f"expected a status or a fault of {known}; found {dict(fault)!r}")
    return fault


@dataclass(frozen=True)
class Reply:
    """An HTTP response as it goes over the wire: its head, then its body in pieces."""

    head: bytes
    pieces: tuple[bytes, ...]


def plain(status: int, content_type: str, body: bytes, **headers: str) -> Reply:
    """Return a response of known length; `retry_after="2"` becomes the header Retry-After."""
    named = {name.replace("_", "-").title(): value for name, value in headers.items()}
    return Reply(_head(status, content_type, {**named, "Content-Length": len(body)}), (body,))


def chunked(content_type: str, events: list[bytes]) -> Reply:
    """Return a response of one chunk for each event, and the empty chunk that ends it."""
    pieces = tuple(b"%x\r\n%s\r\n" % (len(event), event) for event in [*events, b""])
    return Reply(_head(200, content_type, {"Transfer-Encoding": "chunked"}), pieces)


def _head(status: int, content_type: str, headers: Mapping[str, Any]) -> bytes:
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", f"Content-Type: {content_type}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


_ERRORS = {
    400: ("invalid_request_error", None),
    401: ("authentication_error", "invalid_api_key"),
    403: ("permission_error", None),
    404: ("not_found_error", "model_not_found"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
}


def refusal(fault: Fault, quoted: str) -> Reply:
    """Return an OpenAI-style error. Its message quotes what was sent, as indiscreet servers do."""
    status = fault["status"]
    kind, code = _ERRORS.get(status, ("server_error", None))
    error = {
        "message": fault.get("message", f"refused: {quoted}"),
        "type": fault.get("type", kind),
        "param": None,
        "code": fault.get("code", code),
    }
    headers = {"retry_after": str(fault["retry_after"])} if "retry_after" in fault else {}
    headers |= fault.get("headers", {})
    return plain(status, "application/json", json.dumps({"error": error}).encode(), **headers)


class Wire:
    """One client's connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *pieces: bytes) -> None:
        """Hand bytes to the kernel. Raises ConnectionError where the client is gone."""
        for piece in pieces:
            if self.reader.at_eof():
                raise ConnectionResetError("the client has closed its side")
            self.writer.write(piece)
            await self.writer.drain()

    async def until_gone(self) -> None:
        """Wait until the client closes its side."""
        await self.reader.read()

    async def pause(self, seconds: float) -> None:
        """Wait, or less where the client leaves before."""
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self.until_gone()

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()


async def send_whole(wire: Wire, reply: Reply, fault: Fault) -> bool:
    """Send a reply as it is. Like every break, tell whether it went out whole."""
    await wire.send(reply.head, *reply.pieces)
    return True


async def _hang(wire: Wire, reply: Reply, fault: Fault) -> bool:
    await wire.until_gone()
    return False


async def _headers_then_nothing(wire: Wire, reply: Reply, fault: Fault) -> bool:
    await wire.send(reply.head)
    await wire.until_gone()
    return False


async def _slow_body(wire: Wire, reply: Reply, fault: Fault) -> bool:
    await wire.send(reply.head)
    for byte in b"".join(reply.pieces):
        await wire.pause(fault.get("seconds", 10))
        await wire.send(bytes([byte]))
    return True


async def _reset_in_body(wire: Wire, reply: Reply, fault: Fault) -> bool:
    await wire.send(reply.head, _half(reply))
    wire.reset()
    return False


async def _short_body(wire: Wire, reply: Reply, fault: Fault) -> bool:
    await wire.send(reply.head, _half(reply))
    return False


def _half(reply: Reply) -> bytes:
    body = b"".join(reply.pieces)
    return body[: len(body) // 2]


async def _sse_without_end(wire: Wire, reply: Reply, fault: Fault) -> bool:
    """End the HTTP body properly, but without the events that say the answer is whole."""
    words = [piece for piece in reply.pieces if b'"content"' in piece]
    await wire.send(reply.head, *words, b"0\r\n\r\n")
    return False


async def _html(wire: Wire, reply: Reply, fault: Fault) -> bool:
    page = b"<!doctype html><title>Sign in</title><h1>Please sign in</h1>"
    return await send_whole(wire, plain(200, "text/html; charset=utf-8", page), fault)


Break = Callable[[Wire, Reply, Fault], Awaitable[bool]]
BREAKS: dict[str, Break] = {
    "hang": _hang,
    "headers_then_nothing": _headers_then_nothing,
    "slow_body": _slow_body,
    "reset_in_body": _reset_in_body,
    "short_body": _short_body,
    "sse_without_end": _sse_without_end,
    "html": _html,
}


def _empty_choices(document: Document, fault: Fault) -> None:
    document["choices"] = []


def _finish_length(document: Document, fault: Fault) -> None:
    _say(document, _content(document).rsplit(" ", 1)[0], "length")


def _finish_content_filter(document: Document, fault: Fault) -> None:
    _say(document, None, "content_filter")


def _refuse(document: Document, fault: Fault) -> None:
    _say(document, None, "stop")
    document["choices"][0]["message"]["refusal"] = "I cannot help with that."


def _no_usage(document: Document, fault: Fault) -> None:
    del document["usage"]


def _lone_surrogate(document: Document, fault: Fault) -> None:
    _say(document, _content(document) + " \ud83d", "stop")


def _unsure(document: Document, fault: Fault) -> None:
    """Call every token of the answer improbable: `logprob`, by default -4."""
    for token in (document["choices"][0]["logprobs"] or {}).get("content", ()):
        token["logprob"] = fault.get("logprob", -4.0)


def _say_this(document: Document, fault: Fault) -> None:
    _say(document, fault["content"], "stop")


def _echo_request(document: Document, fault: Fault) -> None:
    _say(document, json.dumps(fault["request"]), "stop")


def _malformed_json_content(document: Document, fault: Fault) -> None:
    """Spoil the content in one `form`: fenced (default), truncated or trailing text."""
    _say(document, _FORMS[fault.get("form", "fenced")](_content(document)), "stop")


_FORMS: dict[str, Callable[[str], str]] = {
    "fenced": lambda content: f"```json\n{content}\n```",
    "truncated": lambda content: content[: len(content) // 2],
    "trailing": lambda content: f"{content}\nI hope this helps!",
}


def _content(document: Document) -> str:
    return str(document["choices"][0]["message"]["content"])


def _say(document: Document, content: str | None, finish_reason: str) -> None:
    document["choices"][0]["message"]["content"] = content
    document["choices"][0]["finish_reason"] = finish_reason


EDITS: dict[str, Callable[[Document, Fault], None]] = {
    "empty_choices": _empty_choices,
    "finish_length": _finish_length,
    "finish_content_filter": _finish_content_filter,
    "refusal": _refuse,
    "no_usage": _no_usage,
    "lone_surrogate": _lone_surrogate,
    "malformed_json_content": _malformed_json_content,
    "content": _say_this,
    "unsure": _unsure,
    "echo_request": _echo_request,
}
