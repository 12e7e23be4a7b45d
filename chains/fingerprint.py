"""The identity of a question: same fingerprint, same question, never asked twice."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from chains.models.base import Message, Parameters


def fingerprint(
    messages: Sequence[Message],
    *,
    chain: str,
    model_digest: str,
    parameters: Parameters,
    schema: Mapping[str, Any] | None,
    sample: int = 0,
) -> str:
    """Return the sha256 (64 hex digits) over the canonical JSON of all that decides an answer.

    Parameters at their defaults are left out, so that a new parameter changes no fingerprint. The
    schema keeps the order of its properties: models answer in that order.
    """
    question = {
        "chain": chain,
        "messages": list(messages),
        "model": model_digest,
        "parameters": parameters.model_dump(mode="json", exclude_defaults=True),
        "sample": sample,
        "schema": None if schema is None else json.dumps(schema, ensure_ascii=False),
    }
    canonical = json.dumps(question, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()
