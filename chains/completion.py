"""What a row becomes: a question on its way to the model, a completion on its way back."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chains.models.base import Request


@dataclass(frozen=True)
class RowError:
    """Why a row has no answer; docs/errors.md explains every `code`."""

    code: str
    message: str
    retryable: bool


@dataclass(frozen=True)
class Completion:
    """One row's outcome; `error is None` means success.

    `result` is text, or plain data in the form of the response schema. `latency_ms` is the time of
    the call that paid for it. `flags` say what was changed on the way. `raw` keeps what the model
    said where it is not an answer.
    """

    result: Any = None
    error: RowError | None = None
    finish_reason: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    latency_ms: float | None = None
    cached: bool = False
    chain: str = ""
    template: str = ""
    model: str = ""
    fingerprint: str | None = None
    completed_at: datetime | None = None
    flags: tuple[str, ...] = ()
    raw: str | None = None


def as_row(completion: Completion) -> dict[str, Any]:
    """Return a completion's fields, its error as a dict too; `result` is not copied."""
    error = completion.error
    return {**vars(completion), "error": None if error is None else vars(error)}


def result_text(result: Any) -> str:
    """Return a result as the ledger keeps it: text as it is, anything else as JSON."""
    return result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)


@dataclass(frozen=True)
class Question:
    """A row rendered into a request, with its identity."""

    request: Request
    fingerprint: str
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Parts:
    """An input longer than the window, cut into texts that fit; blank ones are left out."""

    texts: tuple[str, ...]
