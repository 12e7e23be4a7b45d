"""What the fake endpoint says when nothing is wrong: deterministic, on the OpenAI wire."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Document = dict[str, Any]

_KEY = re.compile(r"key=(\S+)")
_FIRST_WORDS = 8
LOG_PROBABILITY = -0.125


@dataclass(frozen=True)
class Question:
    """A chat request as the server reads it; `key` is the row key in the last user message."""

    body: Document
    prompt: str
    key: str | None
    prompt_hash: str
    input_tokens: int


def read_question(raw: bytes) -> Question:
    """Parse a request body. Raises ValueError where it is not a chat request."""
    body = json.loads(raw)
    messages = body.get("messages") if isinstance(body, dict) else None
    if not messages or not all(isinstance(m, dict) and "role" in m for m in messages):
        raise ValueError("messages: expected a list of at least one message with a role")
    texts = [str(message.get("content")) for message in messages]
    asked = [t for t, message in zip(texts, messages, strict=True) if message["role"] == "user"]
    prompt = asked[-1] if asked else ""
    found = _KEY.search(prompt)
    return Question(
        body=body,
        prompt=prompt,
        key=found[1] if found else None,
        prompt_hash=prompt_hash(messages),
        input_tokens=sum(count_words(text) for text in texts),
    )


def prompt_hash(messages: Any) -> str:
    """Return the sha256 of the messages' canonical JSON, in hexadecimal."""
    canonical = json.dumps(messages, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def count_words(text: str) -> int:
    """Return the fake's idea of tokens: words."""
    return len(text.split())


def completion(question: Question, sequence: int) -> Document:
    """Return the answer as a `chat.completion` document."""
    text = _answer(question)
    output_tokens = count_words(text)
    return {
        "id": f"chatcmpl-{sequence}",
        "object": "chat.completion",
        "created": 0,
        "model": question.body.get("model"),
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, "refusal": None},
                "finish_reason": "stop",
                "logprobs": log_probabilities(text, LOG_PROBABILITY)
                if question.body.get("logprobs")
                else None,
            }
        ],
        "usage": {
            "prompt_tokens": question.input_tokens,
            "completion_tokens": output_tokens,
            "total_tokens": question.input_tokens + output_tokens,
        },
    }


def log_probabilities(text: str, each: float) -> Document:
    """Return what stands under `logprobs`: every token (a word here) is as probable."""
    return {"content": [{"token": word, "logprob": each} for word in text.split()]}


def _answer(question: Question) -> str:
    first_words = " ".join(question.prompt.split()[:_FIRST_WORDS])
    text = f"answer to {question.key}: {first_words}"
    asked_format = question.body.get("response_format") or {}
    if asked_format.get("type") != "json_schema":
        return text
    return json.dumps(instance(asked_format["json_schema"]["schema"], text), ensure_ascii=False)


def events(document: Document, include_usage: bool) -> list[bytes]:
    """Return a completion as server-sent events: its words, its end, its usage, `[DONE]`."""
    choices = document["choices"] or [{"message": {"content": ""}, "finish_reason": None}]
    message, finish_reason = choices[0]["message"], choices[0]["finish_reason"]
    words = re.findall(r"\S+\s*|\s+", message.get("content") or "")
    told = (choices[0].get("logprobs") or {}).get("content") or []
    deltas: list[tuple[Document, str | None, list[Document]]] = [
        ({"role": "assistant", "content": ""}, None, [])
    ]
    deltas += [({"content": word}, None, told[i : i + 1]) for i, word in enumerate(words)]
    deltas += [({}, finish_reason, [])]
    head = {key: document[key] for key in ("id", "created", "model")}
    head["object"] = "chat.completion.chunk"
    chunks = [
        {
            **head,
            "choices": [
                {
                    "index": 0,
                    "delta": delta,
                    "finish_reason": reason,
                    "logprobs": {"content": tokens} if tokens else None,
                }
            ],
        }
        for delta, reason, tokens in deltas
    ]
    if include_usage:
        chunks.append({**head, "choices": [], "usage": document.get("usage")})
    return [*(_event(json.dumps(chunk)) for chunk in chunks), _event("[DONE]")]


def _event(data: str) -> bytes:
    return f"data: {data}\n\n".encode()


def instance(schema: Mapping[str, Any], text: str) -> Any:
    """Return a value of a JSON Schema; `text` stands where a string is free."""
    return _instance(schema, text, schema)


def _instance(schema: Mapping[str, Any], text: str, root: Mapping[str, Any]) -> Any:
    if "$ref" in schema:
        target: Any = root
        for step in schema["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        return _instance(target, text, root)
    if "const" in schema or "enum" in schema:
        return schema["const"] if "const" in schema else schema["enum"][0]
    options = schema.get("anyOf") or schema.get("oneOf")
    if options:
        return _instance(options[0], text, root)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    return _OF_TYPE[kind[0] if isinstance(kind, list) else kind](schema, text, root)


def _object(schema: Mapping[str, Any], text: str, root: Mapping[str, Any]) -> Any:
    properties = schema.get("properties", {})
    return {name: _instance(of, text, root) for name, of in properties.items()}


def _array(schema: Mapping[str, Any], text: str, root: Mapping[str, Any]) -> Any:
    item = _instance(schema.get("items", {"type": "string"}), text, root)
    return [item] * max(1, schema.get("minItems", 1))


def _string(schema: Mapping[str, Any], text: str, root: Mapping[str, Any]) -> Any:
    return text[: schema.get("maxLength")].ljust(schema.get("minLength", 0), ".")


_OF_TYPE: dict[str, Callable[[Mapping[str, Any], str, Mapping[str, Any]], Any]] = {
    "object": _object,
    "array": _array,
    "string": _string,
    "number": lambda schema, text, root: schema.get("minimum", 0.5),
    "integer": lambda schema, text, root: schema.get("minimum", 1),
    "boolean": lambda schema, text, root: True,
    "null": lambda schema, text, root: None,
}
