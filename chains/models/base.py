"""What a model is: a list of requests in, one outcome for each out, in order."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypedDict

from pydantic import BaseModel, ConfigDict, Field

from chains.errors import CompletionError, GristmillError, ModelCrashed


class Message(TypedDict):
    """One chat message, in the OpenAI form."""

    role: Literal["system", "user", "assistant"]
    content: str


class Parameters(BaseModel):
    """Sampling parameters of a chain; part of every fingerprint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_output_tokens: int = Field(256, ge=1)
    min_output_tokens: int = Field(0, ge=0, description="no end of sequence before; in-process")
    temperature: float = Field(0.0, ge=0.0)
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    seed: int = 0
    stop: tuple[str, ...] = ()
    sentences: int = Field(3, ge=1, description="how many sentences an extractive model picks")


@dataclass(frozen=True)
class Usage:
    """Tokens of one or more calls; None where the model did not say."""

    input_tokens: int | None = None
    output_tokens: int | None = None

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            _sum(self.input_tokens, other.input_tokens),
            _sum(self.output_tokens, other.output_tokens),
        )


def _sum(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else a + b


@dataclass(frozen=True)
class Request:
    """One question to a model.

    `messages` is the rendered prompt; `variables` are the values it was rendered from, for models
    that read the input itself; `response_schema` is a JSON Schema or None for free text.
    """

    messages: tuple[Message, ...]
    parameters: Parameters = field(default_factory=Parameters)
    variables: Mapping[str, Any] = field(default_factory=dict)
    response_schema: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Answer:
    """What a model said. `latency_ms` is the time of the call (of the batch, where batched)."""

    text: str
    finish_reason: str | None
    usage: Usage
    latency_ms: float
    flags: tuple[str, ...] = ()


Outcome = Answer | CompletionError


@dataclass(frozen=True)
class ModelRef:
    """A model, resolved once on the driver; plain data that travels to executors.

    `spec` is what the user wrote, `name` is what rows carry (name@version), `location` is a folder,
    an endpoint's model name or an import path, `digest` is the identity of the weights (part of
    every fingerprint), `options` are what the kind needs beyond that; secrets only as references.
    """

    spec: str
    kind: str
    name: str
    location: str
    digest: str
    options: tuple[tuple[str, Any], ...] = ()


class Model(Protocol):
    """A loaded model. Made once in each process from its `ModelRef`; weights load on first use."""

    ref: ModelRef

    @property
    def context_window(self) -> int | None:
        """Tokens of prompt and answer together; None means unbounded or unknown."""
        ...

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Return the prompt's length in tokens, without loading weights.

        What it raises is the row's error.
        """
        ...

    def complete(self, requests: Sequence[Request]) -> list[Outcome]:
        """Answer every request, in order.

        An error of one row is returned in its place. What is raised instead is taken as the fault
        of some row in the batch, and the batch is halved until that row stands alone; only
        `GristmillError` stops the job.
        """
        ...


def isolate(
    run: Callable[[Sequence[Request]], list[Outcome]], requests: Sequence[Request]
) -> list[Outcome]:
    """Run a batch; where it raises, halve it until the rows that break it stand alone.

    The message of the row's error names the exception's type only: its text may hold the prompt.
    """
    try:
        return run(requests)
    except GristmillError:
        raise
    except Exception as error:
        if len(requests) == 1:
            return [ModelCrashed(f"the model raised {type(error).__name__} on this row")]
        middle = len(requests) // 2
        return isolate(run, requests[:middle]) + isolate(run, requests[middle:])
