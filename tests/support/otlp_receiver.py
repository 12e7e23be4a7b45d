"""A collector of OpenTelemetry in this process: takes OTLP over HTTP, keeps what it was sent."""

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


class Receiver:
    """An endpoint for traces and metrics; `delay` is an event that answers wait for."""

    def __init__(self, delay=None):
        self.delay = delay
        self.headers, self.bodies = [], []
        self._traces, self._metrics = [], []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                receiver._take(self)

            def log_message(self, *_):
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def _take(self, request):
        body = request.rfile.read(int(request.headers["Content-Length"]))
        if request.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        if self.delay is not None:
            self.delay.wait()
        kinds = {
            "/v1/traces": (self._traces, ExportTraceServiceRequest, ExportTraceServiceResponse),
            "/v1/metrics": (
                self._metrics,
                ExportMetricsServiceRequest,
                ExportMetricsServiceResponse,
            ),
        }
        kept, asked, answer = kinds[request.path]
        kept.append(asked.FromString(body))
        self.headers.append(dict(request.headers))
        self.bodies.append(body)
        request.send_response(200)
        reply = answer().SerializeToString()
        request.send_header("Content-Type", "application/x-protobuf")
        request.send_header("Content-Length", str(len(reply)))
        request.end_headers()
        request.wfile.write(reply)

    def spans(self):
        """Return every span with its attributes as a dict."""
        return [
            (span, attributes(span.attributes))
            for request in self._traces
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def points(self, name):
        """Return the last points of a metric, of each process and set of attributes, added up.

        Gives (attributes, count, sum) of a histogram and (attributes, sum) of a counter.
        """
        newest = {}
        for request in self._metrics:
            for resource in request.resource_metrics:
                process = attributes(resource.resource.attributes)["service.instance.id"]
                for scope in resource.scope_metrics:
                    for metric in scope.metrics:
                        if metric.name == name:
                            kind = getattr(metric, metric.WhichOneof("data"))
                            for point in kind.data_points:
                                given = attributes(point.attributes)
                                newest[process, tuple(sorted(given.items()))] = point
        return [(dict(given), point) for (_, given), point in newest.items()]


def attributes(listed):
    """Return attributes of the wire as a dict."""
    return {it.key: _value(it.value) for it in listed}


def _value(value):
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return tuple(_value(it) for it in value.array_value.values)
    return getattr(value, kind)
