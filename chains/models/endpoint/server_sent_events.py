"""A streamed completion, read back into the one document that a whole response would have been."""

import json
from collections.abc import Iterator
from typing import Any

_END = "[DONE]"


def read_stream(body: bytes) -> dict[str, Any]:
    """Return a stream's `chat.completion` document.

    Raises ValueError where its end is missing (neither a finish reason nor `[DONE]`) or it tells of
    an error: what came until then is not an answer.
    """
    text, refusal = "", ""
    finish_reason: str | None = None
    usage, ended = None, False
    tokens: list[Any] = []
    for data in _data(body):
        if data == _END:
            ended = True
            break
        chunk = json.loads(data)
        if chunk.get("error"):
            raise ValueError("an error in the stream")
        usage = chunk.get("usage") or usage
        for choice in (chunk.get("choices") or [])[:1]:  # the usage may come without
            delta = choice.get("delta") or {}
            text += _text(delta.get("content"))
            refusal += delta.get("refusal") or ""
            finish_reason = choice.get("finish_reason") or finish_reason
            told = choice.get("logprobs")
            tokens += (told.get("content") or []) if isinstance(told, dict) else []
    if not ended and finish_reason is None:
        raise ValueError("the stream was cut")
    message = {"content": text, "refusal": refusal or None}
    choice = {"message": message, "finish_reason": finish_reason, "logprobs": {"content": tokens}}
    return {"choices": [choice], "usage": usage}


def _data(body: bytes) -> Iterator[str]:
    """Yield the data of each whole event; one without the blank line after it was cut."""
    *events, _ = body.decode("utf-8").replace("\r\n", "\n").split("\n\n")
    for event in events:
        lines = [line[5:].removeprefix(" ") for line in event.split("\n") if line[:5] == "data:"]
        if lines:
            yield "\n".join(lines)


def _text(content: Any) -> str:
    """Return a delta's text; some models answer in parts, of which the text counts."""
    if isinstance(content, list):
        return "".join(part["text"] for part in content if part["type"] == "text")
    return content or ""
