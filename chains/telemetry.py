"""What is told of the calls of models, in OpenTelemetry's terms; by default nothing.

Nothing of OpenTelemetry is imported here, and no call waits for who is told.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

from chains.errors import CompletionError, SettingsError
from chains.models.base import Answer

log = logging.getLogger("gristmill.telemetry")


@dataclass(frozen=True)
class Telemetry:
    """A collector, and what calls belong to: plain data that travels to executors.

    `endpoint` is the base URL of its OTLP/HTTP, `headers` are names with references to secrets.
    `content` tells prompts and answers too. `parent` is the W3C traceparent of the run.
    """

    endpoint: str
    headers: tuple[tuple[str, str], ...] = ()
    content: bool = False
    parent: str | None = None


@dataclass(frozen=True)
class Asked:
    """A request that is about to be sent: `body` in the OpenAI form, to the provider's server."""

    provider: str
    base_url: str
    body: Mapping[str, Any]


class Call(Protocol):
    """A request in flight; exactly one of the two is called when it ends."""

    def answered(self, answer: Answer) -> None:
        """Tell that it was answered."""
        ...

    def failed(self, error: CompletionError) -> None:
        """Tell that it was not."""
        ...


class Calls(Protocol):
    """Who is told of calls; none of its methods raises."""

    def begin(self, asked: Asked) -> Call:
        """Tell that a request is sent."""
        ...

    def flush(self) -> None:
        """Send what has been told, if that is quickly done."""
        ...


class _Untold:
    def answered(self, answer: Answer) -> None:
        return

    def failed(self, error: CompletionError) -> None:
        return


_UNTOLD = _Untold()
_CALLS: ContextVar[Calls | None] = ContextVar("gristmill_calls", default=None)


def begin(asked: Asked) -> Call:
    """Tell of a request, where the block that asks is `told`."""
    calls = _CALLS.get()
    return _UNTOLD if calls is None else calls.begin(asked)


@contextmanager
def told(telemetry: Telemetry | None) -> Iterator[None]:
    """Tell a collector of the calls in the block, also those of event loops that it starts.

    A collector that cannot be told is logged, and changes nothing.
    """
    calls = None if telemetry is None else _calls(telemetry)
    if calls is None:
        yield
        return
    before = _CALLS.get()
    _CALLS.set(calls)
    try:
        yield
    finally:
        _CALLS.set(before)
        calls.flush()


def _calls(telemetry: Telemetry) -> Calls | None:
    try:
        from chains.otel import OtelCalls

        return OtelCalls.of(telemetry)
    except (ImportError, SettingsError) as error:
        log.warning("calls are not told to %s: %s", telemetry.endpoint, error)
        return None
