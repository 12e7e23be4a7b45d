"""What a model is: a list of requests in, one outcome for each out, in order."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypedDict

from pydantic import BaseModel, ConfigDict, Field

from chains.errors import CompletionError, GristmillError, JobError, ModelCrashed, OutOfMemory

_OF_MEMORY = ("OutOfMemoryError", "MemoryError")  # the first is torch's, which may not be here


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
    min_log_probability: float | None = Field(
        None, le=0.0, description="of an answer's tokens, their mean; below it is no answer"
    )


@dataclass(frozen=True)
class Usage:
    """Tokens of one or more calls as far as the model said; None where it said nothing."""

    input_tokens: int | None = None
    output_tokens: int | None = None

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            _sum(self.input_tokens, other.input_tokens),
            _sum(self.output_tokens, other.output_tokens),
        )


def _sum(a: int | None, b: int | None) -> int | None:
    return None if a is None and b is None else (a or 0) + (b or 0)


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
    """What a model said. `latency_ms` is the time of the call (of the batch, where batched).

    `log_probability` is the mean of its tokens' natural log-probabilities, where the request's
    parameters have a `min_log_probability`; None where the model does not say.
    """

    text: str
    finish_reason: str | None
    usage: Usage
    latency_ms: float
    flags: tuple[str, ...] = ()
    log_probability: float | None = None


Outcome = Answer | CompletionError
Outcomes = Sequence[tuple[int, Outcome]]
"""Outcomes of some requests, each with its position among them."""


@dataclass(frozen=True)
class QuotaAddress:
    """Where a run leases requests, and the token that it asks for; both end with the run."""

    host: str
    port: int
    token: str = field(repr=False)


@dataclass(frozen=True)
class ModelRef:
    """A model, resolved once on the driver; plain data that travels to executors.

    `spec` is what the user wrote, `name` is what rows carry (name@version), `location` is a folder,
    an endpoint's model name or an import path, `digest` is the identity of the weights (part of
    every fingerprint), `options` are what the kind needs beyond that; secrets only as references.
    With a `quota` the model leases each request; it is the run's and no part of the identity.
    """

    spec: str
    kind: str
    name: str
    location: str
    digest: str
    options: tuple[tuple[str, Any], ...] = ()
    quota: QuotaAddress | None = None


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


def stream(model: Model, requests: Sequence[Request]) -> Iterator[Outcomes]:
    """Answer every request, in any order, as far as the model can do it one by one.

    A model may have a method `stream`, from requests to an iterator of outcomes, whose errors are
    those of `complete`, and which asks for nothing more while its caller has not come back. A batch
    that raises is halved, less what it had answered, until the rows that break it stand alone.
    """
    return isolate(getattr(model, "stream", None) or _at_once(model.complete), requests)


def isolate(
    run: Callable[[Sequence[Request]], Iterator[Outcomes]], requests: Sequence[Request]
) -> Iterator[Outcomes]:
    """Run a batch; where it raises, halve what is left until the rows that break it stand alone.

    The message of the row's error names the exception's type only: its text may hold the prompt.
    """
    left = dict(enumerate(requests))
    try:
        for outcomes in run(requests):
            for position, _ in outcomes:
                left.pop(position)
            yield outcomes
        if left:
            raise JobError(
                f"the model gave no outcome for {len(left)} of {len(requests)} requests; its "
                "`stream` has to give one for each"
            )
        return
    except GristmillError:
        raise
    except Exception as error:
        broken = type(error).__name__  # the error itself would hold on to the batch's memory
    if len(left) == 1:
        kind = OutOfMemory if broken in _OF_MEMORY else ModelCrashed
        yield [(next(iter(left)), kind(f"the model raised {broken} on this row"))]
        return
    positions = list(left)
    middle = len(positions) // 2
    for half in (positions[:middle], positions[middle:]):
        for outcomes in isolate(run, [requests[i] for i in half]):
            yield [(half[i], outcome) for i, outcome in outcomes]


def in_order(outcomes: Iterator[Outcomes]) -> list[Outcome]:
    """Return the outcomes by position."""
    found = dict(pair for some in outcomes for pair in some)
    return [found[i] for i in range(len(found))]


def _at_once(
    complete: Callable[[Sequence[Request]], list[Outcome]],
) -> Callable[[Sequence[Request]], Iterator[Outcomes]]:
    def run(requests: Sequence[Request]) -> Iterator[Outcomes]:
        outcomes = complete(requests)
        if len(outcomes) != len(requests):
            raise JobError(
                f"the model gave {len(outcomes)} outcomes for {len(requests)} requests; its "
                "`complete` has to return one for each, in order"
            )
        yield list(enumerate(outcomes))

    return run
