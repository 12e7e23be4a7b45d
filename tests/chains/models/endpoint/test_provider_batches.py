import contextlib
import json

import openai
import pytest

from chains.errors import (
    AwaitingBatch,
    BatchUnanswered,
    CredentialRejected,
    InvalidRequest,
    Refused,
    ServerError,
)
from chains.models.base import Answer
from chains.models.endpoint.batch_format import (
    ProviderBatch,
    missing,
    read_line,
    read_outcome,
    request_line,
)
from chains.models.endpoint.provider_batches import ProviderBatches, wait
from chains.models.endpoint.settings import EndpointSettings
from chains.models.fake.batches import BatchSettings
from chains.models.fake.endpoint import FakeEndpoint, FakeSettings

KEY = "sk-canary-1f9a77"
PROMPT = "canary-of-the-prompt"
QUICK = {"max_retry_wait_seconds": 0.01, "attempts": 3, "batch_poll_seconds": 0}


@pytest.fixture
def serve():
    """Return a function that starts an endpoint with settings; all are stopped at the end."""
    with contextlib.ExitStack() as stack:
        yield lambda **settings: stack.enter_context(FakeEndpoint(FakeSettings(**settings)))


@pytest.fixture
def provider_of():
    """Return a function that opens the batches of an endpoint; all are closed at the end."""
    with contextlib.ExitStack() as stack:
        yield lambda settings: stack.enter_context(ProviderBatches(settings))


def settings_of(endpoint, **more):
    return EndpointSettings(base_url=endpoint.base_url, mode="batch", **QUICK, **more)


def lines(*keys, path="/v1/chat/completions"):
    return b"".join(
        request_line(
            path,
            f"fingerprint of {key}",
            {"model": "m", "messages": [{"role": "user", "content": f"key={key} {PROMPT}"}]},
        )
        for key in keys
    )


def outcomes_of(provider, batch):
    return {name: read_outcome(said) for name, said in provider.outcomes(batch)}


def paid(endpoint):
    return sorted(call.key for call in endpoint.calls())


def test_each_request_gets_its_own_outcome(serve, provider_of):
    faults = {"r1": {"status": 400}, "r2": {"status": 500}, "r3": "refusal", "r4": "empty_choices"}
    endpoint = serve(faults=faults, batches=BatchSettings(polls=3))
    settings = settings_of(endpoint)
    provider = provider_of(settings)
    batch = provider.submit("one", lines(*(f"r{i}" for i in range(5))))
    assert not batch.has_ended
    (batch,) = wait(settings, [batch], lambda done: None)
    found = outcomes_of(provider, batch)
    answer = found.pop("fingerprint of r0")
    assert isinstance(answer, Answer)
    assert answer.text == f"answer to r0: key=r0 {PROMPT}"
    assert (answer.finish_reason, answer.usage.input_tokens) == ("stop", 2)
    assert answer.latency_ms == 60_000
    assert {name[-2:]: type(it) for name, it in found.items()} == {
        "r1": InvalidRequest,
        "r2": ServerError,
        "r3": Refused,
        "r4": ServerError,
    }


def test_a_submission_whose_answer_got_lost_is_not_paid_twice(serve, provider_of):
    faults = {"POST /v1/batches": {"fault": "reset_in_body", "times": 1}}
    endpoint = serve(faults=faults)
    batch = provider_of(settings_of(endpoint)).submit("one", lines("a", "b"))
    assert batch.id
    assert paid(endpoint) == ["a", "b"]


def test_a_submission_that_may_have_landed_is_left_to_the_next_run(serve, provider_of):
    """Neither its answer came nor the list; later the list has it."""
    faults = {"POST /v1/batches": "reset_in_body", "GET /v1/batches": {"status": 500, "times": 2}}
    endpoint = serve(faults=faults)
    provider = provider_of(settings_of(endpoint))
    batch = provider.submit("one", lines("a"))
    assert (batch.status, batch.has_ended, batch.is_open) == ("unknown", False, False)
    assert [it.name for it in provider.find(["one", "never"])] == ["one"]
    assert paid(endpoint) == ["a"]


def test_a_submission_is_tried_again_while_it_is_refused_for_now(serve, provider_of):
    faults = {"POST /v1/batches": {"status": 429, "retry_after": "0.001", "times": 2}}
    endpoint = serve(faults=faults)
    assert provider_of(settings_of(endpoint)).submit("one", lines("a")).id
    assert paid(endpoint) == ["a"]


@pytest.mark.parametrize("where", ["POST /v1/files", "POST /v1/batches"])
def test_a_submission_that_is_refused_has_failed(serve, provider_of, where):
    endpoint = serve(faults={where: {"status": 401}})
    batch = provider_of(settings_of(endpoint)).submit("one", lines("a"))
    assert batch.has_ended
    assert isinstance(outcome := read_outcome(missing(batch)), BatchUnanswered)
    assert "not submitted: 401" in str(outcome)
    assert endpoint.calls() == []


