"""A run as a collector of OpenTelemetry sees it from the driver: spans of its steps, counts."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from chains.errors import SettingsError
from chains.telemetry import Telemetry
from jobs.run_numbers import Report, outcomes, prompts
from jobs.settings import OtelSettings

LOG = logging.getLogger("gristmill")


class Tracing:
    """The span of a run, spans of its steps below it, and when it has ended its counts.

    A collector that is away changes nothing of the run; a warning says so at its end.
    Raises SettingsError where OpenTelemetry is not installed, or a header's secret is not there.
    """

    def __init__(self, settings: OtelSettings, job: str, run_id: str) -> None:
        try:
            from opentelemetry import trace

            from chains.collector import Collector
        except ImportError as error:
            raise SettingsError(
                f"otel.endpoint: {error}; pip install 'gristmill[otel]', or leave it out"
            ) from error
        self._settings, self._trace, self._job = settings, trace, job
        self._collector = Collector(str(settings.endpoint), tuple(settings.headers.items()))
        attributes = {"gristmill.run_id": run_id, "gristmill.job": job}
        self._span = self._collector.tracer.start_span(f"gristmill {job}", attributes=attributes)
        self._below = trace.set_span_in_context(self._span)

    @property
    def telemetry(self) -> Telemetry:
        """What executors need to tell of their calls, below the span of the run."""
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(carrier, self._below)
        settings = self._settings
        headers = tuple(settings.headers.items())
        return Telemetry(
            str(settings.endpoint), headers, settings.content, carrier.get("traceparent")
        )

    @contextmanager
    def step(self, name: str, **attributes: Any) -> Iterator[None]:
        """Do a step within a span: below that of the step around it, else below the run's."""
        above = self._trace.get_current_span().get_span_context().is_valid
        with self._collector.tracer.start_as_current_span(
            name,
            context=None if above else self._below,
            attributes=attributes,
            record_exception=False,  # its text may hold what no span should
            set_status_on_exception=False,
        ):
            yield

    def pinned(self, versions: dict[str, str]) -> None:
        """Tell what the run is pinned to, name@version each."""
        self._span.set_attributes({f"gristmill.{name}": it for name, it in versions.items()})

    def counted(self, report: Report) -> None:
        """Tell the numbers of a run, or of a micro-batch."""
        job, meter = {"gristmill.job": self._job}, self._collector.meter
        rows = meter.create_counter("gristmill.rows", "{row}", "Source rows by their outcome")
        for outcome, count in outcomes(report).items():
            rows.add(count, {**job, "gristmill.outcome": outcome})
        asked = meter.create_counter("gristmill.prompts", "{prompt}", "Prompts by who answered")
        for answered_by, count in prompts(report).items():
            asked.add(count, {**job, "gristmill.answered_by": answered_by})
        tokens = meter.create_counter("gristmill.tokens", "{token}", "Tokens that were paid for")
        for kind, count in report["tokens"].items():
            tokens.add(count, {**job, "gen_ai.token.type": kind})
        if (cost := report.get("cost")) is not None:
            paid = meter.create_counter("gristmill.cost", cost["currency"], "Price of the tokens")
            paid.add(cost["amount"], job)

    def failed(self, error: BaseException) -> None:
        """Tell that the run failed, and by what kind of error."""
        from opentelemetry.trace import Status, StatusCode

        self._span.set_attribute("error.type", type(error).__name__)
        self._span.set_status(Status(StatusCode.ERROR))

    def close(self) -> None:
        """End the span of the run and send what is left."""
        self._span.end()
        self._collector.close()
        if self._collector.reach.failures:
            LOG.warning(
                "the collector at otel.endpoint %s did not take all traces and metrics of this "
                "run; the run itself is not affected",
                self._collector.endpoint,
            )
