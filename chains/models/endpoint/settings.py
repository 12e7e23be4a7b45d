"""How to reach an endpoint, as settings and as part of a model's reference."""

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from chains.errors import SettingsError
from chains.models.base import ModelRef
from chains.models.endpoint.kinds import KINDS, KindName
from chains.secrets import check_reference


def check_base_url(value: str) -> str:
    """Refuse what is no plain URL. The value is not repeated: it may carry a password."""
    if not _is_url(value):
        raise PydanticCustomError("base_url", "expected http(s)://HOST[:PORT]/PATH")
    parts = urlsplit(value)
    if parts.username or parts.password or parts.query or parts.fragment:
        raise PydanticCustomError("base_url", "expected no user, password, query or fragment")
    return value


def _is_url(value: str) -> bool:
    """Tell whether the HTTP client takes a URL, and its port can be one."""
    from httpx2 import URL, InvalidURL  # slow to import, and not every job has endpoints

    try:
        URL(value)
        parts = urlsplit(value)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except (InvalidURL, ValueError):
        return False


def is_loopback(url: str) -> bool:
    """Tell whether a URL's host is this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class QuotaSettings(BaseModel):
    """What all executors of a run together may ask of an endpoint; None is no limit.

    Tokens are those of prompt and answer: the most that they may be while a request is on its way,
    then what the endpoint counted. At most so many are let go in any 60 seconds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    requests_per_minute: PositiveInt | None = None
    tokens_per_minute: PositiveInt | None = None
    concurrent_requests: PositiveInt | None = None


class EndpointSettings(BaseModel):
    """How to reach an endpoint, and how hard to try; times in seconds.

    `timeout_seconds` is the total deadline of one attempt, connecting included. A server that asks
    to wait longer than `max_retry_wait_seconds` leaves its rows to the next run, and so does one
    that has failed `circuit_failures` times in a row and then for so long. Models that reject
    sampling parameters (OpenAI's reasoning models do) need them in `omit_parameters`. With
    `concurrency: auto` up to `max_concurrency` requests are in flight, as many as the server takes.
    A `token` (of Entra, say) goes as a bearer, an `api_key` in the header of the kind. With `mode:
    batch` jobs over tables submit prompts to the provider's batch API, so many or so many bytes in
    one batch, and wait for them up to `batch_wait_seconds`, looking every `batch_poll_seconds`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    kind: KindName = "compatible"
    base_url: Annotated[str, AfterValidator(check_base_url)]
    api_key: Annotated[str, AfterValidator(check_reference)] | None = None
    token: Annotated[str, AfterValidator(check_reference)] | None = None
    api_version: str | None = Field(None, pattern=r"^[A-Za-z0-9.-]+$")
    mode: Literal["online", "batch"] = "online"
    batch_wait_seconds: float = Field(86_400.0, ge=0, allow_inf_nan=False)
    batch_poll_seconds: float = Field(60.0, ge=0, allow_inf_nan=False)
    batch_requests: int = Field(50_000, ge=1)
    batch_bytes: int = Field(100_000_000, ge=1)
    timeout_seconds: float = Field(120.0, gt=0, allow_inf_nan=False)
    attempts: int = Field(5, ge=1)
    concurrency: Literal["auto"] | PositiveInt = "auto"
    max_concurrency: int = Field(256, ge=1)
    circuit_failures: int = Field(10, ge=1)
    max_retry_wait_seconds: float = Field(60.0, ge=0, allow_inf_nan=False)
    stream: bool = False
    context_window: int | None = Field(None, ge=1)
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    omit_parameters: tuple[Literal["temperature", "top_p", "seed", "stop"], ...] = ()
    quota: QuotaSettings = QuotaSettings()

    @property
    def most_in_flight(self) -> int:
        """The most requests that may ever be in flight."""
        return self.max_concurrency if self.concurrency == "auto" else self.concurrency

    @property
    def credential(self) -> str | None:
        """The reference of the key or the token."""
        return self.token or self.api_key

    @model_validator(mode="before")
    @classmethod
    def _base_url_of_the_kind(cls, given: Any) -> Any:
        kind = given.get("kind") if isinstance(given, Mapping) else None
        known = KINDS.get(kind) if isinstance(kind, str) else None
        return (
            given if known is None or not known.base_url else {"base_url": known.base_url, **given}
        )

    @model_validator(mode="after")
    def _form_of_the_kind(self) -> "EndpointSettings":
        path = urlsplit(self.base_url).path.rstrip("/")
        expected = KINDS[self.kind].base_paths
        if expected and path not in expected:
            message = f"base_url: kind {self.kind} expects the path {' or '.join(expected)}"
            raise PydanticCustomError("base_url", message)
        if self.api_version is not None and (self.kind, path) != ("azure", "/openai"):
            message = "api_version: only with kind azure and a base_url that ends in /openai"
            raise PydanticCustomError("api_version", message)
        if self.api_version is None and (self.kind, path) == ("azure", "/openai"):
            raise PydanticCustomError("api_version", "api_version: needed where /v1 is not named")
        if self.api_key is not None and self.token is not None:
            raise PydanticCustomError("token", "token: expected api_key or token, not both")
        if self.mode == "batch" and KINDS[self.kind].batched_path is None:
            message = f"mode: kind {self.kind} has no batch API"
            raise PydanticCustomError("mode", message)
        return self

    @model_validator(mode="after")
    def _key_is_not_sent_in_the_clear(self) -> "EndpointSettings":
        plain = urlsplit(self.base_url).scheme == "http"
        if plain and self.credential is not None and not is_loopback(self.base_url):
            message = "base_url: expected https, or the key would cross the network in the clear"
            raise PydanticCustomError("base_url", message)
        return self


def resolve_endpoint(
    spec: str, name: str, model: str, settings: EndpointSettings | Mapping[str, Any]
) -> ModelRef:
    """Return the reference of `model` at the endpoint `name`.

    The digest leaves the URL out: the same model behind another gateway is the same question. The
    quota stays with the driver, which keeps it.
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
        options=tuple(sorted(checked.model_dump(exclude={"quota"}).items())),
    )


def asks_in_batches(ref: ModelRef) -> bool:
    """Tell whether jobs over tables ask this model through the provider's batch API."""
    return ref.kind == "endpoint" and dict(ref.options).get("mode") == "batch"
