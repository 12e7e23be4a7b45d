"""Spans and metrics of model calls, by the OpenTelemetry SDK, with the names of its GenAI terms.

Imported only where there is a collector.
"""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from chains.collector import Collector, collector_of
from chains.errors import CompletionError
from chains.models.base import Answer
from chains.telemetry import Asked, Telemetry

_PROVIDERS = {"azure": "azure.ai.openai"}
_OF_BODY = {
    "max_tokens": "gen_ai.request.max_tokens",
    "max_completion_tokens": "gen_ai.request.max_tokens",
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "seed": "gen_ai.request.seed",
    "stop": "gen_ai.request.stop_sequences",
}
_PARENT = "traceparent"


class OtelCalls:
    """Tells a collector of calls; those of one `telemetry` are below one span."""

    def __init__(self, collector: Collector, telemetry: Telemetry) -> None:
        self._collector, self._content = collector, telemetry.content
        carrier = {_PARENT: telemetry.parent} if telemetry.parent else {}
        self._below = TraceContextTextMapPropagator().extract(carrier)

    @classmethod
    def of(cls, telemetry: Telemetry) -> "OtelCalls":
        """Raise SettingsError where a header's secret cannot be had."""
        return cls(collector_of(telemetry.endpoint, telemetry.headers), telemetry)

    def begin(self, asked: Asked) -> "OtelCall":
        """Begin the span of a request."""
        server = urlsplit(asked.base_url)
        port = server.port or {"http": 80, "https": 443}[server.scheme]
        common: dict[str, Any] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": _PROVIDERS.get(asked.provider, asked.provider),
            "gen_ai.request.model": asked.body["model"],
            "server.address": server.hostname,
            "server.port": port,
        }
        span = self._collector.tracer.start_span(
            f"chat {asked.body['model']}",
            context=self._below,
            kind=SpanKind.CLIENT,
            attributes=common | _request(asked.body) | self._asked_content(asked.body["messages"]),
        )
        return OtelCall(_meters_of(self._collector), span, common, self._content)

    def flush(self) -> None:
        """Send what has been told; a collector that is away is not waited for again."""
        self._collector.flush()

    def _asked_content(self, messages: Sequence[Mapping[str, str]]) -> dict[str, str]:
        if not self._content:
            return {}
        said = [_message(it["role"], it["content"]) for it in messages]
        return {"gen_ai.input.messages": json.dumps(said)}


class OtelCall:
    """A request in flight: a span, and on its end its measures."""

    def __init__(
        self, meters: "_Meters", span: Span, common: Mapping[str, Any], content: bool
    ) -> None:
        self._meters, self._span, self._common, self._content = meters, span, common, content
        self._begin = perf_counter()

    def answered(self, answer: Answer) -> None:
        """End the span with the answer's usage."""
        usage = answer.usage
        tokens = {"input": usage.input_tokens, "output": usage.output_tokens}
        for kind, count in tokens.items():
            if count is not None:
                self._span.set_attribute(f"gen_ai.usage.{kind}_tokens", count)
        if answer.finish_reason is not None:
            self._span.set_attribute("gen_ai.response.finish_reasons", [answer.finish_reason])
        if self._content:
            said = _message("assistant", answer.text) | {"finish_reason": answer.finish_reason}
            self._span.set_attribute("gen_ai.output.messages", json.dumps([said]))
        self._end({})
        self._meters.tokens_of(tokens, self._common)

    def failed(self, error: CompletionError) -> None:
        """End the span with the error's code; its message says nothing of the prompt."""
        self._span.set_attribute("error.type", error.code)
        self._span.set_status(Status(StatusCode.ERROR, str(error)))
        self._end({"error.type": error.code})

    def _end(self, more: Mapping[str, str]) -> None:
        self._span.end()
        seconds = perf_counter() - self._begin
        # The measure is made within the span, so that a collector can link one to the other.
        self._meters.duration.record(
            seconds, {**self._common, **more}, context=set_span_in_context(self._span)
        )


class _Meters:
    def __init__(self, collector: Collector) -> None:
        self.duration = collector.meter.create_histogram(
            "gen_ai.client.operation.duration",
            unit="s",
            description="Time of a request to a model",
            explicit_bucket_boundaries_advisory=[0.01 * 2**i for i in range(14)],
        )
        self.tokens = collector.meter.create_histogram(
            "gen_ai.client.token.usage",
            unit="{token}",
            description="Tokens of a request and of its answer",
            explicit_bucket_boundaries_advisory=[float(4**i) for i in range(14)],
        )

    def tokens_of(self, tokens: Mapping[str, int | None], common: Mapping[str, Any]) -> None:
        for kind, count in tokens.items():
            if count is not None:
                self.tokens.record(count, {**common, "gen_ai.token.type": kind})


@lru_cache(maxsize=2)
def _meters_of(collector: Collector) -> _Meters:
    return _Meters(collector)


def _request(body: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: body[key] for key, name in _OF_BODY.items() if key in body}
    return given | {"gen_ai.output.type": "json" if "response_format" in body else "text"}


def _message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": text}]}
