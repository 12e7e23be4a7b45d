import asyncio
import contextlib
import email.utils
import gc
import json
import logging
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from chains.errors import (
    CompletionError,
    ConnectionBroken,
    ContentFiltered,
    ContextLengthExceeded,
    CredentialRejected,
    EndpointDown,
    InvalidRequest,
    ModelCrashed,
    NoCredit,
    NotFound,
    RateLimited,
    Refused,
    ServerError,
    SettingsError,
    TimedOut,
    Unsupported,
)
from chains.models.base import Answer, Parameters, Request, Usage
from chains.models.endpoint.model import EndpointModel
from chains.models.endpoint.settings import resolve_endpoint
from chains.models.fake.endpoint import FakeEndpoint, FakeSettings

KEY = "sk-canary-1f9a77"
PROMPT = "canary-of-the-prompt"
QUICK = {"max_retry_wait_seconds": 0.01}


@pytest.fixture
def serve():
    """Return a function that starts an endpoint with settings; all are stopped at the end."""
    with contextlib.ExitStack() as stack:
        yield lambda **settings: stack.enter_context(FakeEndpoint(FakeSettings(**settings)))


@pytest.fixture
def model_at():
    """Return a function that opens a model at an endpoint; all are closed at the end."""
    with contextlib.ExitStack() as stack:

        def open_model(endpoint, clock=time.monotonic, **settings):
            base_url = getattr(endpoint, "base_url", endpoint)
            ref = resolve_endpoint(
                "endpoint:fake/m", "fake", "m", {"base_url": base_url, **QUICK, **settings}
            )
            return stack.enter_context(contextlib.closing(EndpointModel(ref, clock)))

        yield open_model


def request(key="r1", **more):
    return Request(({"role": "user", "content": f"key={key} {PROMPT}"},), **more)


def requests(count):
    return [request(f"r{n}") for n in range(count)]


def ended(calls):
    return calls and all(call.finished for call in calls)


def kinds(outcomes):
    return [type(outcome) for outcome in outcomes]


# What is asked, and what is answered


@pytest.mark.parametrize("stream", [False, True])
def test_log_probabilities_are_asked_for_where_they_count(model_at, stream):
    with FakeEndpoint(FakeSettings(faults={"r2": "unsure"})) as endpoint:
        model = model_at(endpoint, stream=stream)
        sure = Parameters(min_log_probability=-1.0)
        asked = [request("r1", parameters=sure), request("r2", parameters=sure), request("r3")]
        assert [it.log_probability for it in model.complete(asked)] == [-0.125, -4.0, None]


def test_answers_come_in_the_order_of_their_requests(serve, model_at):
    endpoint = serve(latency=0.003, latency_sigma=1.0)
    outcomes = model_at(endpoint, concurrency=8).complete(requests(50))
    assert [outcome.text for outcome in outcomes] == [
        f"answer to r{n}: key=r{n} {PROMPT}" for n in range(50)
    ]
    assert len(endpoint.calls()) == 50


def wait_for_calls(endpoint, count):
    endpoint.wait_for(lambda calls: len(calls) >= count, timeout=30)


def test_nothing_more_is_asked_while_answers_are_not_kept(serve, model_at):
    """Who streams answers keeps each before it comes back: more was not paid for by then."""
    endpoint = serve()
    kept = 0
    for outcomes in model_at(endpoint, concurrency=3).stream(requests(20)):
        wait_for_calls(endpoint, min(kept + 3, 20))
        assert len(endpoint.calls()) <= kept + 3
        kept += len(outcomes)
    assert kept == len(endpoint.calls()) == 20


def test_a_stream_of_answers_that_is_left_asks_no_more(serve, model_at):
    endpoint = serve()
    model = model_at(endpoint, concurrency=2)
    answers = model.stream(requests(20))
    next(answers)
    answers.close()
    assert len(model.complete(requests(1))) == 1
    assert len(endpoint.calls()) <= 2 + 1


