"""What a collector of OpenTelemetry is told of a run; it is a real one, of OTLP over HTTP."""

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from otlp_receiver import Receiver

from chains.errors import SettingsError
from chains.models.fake.endpoint import FakeEndpoint, FakeSettings
from jobs.batch import run_batch

pytestmark = pytest.mark.spark

TEXT, KEY = "the merger of Alder and Birch", "sk-canary-7d10"


@pytest.fixture
def source(tmp_path):
    """Have a source of five rows, one of them empty."""
    body = [*(f"key=r{i} {TEXT} {i}" for i in range(4)), None]
    rows = pa.table({"id": [f"r{i}" for i in range(5)], "body": body})
    write_deltalake(f"{tmp_path}/source", rows)


def at(endpoint, receiver, *more):
    return (
        "chain.model=endpoint:fake/m",
        f"endpoints.fake.base_url={endpoint.base_url}",
        "endpoints.fake.attempts=1",
        f"otel.endpoint={receiver.endpoint}",
        *more,
    )


def test_a_run_is_a_trace_down_to_the_calls_of_executors(spark, job, source, tmp_path):
    """By the names of OpenTelemetry's GenAI terms; no text, no key of the endpoint is told."""
    secret, collector_key = tmp_path / "secret", tmp_path / "collector_key"
    secret.write_text(KEY)
    collector_key.write_text("let me in")
    faults = {"r3": {"status": 500}}
    with Receiver() as receiver, FakeEndpoint(FakeSettings(api_key=KEY, faults=faults)) as endpoint:
        report = run_batch(
            spark,
            job(
                *at(endpoint, receiver, f"endpoints.fake.api_key=file:{secret}"),
                f"otel.headers={{x-api-key: 'file:{collector_key}'}}",
            ),
        )
    assert report.errors == {"server_error": 1}
    assert {it["x-api-key"] for it in receiver.headers} == {"let me in"}
    assert not [it for it in receiver.bodies if TEXT.encode() in it or KEY.encode() in it]
    _check_trace(receiver.spans(), report, endpoint)
    _check_metrics(receiver, report)


def _check_trace(spans, report, endpoint):
    ((run, told),) = [it for it in spans if not it[0].parent_span_id]
    assert (run.name, told["gristmill.run_id"]) == ("gristmill batch", report.run_id)
    assert told["gristmill.model"] == "fake/m"
    assert {span.trace_id for span, _ in spans} == {run.trace_id}
    names = {span.span_id: span.name for span, _ in spans}
    above = {(span.name, names[span.parent_span_id]) for span, _ in spans if span is not run}
    assert above == {
        ("pin", "gristmill batch"),
        ("complete", "gristmill batch"),
        ("ask", "complete"),
        ("write", "gristmill batch"),
        ("chat m", "gristmill batch"),
    }
    calls = [(span, given) for span, given in spans if span.name == "chat m"]
    assert len(calls) == 4
    failed = [(span.status.code, given) for span, given in calls if "error.type" in given]
    assert [(code, given["error.type"]) for code, given in failed] == [(2, "server_error")]
    answered = [given for _, given in calls if "error.type" not in given]
    assert sum(it["gen_ai.usage.input_tokens"] for it in answered) == report.tokens["input"]
    assert sum(it["gen_ai.usage.output_tokens"] for it in answered) == report.tokens["output"]
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "compatible",
        "gen_ai.request.model": "m",
        "gen_ai.request.max_tokens": 256,
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.output.type": "text",
        "server.address": "127.0.0.1",
        "server.port": int(endpoint.base_url.split(":")[2].split("/")[0]),
    }
    assert [expected.items() - it.items() for it in answered] == [set()] * 3


def _check_metrics(receiver, report):
    tokens = receiver.points("gen_ai.client.token.usage")
    of_kind = {
        kind: sum(point.sum for given, point in tokens if given["gen_ai.token.type"] == kind)
        for kind in ("input", "output")
    }
    assert of_kind == report.tokens
    durations = receiver.points("gen_ai.client.operation.duration")
    assert sum(point.count for _, point in durations) == 4
    assert {given.get("error.type") for given, _ in durations} == {None, "server_error"}
    rows = receiver.points("gristmill.rows")
    counted = {given["gristmill.outcome"]: point.as_int for given, point in rows if point.as_int}
    assert counted == {"answered": 3, "skipped": 1, "server_error": 1}


def test_what_no_collector_can_be_told_with_stops_the_run_before_it_pays(spark, job, endpoint):
    missing = "otel.headers={x-api-key: 'env:NO_SUCH_VARIABLE'}"
    with Receiver() as receiver, pytest.raises(SettingsError, match="NO_SUCH_VARIABLE"):
        run_batch(spark, job(*at(endpoint, receiver, missing)))
    assert endpoint.calls() == []


@pytest.mark.parametrize(
    "wrong",
    [
        "otel.headers={x-api-key: plainly-a-key}",
        "otel={endpoint: 'http://collector.example', headers: {k: 'env:KEY'}}",
        "otel.endpoint=collector.example:4318",
        "otel.endpoint=https://me:pass@collector.example",
    ],
)
def test_settings_of_a_collector_are_checked_and_no_secret_is_repeated(job, wrong):
    with pytest.raises(SettingsError, match="otel") as told:
        job(wrong)
    assert "plainly" not in str(told.value)
    assert "me:pass" not in str(told.value)
