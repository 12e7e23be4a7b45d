"""Which server a sidecar is, as settings and as part of a model's reference."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator
from pydantic_core import PydanticCustomError

from chains.errors import SettingsError
from chains.models.base import ModelRef

KindName = Literal["transformers", "vllm", "command"]


@dataclass(frozen=True)
class ServerKind:
    """How a server is started, and where it answers 200 as soon as it can serve.

    `{python}`, `{model}` (a folder), `{host}`, `{port}` and `{token}` in the command are filled in.
    A server that takes a token from the environment has a `token_variable`.
    """

    command: tuple[str, ...]
    ready_path: str
    token_variable: str | None = None


_ADDRESS = ("--host", "{host}", "--port", "{port}")
KINDS: Mapping[str, ServerKind] = {
    "transformers": ServerKind(
        command=(
            *("{python}", "-m", "transformers.cli.transformers", "serve", "{model}", *_ADDRESS),
            "--continuous-batching",
        ),
        ready_path="/health",
    ),
    "vllm": ServerKind(
        command=("{python}", "-m", "vllm.entrypoints.cli.main", "serve", "{model}", *_ADDRESS),
        ready_path="/health",
        token_variable="VLLM_API_KEY",  # noqa: S106 - a name, not a token
    ),
    "command": ServerKind(command=(), ready_path="/v1/models"),
}


class SidecarSettings(BaseModel):
    """The model server of each executor; times in seconds.

    A server that does not answer its probe for `ready_seconds`, at the start or later, is ended;
    one that crashes is restarted, `restarts` times in a row. `threads` is its OMP_NUM_THREADS;
    `timeout_seconds` is the deadline of one request.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    kind: KindName = "transformers"
    command: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    ready_path: str | None = Field(None, pattern="^/")
    ready_seconds: float = Field(600.0, gt=0, allow_inf_nan=False)
    idle_seconds: float = Field(300.0, gt=0, allow_inf_nan=False)
    restarts: int = Field(3, ge=0)
    threads: PositiveInt | None = None
    concurrency: Literal["auto"] | PositiveInt = "auto"
    timeout_seconds: float = Field(600.0, gt=0, allow_inf_nan=False)

    @property
    def server_command(self) -> tuple[str, ...]:
        """The whole command, its placeholders not filled in."""
        return (*(self.command or KINDS[self.kind].command), *self.arguments)

    @property
    def probe_path(self) -> str:
        """Where the server says that it is ready."""
        return self.ready_path or KINDS[self.kind].ready_path

    @model_validator(mode="after")
    def _command_is_for_its_kind(self) -> "SidecarSettings":
        if (self.kind == "command") != bool(self.command):
            raise PydanticCustomError("command", "command: goes with kind command, and only there")
        if self.command and not any("{port}" in part for part in self.server_command):
            raise PydanticCustomError("command", "command: expected {port} in it")
        return self


def behind_sidecar(ref: ModelRef, settings: SidecarSettings) -> ModelRef:
    """Return the same model, answering from a server beside each executor.

    Its name and its digest stay: the same weights are the same question, whatever runs them.
    Raises SettingsError for a model that is no transformers model.
    """
    if ref.kind != "transformers":
        raise SettingsError(
            f"chain.engine: sidecar serves path:, hf: and logged transformers models, found "
            f"chain.model {ref.spec!r}"
        )
    return replace(ref, kind="sidecar", options=tuple(sorted(settings.model_dump().items())))