@pytest.mark.parametrize(("end", "answered"), [("expired", 2), ("cancelled", 2), ("failed", 0)])
def test_what_a_batch_ended_without_is_asked_again_later(serve, provider_of, end, answered):
    endpoint = serve(batches=BatchSettings(end=end, answered=2))
    settings = settings_of(endpoint)
    provider = provider_of(settings)
    (batch,) = wait(settings, [provider.submit("one", lines("a", "b", "c"))], lambda done: None)
    found = outcomes_of(provider, batch)
    answers = [it for it in found.values() if isinstance(it, Answer)]
    assert len(answers) == answered == len(endpoint.calls())
    unanswered = found.get("fingerprint of c") or read_outcome(missing(batch))
    assert isinstance(unanswered, BatchUnanswered)
    assert unanswered.retryable
    assert {"failed": "token_limit_exceeded"}.get(end, end) in str(unanswered)


def test_a_batch_is_found_among_many(serve, provider_of):
    """The list comes in pages of a hundred, and the first ones have other users' batches."""
    endpoint = serve()
    provider = provider_of(settings_of(endpoint))
    first = provider.submit("first", lines("a"))
    with openai.OpenAI(base_url=endpoint.base_url, api_key="k", max_retries=0) as sdk:
        for _ in range(100):
            sdk.batches.create(
                input_file_id="file-1",
                endpoint="/v1/chat/completions",
                completion_window="24h",
                metadata={"of": "another"},
            )
    assert [it.id for it in provider.find(["first"])] == [first.id]
    assert provider.find(["none"]) == []


def test_a_list_without_pages_is_read_to_its_end(serve, provider_of):
    provider = provider_of(settings_of(serve(batches=BatchSettings(polls=None, pages=False))))
    newest = [provider.submit(str(i), lines(str(i))) for i in range(101)][-1]
    assert [it.id for it in provider.find([newest.name, "0"])] == [newest.id]


def test_waiting_ends_with_the_time_and_tells_what_is_done(serve, provider_of):
    endpoint = serve(batches=BatchSettings(polls=None))
    provider = provider_of(settings_of(endpoint))
    batch, told = provider.submit("one", lines("a", "b")), []
    (still,) = wait(settings_of(endpoint, batch_wait_seconds=0), [batch], told.append)
    assert not still.has_ended
    assert isinstance(read_outcome(None), AwaitingBatch)
    endpoint.finish_batches()
    (ended,) = wait(settings_of(endpoint), [batch], told.append)
    assert ended.has_ended
    assert sum(told) == 2


def test_waiting_outlives_an_outage_and_ends_with_a_rejected_credential(serve, provider_of):
    where = "GET /v1/batches/batch_1"
    for fault, ends in [({"status": 503, "times": 4}, True), ({"status": 401}, False)]:
        endpoint = serve(faults={where: fault})
        settings = settings_of(endpoint)
        batch = provider_of(settings).submit("one", lines("a"))
        assert wait(settings, [batch], lambda done: None)[0].has_ended == ends


@pytest.mark.parametrize(
    ("kind", "more"), [("azure", {}), ("azure deployments", {"api_version": "2024-10-21"})]
)
def test_azure_looks_through_a_file_first(serve, provider_of, monkeypatch, kind, more):
    monkeypatch.setenv("AZURE_KEY", KEY)
    endpoint = serve(kind=kind, api_key=KEY, batches=BatchSettings(file_polls=2))
    settings = settings_of(endpoint, kind="azure", api_key="env:AZURE_KEY", **more)
    provider = provider_of(settings)
    batch = provider.submit("one", lines("a", path="/chat/completions"))
    (batch,) = wait(settings, [batch], lambda done: None)
    assert isinstance(outcomes_of(provider, batch)["fingerprint of a"], Answer)


def test_neither_key_nor_prompt_is_told(serve, provider_of, monkeypatch):
    """The server quotes what it was sent, as some do."""
    monkeypatch.setenv("THE_KEY", KEY)
    faults = {"POST /v1/batches": {"status": 403}, "bad": {"status": 400, "code": KEY}}
    endpoint = serve(api_key=KEY, faults=faults)
    refused = provider_of(settings_of(endpoint, api_key="env:THE_KEY")).submit("one", lines("a"))
    line = {"custom_id": "f", "response": None, "error": {"code": KEY, "message": PROMPT}}
    bad = {"status_code": 400, "body": {"error": {"code": KEY, "message": f"{KEY} {PROMPT}"}}}
    batch = ProviderBatch("one", "batch_1", "completed", reason="completed")
    told = [
        str(read_outcome(read_line(json.dumps(it).encode(), batch)[1]))
        for it in (line, {**line, "response": bad})
    ]
    assert told == ["no answer in its batch: completed", "400"]
    assert "403" in refused.reason
    assert not [it for it in (*told, refused.reason) if KEY in it or PROMPT in it]


def test_lines_and_documents_of_any_shape_are_no_answers(serve, provider_of):
    batch = ProviderBatch("one", "batch_1", "completed")
    for line in (b"", b"[]", b"{}", b"<html>", b'{"custom_id": "a", "response": {}}', b"[" * 9999):
        assert read_line(line, batch) is None
    for document in (None, [], {}, "page", {"id": 1, "status": 2}):
        with pytest.raises(ServerError, match="without a batch"):
            ProviderBatch.of(document)
    with pytest.raises(ServerError):
        provider_of(settings_of(serve(faults={"GET /v1/batches": "html"}))).find(["a"])


def test_a_credential_that_is_rejected_is_no_empty_list(serve, provider_of):
    """Taken for one, everything would be submitted again."""
    with pytest.raises(CredentialRejected):
        provider_of(settings_of(serve(api_key=KEY))).find(["a"])
