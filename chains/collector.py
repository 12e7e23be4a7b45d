"""A collector of OpenTelemetry, as one process reaches it. One that is away costs next to nothing.

Spans and metrics are sent in the background. A request has SECONDS_A_REQUEST; after one that failed
nothing is sent for SECONDS_BETWEEN_FAILURES, and what was to be sent meanwhile is dropped.
"""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from time import monotonic
from typing import Any, TypeVar
from uuid import uuid4

import requests
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult

from chains.models.endpoint.settings import is_loopback
from chains.secrets import resolve_secret

SECONDS_A_REQUEST = 2.0
SECONDS_BETWEEN_FAILURES = 30.0
_SPANS_EVERY_MS, _METRICS_EVERY_MS = 1000, 10_000
_Result = TypeVar("_Result")


@dataclass
class Reach:
    """Whether a collector takes what it is sent; `failures` are requests that it did not take."""

    failures: int = 0
    clock: Callable[[], float] = monotonic
    _not_before: float = field(default=0.0, repr=False)

    @property
    def is_away(self) -> bool:
        """Whether nothing is sent for now."""
        return self.clock() < self._not_before

    def send(self, export: Callable[[], _Result], success: _Result, failure: _Result) -> _Result:
        """Export a batch, or drop it."""
        if self.is_away:
            return failure
        result = export()
        if result != success:
            self.failures += 1
            self._not_before = self.clock() + SECONDS_BETWEEN_FAILURES
        return result


class Collector:
    """Where spans and metrics of this process go; they leave it in the background.

    Raises SettingsError where a header's secret cannot be had.
    """

    def __init__(self, endpoint: str, headers: Sequence[tuple[str, str]]) -> None:
        self.endpoint, self.reach = endpoint, Reach()
        session = requests.Session()
        session.trust_env = not is_loopback(endpoint)  # a proxy cannot reach this machine
        reached: dict[str, Any] = {
            "headers": {name: resolve_secret(reference) for name, reference in headers},
            "timeout": SECONDS_A_REQUEST,
            "session": session,
        }
        base, resource = endpoint.rstrip("/"), _resource()
        spans = _Spans(endpoint=f"{base}/v1/traces", **reached)
        metrics = _Metrics(endpoint=f"{base}/v1/metrics", **reached)
        spans.reach = metrics.reach = self.reach
        self._spans = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._spans.add_span_processor(
            BatchSpanProcessor(spans, schedule_delay_millis=_SPANS_EVERY_MS)
        )
        reader = PeriodicExportingMetricReader(metrics, export_interval_millis=_METRICS_EVERY_MS)
        self._metrics = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
        self.tracer = self._spans.get_tracer("gristmill")
        self.meter = self._metrics.get_meter("gristmill")

    def flush(self) -> None:
        """Send what there is, unless the collector is away."""
        if not self.reach.is_away:
            self._spans.force_flush()
            self._metrics.force_flush()

    def close(self) -> None:
        """Send what there is and end the threads that send."""
        self.flush()
        self._spans.shutdown()
        self._metrics.shutdown()


@lru_cache(maxsize=2)
def collector_of(endpoint: str, headers: tuple[tuple[str, str], ...]) -> Collector:
    """Return the collector of a worker's process, made once."""
    return Collector(endpoint, headers)


class _Spans(OTLPSpanExporter):
    reach: Reach

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        send = super().export
        return self.reach.send(
            lambda: send(spans), SpanExportResult.SUCCESS, SpanExportResult.FAILURE
        )


class _Metrics(OTLPMetricExporter):
    reach: Reach

    def export(
        self, metrics_data: MetricsData, timeout_millis: float | None = None, **kwargs: Any
    ) -> MetricExportResult:
        send = super().export
        return self.reach.send(
            lambda: send(metrics_data, timeout_millis, **kwargs),
            MetricExportResult.SUCCESS,
            MetricExportResult.FAILURE,
        )


def _resource() -> Resource:
    """Name this process: counts that several of them add up must not be taken for one's."""
    service = os.environ.get("OTEL_SERVICE_NAME", "gristmill")
    names = {"service.name": service, "service.instance.id": str(uuid4())}
    try:
        names["service.version"] = version("gristmill")
    except PackageNotFoundError:  # a zip of --py-files
        logging.getLogger("gristmill.telemetry").debug("gristmill is not installed here")
    return Resource.create(names)