def test_an_answer_carries_usage_finish_reason_and_time(serve, model_at):
    (answer,) = model_at(serve()).complete([request()])
    assert (answer.finish_reason, answer.flags) == ("stop", ())
    assert answer.usage == Usage(input_tokens=2, output_tokens=5)
    assert answer.latency_ms > 0


def test_no_requests_are_no_calls(serve, model_at):
    endpoint = serve()
    assert model_at(endpoint).complete([]) == []
    assert endpoint.calls() == []


def sent(serve, model_at, asked, **settings):
    (answer,) = model_at(serve(faults={"*": "echo_request"}), **settings).complete([asked])
    return json.loads(answer.text)


def test_parameters_in_the_openai_form(serve, model_at):
    parameters = Parameters(max_output_tokens=9, temperature=0.5, top_p=0.9, seed=4, stop=("END",))
    assert sent(serve, model_at, request(parameters=parameters))["body"] == {
        "model": "m",
        "messages": [{"role": "user", "content": f"key=r1 {PROMPT}"}],
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 4,
        "stop": ["END"],
    }


def test_parameters_that_a_model_rejects_can_be_renamed_and_left_out(serve, model_at):
    settings = {
        "max_tokens_field": "max_completion_tokens",
        "omit_parameters": ["temperature", "top_p"],
    }
    body = sent(serve, model_at, request(), **settings)["body"]
    assert sorted(body) == ["max_completion_tokens", "messages", "model", "seed"]


def test_a_response_schema_is_sent_as_strict_json_schema(serve, model_at):
    schema = {"type": "object", "properties": {"tone": {"enum": ["dry", "warm"]}}}
    (answer,) = model_at(serve()).complete([request(response_schema=schema)])
    assert json.loads(answer.text) == {"tone": "dry"}
    body = sent(serve, model_at, request(response_schema=schema))["body"]
    assert body["response_format"]["json_schema"] == {
        "name": "answer",
        "strict": True,
        "schema": schema,
    }


def test_finish_reasons_are_passed_on_for_the_chain_to_judge(serve, model_at):
    faults = {"r0": "finish_length", "r1": "finish_content_filter"}
    cut, filtered = model_at(serve(faults=faults)).complete(requests(2))
    assert (cut.text, cut.finish_reason) == ("answer to r0: key=r0", "length")
    assert (filtered.text, filtered.finish_reason) == ("", "content_filter")


def test_a_refusal_is_no_answer_and_keeps_what_was_said(serve, model_at):
    endpoint = serve(faults={"*": "refusal"})
    (outcome,) = model_at(endpoint).complete([request()])
    assert type(outcome) is Refused
    assert outcome.raw == "I cannot help with that."
    assert len(endpoint.calls()) == 1


def test_null_is_an_empty_answer_that_is_paid_for_once(serve, model_at):
    """As of a model that has thought and said nothing."""
    endpoint = serve(faults={"*": {"fault": "content", "content": None}})
    for stream in (False, True):
        (answer,) = model_at(endpoint, stream=stream).complete([request()])
        assert (answer.text, answer.finish_reason, answer.usage) == ("", "stop", Usage(2, 5))
    assert len(endpoint.calls()) == 2


@pytest.mark.parametrize("fault", ["refusal", "empty_choices"])
def test_a_success_without_an_answer_has_its_usage(serve, model_at, fault):
    (outcome,) = model_at(serve(faults={"*": fault}), attempts=1).complete([request()])
    assert outcome.usage == Usage(2, 5)


def test_usage_that_is_missing_is_none_and_not_zero(serve, model_at):
    (answer,) = model_at(serve(faults={"*": "no_usage"})).complete([request()])
    assert answer.usage == Usage(None, None)


def test_lone_surrogates_are_replaced_and_flagged(serve, model_at):
    (answer,) = model_at(serve(faults={"*": "lone_surrogate"})).complete([request()])
    assert answer.text.endswith(" \ufffd")
    assert answer.flags == ("replaced_surrogates",)


def test_a_lone_surrogate_in_a_prompt_spoils_no_row(serve, model_at):
    outcomes = model_at(serve()).complete([request("r\ud83d"), request("r1")])
    assert [outcome.text.split()[2] for outcome in outcomes] == ["r\ufffd:", "r1:"]


