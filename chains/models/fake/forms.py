"""The kinds of endpoint that the fake one can be: their URLs, headers and lists of models."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_OPENAI_MODELS = {"object": "list", "data": [{"id": "fake", "object": "model"}]}


@dataclass(frozen=True)
class Form:
    """How a kind of endpoint is spoken to: its base path, its question path, its key's header."""

    base: str
    ask: str
    models: str
    header: str = "authorization"
    before_key: str = "Bearer "
    listed: Mapping[str, Any] = field(default_factory=lambda: _OPENAI_MODELS)


_DATABRICKS_ENDPOINTS = {
    "endpoints": [
        {
            "name": "fake",
            "task": "llm/v1/chat",
            "state": {"ready": "READY"},
            "config": {
                "served_entities": [{"external_model": {"provider": "openai", "name": "gpt"}}]
            },
        },
        {"name": "asleep", "state": {"ready": "NOT_READY"}},
    ]
}
FORMS: dict[str, Form] = {
    "compatible": Form("/v1", "/v1/chat/completions", "/v1/models"),
    "azure": Form("/openai/v1", "/openai/v1/chat/completions", "/openai/v1/models", "api-key", ""),
    "azure deployments": Form(
        "/openai",
        "/openai/deployments/m/chat/completions?api-version=2024-10-21",
        "/openai/models?api-version=2024-10-21",
        "api-key",
        "",
    ),
    "databricks": Form(
        "/serving-endpoints",
        "/serving-endpoints/chat/completions",
        "/api/2.0/serving-endpoints",
        listed=_DATABRICKS_ENDPOINTS,
    ),
}
