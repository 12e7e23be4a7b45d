"""What goes to a provider's batch API and comes back: lines of files, and batches as documents."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from chains.errors import AwaitingBatch, BatchUnanswered, CompletionError, ServerError
from chains.models.base import Outcome

NAME = "gristmill"
_ENDS = {
    "completed": "completed_at",
    "failed": "failed_at",
    "expired": "expired_at",
    "cancelled": "cancelled_at",
}


@dataclass(frozen=True)
class ProviderBatch:
    """A batch as its provider tells it; `name` is its submitter's, and stands in its metadata.

    `done` counts requests, `seconds` are those from submission to end, `files` hold answers and
    errors; `reason` says why a request is in none of them. Without an `id` nobody knows whether the
    provider has it.
    """

    name: str
    id: str
    status: str
    done: int = 0
    seconds: float = 0.0
    files: tuple[str, ...] = ()
    reason: str = ""

    @property
    def has_ended(self) -> bool:
        """Whether it gets no more answers."""
        return self.status in _ENDS

    @property
    def is_open(self) -> bool:
        """Whether it may be waited for."""
        return bool(self.id) and not self.has_ended

    def json(self) -> str:
        """Return it as text; `of_json` reads it."""
        return json.dumps(asdict(self))

    @classmethod
    def of_json(cls, text: str) -> "ProviderBatch":
        """Read what `json` wrote."""
        return cls(**json.loads(text))

    @classmethod
    def of(cls, document: Any) -> "ProviderBatch":
        """Read what the provider says. Raises ServerError where that is no batch."""
        try:
            return _read_batch(document)
        except (LookupError, TypeError, AttributeError):
            unreadable = ServerError("status 200 without a batch")
        raise unreadable


def request_line(path: str, fingerprint: str, body: Mapping[str, Any]) -> bytes:
    """Return a request as a line of a batch's file; `path` is what batches call that of chats."""
    line = {"custom_id": fingerprint, "method": "POST", "url": path, "body": body}
    return json.dumps(line, ensure_ascii=False).encode() + b"\n"


def read_line(line: bytes, batch: ProviderBatch) -> tuple[str, str] | None:
    """Return a request's fingerprint and, for `read_outcome`, its outcome; None for another line.

    `line` is one of a file of answers or errors.
    """
    from chains.models.endpoint.client import safe_words

    try:
        told = json.loads(line)
        fingerprint, response = str(told["custom_id"]), told.get("response")
        if response is None:
            words = safe_words(told.get("error") or {})
            return fingerprint, json.dumps({"reason": " ".join(words) or batch.reason})
        said = {"status": int(response["status_code"]), "body": response["body"]}
        return fingerprint, json.dumps(said | {"latency_ms": batch.seconds * 1000})
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def missing(batch: ProviderBatch) -> str:
    """Return, for `read_outcome`, the outcome of a request that is in no file of an ended batch."""
    return json.dumps({"reason": batch.reason})


def read_outcome(said: str | None) -> Outcome:
    """Return the outcome of a request; None stands for one whose batch has not ended."""
    from chains.models.endpoint.client import error_of_status, read_answer

    if said is None:
        return AwaitingBatch("asked in a batch of the provider that has not ended")
    told = json.loads(said)
    if "reason" in told:
        return BatchUnanswered(f"no answer in its batch: {told['reason']}")
    status, body = told["status"], told["body"]
    if status != 200:
        return error_of_status(status, body.get("error", body) if isinstance(body, dict) else None)
    try:
        return read_answer(json.dumps(body).encode(), told["latency_ms"])
    except CompletionError as error:
        return error.with_traceback(None)


def _read_batch(document: Any) -> ProviderBatch:
    from chains.models.endpoint.client import safe_words

    status, began = document["status"], document["created_at"]
    counts = document.get("request_counts") or {}
    errors = (document.get("errors") or {}).get("data") or []
    codes = dict.fromkeys(code for error in errors for code in safe_words(error))
    files = (document.get("output_file_id"), document.get("error_file_id"))
    return ProviderBatch(
        name=(document.get("metadata") or {}).get(NAME, ""),
        id=document["id"],
        status=status,
        done=(counts.get("completed") or 0) + (counts.get("failed") or 0),
        seconds=float((document.get(_ENDS.get(status, "")) or began) - began),
        files=tuple(it for it in files if it),
        reason=" ".join([status, *codes]),
    )