def test_a_row_that_breaks_the_client_leaves_its_neighbours(serve, model_at):
    unsendable = request(response_schema={"type": {"a", "set"}})
    crashed, answer = model_at(serve()).complete([unsendable, request()])
    assert type(crashed) is ModelCrashed
    assert str(crashed) == "the request raised TypeError"
    assert type(answer) is Answer


# Errors, and how often a row is asked


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408, 409])
def test_server_errors_are_asked_again_exactly_as_often_as_allowed(serve, model_at, status):
    endpoint = serve(faults={"r0": {"status": status}})
    outcomes = model_at(endpoint, attempts=3).complete(requests(2))
    assert kinds(outcomes) == [ServerError, Answer]
    assert str(outcomes[0]) == f"{status} server_error"
    assert [call.key for call in endpoint.calls()].count("r0") == 3


def test_a_server_error_that_passes_ends_in_an_answer(serve, model_at):
    endpoint = serve(faults={"r1": {"status": 503, "times": 2}})
    assert kinds(model_at(endpoint).complete([request()])) == [Answer]
    assert [call.status for call in endpoint.calls()] == [503, 503, 200]


@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [
        ({"status": 400}, InvalidRequest, "400 invalid_request_error"),
        ({"status": 404}, NotFound, "404 not_found_error model_not_found"),
        ({"status": 413}, InvalidRequest, "413 server_error"),
        ({"status": 422}, InvalidRequest, "422 server_error"),
        (
            {"status": 400, "code": "unknown_model"},
            NotFound,
            "400 invalid_request_error unknown_model",
        ),
        (
            {"status": 400, "code": "unsupported_parameter"},
            Unsupported,
            "400 invalid_request_error unsupported_parameter",
        ),
        (
            {"status": 400, "code": "context_length_exceeded"},
            ContextLengthExceeded,
            "400 invalid_request_error context_length_exceeded",
        ),
        (
            {"status": 400, "message": "This model's maximum context length is 4096 tokens."},
            ContextLengthExceeded,
            "400 invalid_request_error",
        ),
        (
            {"status": 400, "code": "content_filter"},
            ContentFiltered,
            "400 invalid_request_error content_filter",
        ),
        (
            {"status": 400, "message": "triggering the content management policy"},
            ContentFiltered,
            "400 invalid_request_error",
        ),
    ],
)
def test_permanent_errors_are_one_call_a_row(serve, model_at, fault, kind, message):
    endpoint = serve(faults={"*": fault})
    outcomes = model_at(endpoint).complete(requests(3))
    assert [(type(outcome), str(outcome)) for outcome in outcomes] == [(kind, message)] * 3
    assert len(endpoint.calls()) == 3


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("reset_in_body", ConnectionBroken),
        ("short_body", ConnectionBroken),
        ("sse_without_end", ServerError),
        ("html", ServerError),
        ("empty_choices", ServerError),
    ],
)
def test_an_unknown_outcome_is_never_an_answer(serve, model_at, fault, kind):
    endpoint = serve(faults={"r0": fault})
    outcomes = model_at(endpoint, attempts=2).complete(requests(2))
    assert kinds(outcomes) == [kind, Answer]
    assert [call.key for call in endpoint.calls()].count("r0") == 2


def test_a_stream_is_read_to_its_end(serve, model_at):
    endpoint = serve(latency=0.001)
    whole = model_at(endpoint).complete(requests(5))
    streamed = model_at(endpoint, stream=True).complete(requests(5))
    assert [(it.text, it.finish_reason, it.usage) for it in streamed] == [
        (it.text, it.finish_reason, it.usage) for it in whole
    ]


@pytest.mark.parametrize("fault", ["sse_without_end", "reset_in_body", "short_body"])
def test_a_stream_that_was_cut_is_never_an_answer(serve, model_at, fault):
    endpoint = serve(faults={"r0": fault})
    outcomes = model_at(endpoint, attempts=3, stream=True).complete(requests(2))
    assert isinstance(outcomes[0], ServerError | ConnectionBroken)
    assert type(outcomes[1]) is Answer
    assert [call.key for call in endpoint.calls()].count("r0") == 3


