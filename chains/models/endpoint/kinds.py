"""The kinds of endpoint: where a question goes, how a key is sent, where models are listed."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote, urlsplit

KindName = Literal["compatible", "openai", "azure", "databricks"]


@dataclass(frozen=True)
class ListedModel:
    """A model as its endpoint describes it; `task` is None where the endpoint does not say."""

    name: str
    task: str | None = None
    state: str = "ready"


@dataclass(frozen=True)
class Kind:
    """What differs from one provider to the next.

    `key_header` is the header that carries `api_key`, and what stands before the key in it; a token
    is always sent as a bearer. `base_paths` are those that a base URL may end in (none: any).
    `batched_path` is what a batch calls the path of its questions (None: there are no batches).
    """

    key_header: tuple[str, str] = ("Authorization", "Bearer ")
    base_url: str | None = None
    base_paths: tuple[str, ...] = ()
    batched_path: str | None = "/v1/chat/completions"
    list_path: Callable[[str], str] = lambda base_path: f"{base_path}/models"
    read_list: Callable[[Mapping[str, Any]], Iterable[ListedModel]] = lambda page: (
        ListedModel(model["id"]) for model in page["data"]
    )


def _databricks_models(page: Mapping[str, Any]) -> Iterable[ListedModel]:
    """Read /api/2.0/serving-endpoints; an external model's name tells its provider too."""
    for endpoint in page.get("endpoints", []):
        state = endpoint.get("state", {}).get("ready", "unknown")
        entities = endpoint.get("config", {}).get("served_entities", [])
        behind = [
            f"{it['external_model']['provider']}/{it['external_model']['name']}"
            for it in entities
            if "external_model" in it
        ]
        said = state.lower().replace("_", " ")
        yield ListedModel(
            endpoint["name"],
            endpoint.get("task"),
            f"{said}, external: {', '.join(behind)}" if behind else said,
        )


KINDS: Mapping[str, Kind] = {
    "compatible": Kind(),
    "openai": Kind(base_url="https://api.openai.com/v1", base_paths=("/v1",)),
    "azure": Kind(
        key_header=("api-key", ""),
        base_paths=("/openai/v1", "/openai"),
        batched_path="/chat/completions",
    ),
    "databricks": Kind(
        base_paths=("/serving-endpoints",),
        batched_path=None,
        list_path=lambda base_path: "/api/2.0/serving-endpoints",
        read_list=_databricks_models,
    ),
}


def credential_headers(kind: str, key: str | None, token: str | None) -> dict[str, str]:
    """Return the one header that carries the credential; none where there is none."""
    if token is not None:
        return {"Authorization": f"Bearer {token}"}
    name, before = KINDS[kind].key_header
    return {} if key is None else {name: before + key}


def chat_path(model: str, api_version: str | None) -> str:
    """Return where questions go, after the base URL; Azure's older form names the deployment."""
    if api_version is None:
        return "/chat/completions"
    return f"/deployments/{quote(model, safe='')}/chat/completions?api-version={api_version}"


def list_url(kind: str, base_url: str, api_version: str | None) -> str:
    """Return the URL that lists an endpoint's models."""
    parts = urlsplit(base_url)
    path = KINDS[kind].list_path(parts.path.rstrip("/"))
    query = "" if api_version is None else f"?api-version={api_version}"
    return f"{parts.scheme}://{parts.netloc}{path}{query}"