@pytest.mark.parametrize(
    "fault", ["hang", "headers_then_nothing", {"fault": "slow_body", "seconds": 0.1}]
)
def test_each_attempt_has_one_deadline_for_all_of_it(serve, model_at, fault):
    endpoint = serve(faults={"*": fault})
    outcomes = model_at(endpoint, attempts=2, timeout_seconds=0.3).complete([request()])
    assert kinds(outcomes) == [TimedOut]
    calls = endpoint.wait_for(lambda calls: len(calls) == 2 and ended(calls))
    assert all(call.finished - call.received < 0.3 + 5 for call in calls)


def test_an_endpoint_that_is_down_is_a_broken_connection(model_at):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        base_url = f"http://127.0.0.1:{bound.getsockname()[1]}/v1"
        (outcome,) = model_at(base_url, attempts=2).complete([request()])
    assert type(outcome) is ConnectionBroken
    assert str(outcome) == "no whole answer: ConnectError: All connection attempts failed"


def test_why_there_is_no_connection_is_told(model_at):
    """Of a name, a certificate or a protocol nobody would guess it."""

    class Plain(socketserver.BaseRequestHandler):
        def handle(self):
            self.request.sendall(b"HTTP/1.1 400 speak plainly\r\n\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Plain) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base_url = f"https://127.0.0.1:{server.server_address[1]}/v1"
        (outcome,) = model_at(base_url, attempts=1).complete([request()])
        server.shutdown()
    assert type(outcome) is ConnectionBroken
    assert "ConnectError: [SSL" in str(outcome)


# The circuit


def test_an_endpoint_that_fails_is_not_asked_for_every_row(serve, model_at):
    endpoint = serve(faults={"*": {"status": 503}})
    model = model_at(endpoint, concurrency=1, attempts=5)
    outcomes = model.complete(requests(200)) + model.complete(requests(100))
    assert set(kinds(outcomes)) <= {EndpointDown, ServerError}
    assert kinds(outcomes).count(EndpointDown) >= 298
    assert outcomes[-1].outcome == "pending"
    assert str(outcomes[-1]) == "not asked, after 10 failures in a row"
    assert len(endpoint.calls()) == 10


def test_a_model_that_is_not_there_is_not_asked_for_every_row(serve, model_at):
    endpoint = serve(faults={"*": {"status": 404}})
    outcomes = model_at(endpoint, concurrency=1).complete(requests(50))
    assert kinds(outcomes) == [NotFound] * 10 + [EndpointDown] * 40
    assert {it.outcome for it in outcomes} == {"pending"}
    assert len(endpoint.calls()) == 10


def test_rows_wait_for_an_endpoint_that_comes_back_and_lose_no_attempt(serve, model_at):
    endpoint = serve(faults={"*": {"status": 503, "times": 4}})
    settings = {"attempts": 2, "circuit_failures": 3, "max_retry_wait_seconds": 10}
    outcomes = model_at(endpoint, concurrency=1, **settings).complete(requests(20))
    assert kinds(outcomes).count(Answer) >= 19
    calls = endpoint.calls()
    assert [call.status for call in calls][:4] == [503] * 4
    assert calls[3].received >= calls[2].received + 0.5
    assert calls[4].received >= calls[3].received + 1.0


class NoTls(socketserver.BaseRequestHandler):
    """Answers a TLS greeting in plain text."""

    def handle(self):
        self.request.recv(1)
        self.request.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


@pytest.fixture
def down(request):
    """Return the URL of an endpoint with no listener, no name or no TLS."""
    if request.param == "name":
        yield "http://nowhere.invalid/v1"
        return
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), NoTls) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        if request.param == "listener":
            server.server_close()
        yield f"{'https' if request.param == 'tls' else 'http'}://127.0.0.1:{port}/v1"
        server.shutdown()


@pytest.mark.parametrize("down", ["listener", "name", "tls"], indirect=True)
def test_no_listener_no_name_and_no_tls_open_the_circuit(model_at, down):
    model = model_at(down, concurrency=2, attempts=2, timeout_seconds=5)
    outcomes = model.complete(requests(100))
    assert set(kinds(outcomes)) <= {ConnectionBroken, EndpointDown}
    assert kinds(outcomes).count(EndpointDown) >= 90


def test_a_redirect_is_not_followed(serve, model_at):
    endpoint = serve(faults={"*": {"status": 307}})
    assert kinds(model_at(endpoint, attempts=1).complete([request()])) == [ServerError]


# Retry-After and the cool-down


def in_two_seconds():
    return email.utils.formatdate(time.time() + 2, usegmt=True)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("1", 1.0), ("0.3", 0.3), (in_two_seconds, None)],
    ids=["whole", "fraction", "date"],
)
def test_no_row_is_asked_before_its_time(serve, model_at, header, seconds):
    header = header() if callable(header) else header
    endpoint = serve(faults={1: {"status": 429, "retry_after": header}})
    model = model_at(endpoint, concurrency=1, max_retry_wait_seconds=60)
    assert kinds(model.complete(requests(3))) == [Answer] * 3
    refused, *later = endpoint.calls()
    assert [call.status for call in later] == [200] * 3
    if seconds is None:
        wall_clock = time.time() - time.monotonic()
        not_before = email.utils.parsedate_to_datetime(header).timestamp() - wall_clock - 0.01
    else:
        not_before = refused.received + seconds
    assert all(call.received >= not_before for call in later)


def test_a_cool_down_lasts_into_the_next_batch(serve, model_at):
    endpoint = serve(faults={1: {"status": 429, "retry_after": "0.5"}})
    model = model_at(endpoint, attempts=1, max_retry_wait_seconds=60)
    assert kinds(model.complete([request()])) == [RateLimited]
    assert kinds(model.complete([request()])) == [Answer]
    refused, answered = endpoint.calls()
    assert answered.received >= refused.received + 0.5


@pytest.mark.parametrize(("status", "first"), [(429, RateLimited), (503, ServerError)])
def test_a_cool_down_above_the_cap_leaves_all_rows_to_the_next_run(serve, model_at, status, first):
    endpoint = serve(faults={1: {"status": status, "retry_after": "3600"}})
    model = model_at(endpoint, concurrency=1, max_retry_wait_seconds=1)
    outcomes = [*model.complete(requests(3)), *model.complete(requests(2))]
    assert kinds(outcomes) == [first, *[RateLimited] * 4]
    assert all(3590 < outcome.retry_after <= 3600 for outcome in outcomes)
    assert all(outcome.retryable for outcome in outcomes)
    assert len(endpoint.calls()) == 1


@pytest.mark.parametrize("concurrency", ["auto", 8])
def test_a_cool_down_holds_back_all_that_wait(serve, model_at, concurrency):
    endpoint = serve(latency=0.02, faults={9: {"status": 429, "retry_after": "0.6"}})
    model = model_at(endpoint, concurrency=concurrency, max_retry_wait_seconds=60)
    assert kinds(model.complete(requests(40))) == [Answer] * 40
    calls = endpoint.calls()
    refused = next(call for call in calls if call.status == 429)
    after = [call.received - refused.received for call in calls if call.received > refused.finished]
    in_flight = 8
    assert len([wait for wait in after if wait < 0.6]) <= in_flight
    assert len([wait for wait in after if wait >= 0.6]) > in_flight


def test_a_limit_that_names_its_reset_is_waited_for(serve, model_at):
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "400ms"}
    endpoint = serve(faults={1: {"status": 429, "headers": headers}})
    model = model_at(endpoint, max_retry_wait_seconds=60)
    assert kinds(model.complete([request()])) == [Answer]
    refused, answered = endpoint.calls()
    assert answered.received >= refused.received + 0.4


@pytest.mark.parametrize("header", ["-1", "nan", "inf", "0", "soon", "", "Mon, 99 Foo 2026"])
def test_a_retry_after_of_no_use_is_ignored(serve, model_at, header):
    endpoint = serve(faults={1: {"status": 429, "retry_after": header}})
    assert kinds(model_at(endpoint).complete([request()])) == [Answer]
    assert [call.status for call in endpoint.calls()] == [429, 200]


def test_a_row_that_is_always_limited_is_asked_as_often_as_allowed(serve, model_at):
    endpoint = serve(faults={"*": {"status": 429}})
    assert kinds(model_at(endpoint, attempts=4).complete([request()])) == [RateLimited]
    assert len(endpoint.calls()) == 4


# The credential


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "key"
    path.write_text(KEY)
    return path


@pytest.mark.parametrize("status", [401, 402, 403])
def test_a_rejected_credential_stops_what_was_not_in_flight(serve, model_at, status):
    faults = {1: {"status": status}, 2: "hang", 3: "hang", 4: "hang"}
    endpoint = serve(faults=faults)
    model = model_at(endpoint, concurrency=4, timeout_seconds=0.5)
    outcomes = model.complete(requests(20))
    assert kinds(outcomes) == [CredentialRejected] * 20
    assert str(outcomes[-1]).startswith(f"not asked, after: {status} ")
    assert kinds(model.complete(requests(3))) == [CredentialRejected] * 3
    assert len(endpoint.calls()) == 4


def test_rows_answered_before_the_rejection_keep_their_answers(serve, model_at):
    endpoint = serve(faults={3: {"status": 401}})
    outcomes = model_at(endpoint, concurrency=1).complete(requests(5))
    assert kinds(outcomes) == [Answer] * 2 + [CredentialRejected] * 3
    assert len(endpoint.calls()) == 3


def test_a_renewed_credential_is_asked_with_and_the_old_one_is_not(serve, model_at, key_file):
    endpoint = serve(api_key="the-new-key")
    model = model_at(endpoint, api_key=f"file:{key_file}")
    assert kinds(model.complete([request()])) == [CredentialRejected]
    assert kinds(model.complete([request()])) == [CredentialRejected]
    assert len(endpoint.calls()) == 1
    key_file.write_text("the-new-key\n")
    assert kinds(model.complete([request()])) == [Answer]
    assert len(endpoint.calls()) == 2


def test_a_credential_that_works_again_is_found_by_one_request(serve, model_at):
    """A permission was mended; the same process and key go on."""
    now = [100.0]
    endpoint = serve(faults={"*": {"status": 403, "times": 2}})
    model = model_at(endpoint, lambda: now[0], concurrency=4)
    assert kinds(model.complete([request()])) == [CredentialRejected]
    now[0] += 30
    assert kinds(model.complete(requests(9))) == [CredentialRejected] * 9
    assert len(endpoint.calls()) == 2
    now[0] += 29
    assert kinds(model.complete(requests(9))) == [CredentialRejected] * 9
    assert len(endpoint.calls()) == 2
    now[0] += 1
    assert kinds(model.complete(requests(9))) == [Answer] * 9


NO_CREDIT = {"status": 429, "type": "insufficient_quota", "code": "insufficient_quota"}


def test_an_account_without_credit_is_not_asked_by_every_row(serve, model_at):
    endpoint = serve(faults={"*": NO_CREDIT})
    model = model_at(endpoint, attempts=3)
    assert NoCredit in kinds(model.complete(requests(4)))
    asked = len(endpoint.calls())
    assert asked <= 4 * 3
    outcomes = model.complete(requests(100))
    assert kinds(outcomes) == [CredentialRejected] * 100
    assert str(outcomes[0]) == "not asked, after: 429 insufficient_quota insufficient_quota"
    assert len(endpoint.calls()) == asked


def test_credit_that_is_there_again_is_found_by_one_request(serve, model_at, clock):
    endpoint = serve(faults={"*": {**NO_CREDIT, "times": 4}})
    model = model_at(endpoint, clock, attempts=3)
    assert kinds(model.complete([request()])) == [NoCredit]
    clock.now += 30
    assert kinds(model.complete(requests(9))) == [CredentialRejected] * 9
    assert len(endpoint.calls()) == 4
    clock.now += 30
    assert kinds(model.complete(requests(9))) == [Answer] * 9


def test_a_minute_s_quota_that_some_rows_exceed_stops_no_others(serve, model_at):
    """Some servers say of a minute's tokens what others say of an account's credit."""
    endpoint = serve(faults={"r2": NO_CREDIT})
    outcomes = model_at(endpoint, concurrency=1, attempts=3).complete(requests(5))
    assert kinds(outcomes) == [Answer, Answer, NoCredit, Answer, Answer]


def test_the_key_goes_into_the_header(serve, model_at, key_file):
    said = sent(serve, model_at, request(), api_key=f"file:{key_file}")
    assert said["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("form", "credential", "settings"),
    [
        ("compatible", "api_key", {}),
        ("compatible", "token", {}),
        ("azure", "api_key", {"kind": "azure"}),
        ("azure", "token", {"kind": "azure"}),
        ("azure deployments", "api_key", {"kind": "azure", "api_version": "2024-10-21"}),
        ("databricks", "token", {"kind": "databricks"}),
    ],
)
def test_each_kind_is_asked_at_its_url_with_its_header(
    serve, model_at, key_file, form, credential, settings
):
    endpoint = serve(kind=form, **{credential: KEY})
    settings = {**settings, credential: f"file:{key_file}"}
    assert kinds(model_at(endpoint, **settings).complete([request()])) == [Answer]
    key_file.write_text("another")
    assert kinds(model_at(endpoint, **settings).complete([request()])) == [CredentialRejected]


def test_a_key_in_another_kind_s_header_is_rejected(serve, model_at, key_file):
    endpoint = serve(kind="azure", api_key=KEY)
    model = model_at(endpoint, api_key=f"file:{key_file}")
    assert kinds(model.complete([request()])) == [CredentialRejected]


def test_without_a_reference_no_key_of_the_environment_is_sent(serve, model_at, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert sent(serve, model_at, request())["authorization"] == ""


@pytest.fixture
def headers_at():
    """Return the base URL of a server, and the headers that it was sent."""
    found = {}

    class Server(BaseHTTPRequestHandler):
        def do_POST(self):
            found.update((name.lower(), value) for name, value in self.headers.items())
            self.send_error(404)

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1", found
        server.shutdown()


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("compatible", set()),
        ("openai", {"openai-organization", "openai-project", "x-gateway-key"}),
    ],
)
def test_what_the_environment_has_for_openai_is_sent_to_nobody_else(
    model_at, headers_at, monkeypatch, kind, names
):
    monkeypatch.setenv("OPENAI_ORG_ID", "org")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "project")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", f"X-Gateway-Key: {KEY}")
    base_url, found = headers_at
    model_at(base_url, kind=kind).complete([request()])
    assert {it for it in found if it.startswith(("openai-", "x-gateway"))} == names


def test_a_secret_that_is_missing_stops_before_any_call(serve, model_at, monkeypatch):
    monkeypatch.delenv("GRISTMILL_NONE", raising=False)
    endpoint = serve()
    with pytest.raises(SettingsError, match="env:GRISTMILL_NONE"):
        model_at(endpoint, api_key="env:GRISTMILL_NONE").complete([request()])
    assert endpoint.calls() == []


@pytest.mark.parametrize("key", [f"{KEY}\nX-Other: 1", f"{KEY}é"])
def test_a_key_that_no_header_can_carry_is_refused_unquoted(serve, model_at, key_file, key):
    key_file.write_text(key)
    with pytest.raises(SettingsError, match=f"secret file:{key_file}: holds") as caught:
        model_at(serve(), api_key=f"file:{key_file}").complete([request()])
    assert KEY not in "".join(traceback.format_exception(caught.value))


FAULTS = [
    *({"status": status} for status in (400, 401, 404, 409, 422, 429, 500)),
    {"status": 400, "code": f"{KEY}"},
    {"status": 429, "retry_after": "40"},
    "hang",
    "reset_in_body",
    "html",
    "empty_choices",
    "refusal",
]


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_neither_key_nor_prompt_stands_in_an_error_or_a_log(
    serve, model_at, key_file, caplog, fault
):
    caplog.set_level(logging.DEBUG)
    settings = {"api_key": f"file:{key_file}", "attempts": 2, "timeout_seconds": 0.5}
    model = model_at(serve(api_key=KEY, faults={1: fault, 2: fault}), **settings)
    outcomes = model.complete([request()]) + model.complete([request()])
    assert isinstance(outcomes[0], CompletionError)
    texts = [text for outcome in outcomes[:1] for text in everything_said(outcome)]
    texts += [record.getMessage() for record in caplog.records]
    texts += [str(vars(record)) for record in caplog.records]
    assert len(texts) > 5
    assert not [text for text in texts if KEY in text or PROMPT in text]


def everything_said(error):
    """Yield what could reach a log; there is no error behind it, and no frame with its locals."""
    assert (error.__cause__, error.__context__, error.__traceback__) == (None, None, None)
    yield from (str(error), repr(error), str(vars(error)))


# What is held open


def test_no_more_requests_are_in_flight_than_allowed(serve, model_at):
    endpoint = serve(faults=dict.fromkeys(range(1, 6), "hang"))
    model = model_at(endpoint, concurrency=5, attempts=1, timeout_seconds=0.5)
    assert kinds(model.complete(requests(12))) == [TimedOut] * 5 + [Answer] * 7
    assert endpoint.in_flight_peak == 5


def test_by_itself_it_stays_at_what_the_endpoint_takes(serve, model_at):
    endpoint = serve(latency=0.02, max_concurrent=12, retry_after=None)
    model = model_at(endpoint, attempts=20)
    assert kinds(model.complete(requests(300))) == [Answer] * 300
    assert endpoint.stats()["refused"] < 30


def test_by_itself_it_never_goes_above_the_bound(serve, model_at):
    endpoint = serve(latency=0.01)
    assert kinds(model_at(endpoint, max_concurrency=10).complete(requests(200))) == [Answer] * 200
    assert endpoint.in_flight_peak <= 10


def test_one_connection_serves_call_after_call(serve, model_at):
    endpoint = serve()
    model = model_at(endpoint, concurrency=1)
    for _ in range(3):
        model.complete(requests(4))
    assert endpoint.stats() == {
        "connections": 1,
        "requests": 12,
        "refused": 0,
        "in_flight": 0,
        "in_flight_peak": 1,
    }


def test_a_closed_model_opens_again(serve, model_at):
    endpoint = serve()
    model = model_at(endpoint)
    model.complete([request()])
    model.close()
    assert kinds(model.complete([request()])) == [Answer]
    assert endpoint.stats()["connections"] == 2


def test_a_model_nobody_refers_to_ends_its_thread(serve):
    endpoint = serve()
    ref = resolve_endpoint("endpoint:f/m", "f", "m", {"base_url": endpoint.base_url})
    model = EndpointModel(ref)
    model.complete([request()])
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "model-loop"]
    del model
    gc.collect()
    thread.join(timeout=60)
    assert not thread.is_alive()


def test_a_notebook_with_a_running_loop_can_ask(serve, model_at):
    model = model_at(serve())

    async def cell():
        return model.complete([request()])

    assert kinds(asyncio.run(cell())) == [Answer]


def test_an_interrupt_passes_cancels_what_is_in_flight_and_leaves_the_model_usable(serve, model_at):
    endpoint = serve(faults={1: "hang", 2: "hang"})
    model = model_at(endpoint)

    def interrupt():
        endpoint.wait_for(lambda calls: len(calls) == 2)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in some shells
    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        model.complete(requests(2))
    thread.join()
    signal.signal(signal.SIGINT, before)
    endpoint.wait_for(ended)
    assert kinds(model.complete([request()])) == [Answer]
    assert len(endpoint.calls()) == 3


def test_importing_the_model_does_not_import_the_sdk():
    code = (
        "import sys, chains, chains.models.endpoint.model, chains.models.registry\n"
        "assert not {'openai', 'httpx2', 'databricks'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
