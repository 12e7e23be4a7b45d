import asyncio
import contextlib
import http.client
import json
import signal
import subprocess
import sys
import urllib.request
from urllib.parse import urlsplit

import jsonschema
import openai
import pytest

from chains.models.fake.answers import instance, prompt_hash
from chains.models.fake.endpoint import FakeEndpoint, FakeSettings, read_pay_ledger
from chains.models.fake.faults import EDITS, FaultPlan, parse_faults

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 3},
        "tone": {"enum": ["dry", "warm"]},
        "score": {"type": "number", "minimum": 2},
        "count": {"type": "integer"},
        "good": {"type": "boolean"},
        "parts": {"type": "array", "items": {"$ref": "#/$defs/part"}, "minItems": 2},
        "note": {"anyOf": [{"type": "null"}, {"type": "string"}]},
        "kind": {"type": ["string", "null"], "maxLength": 4},
    },
    "required": ["name", "tone", "score", "count", "good", "parts", "note", "kind"],
    "additionalProperties": False,
    "$defs": {"part": {"type": "object", "properties": {"x": {"const": 7}}, "required": ["x"]}},
}


@pytest.fixture
def serve():
    """Return a function that starts an endpoint with settings; all are stopped at the end."""
    with contextlib.ExitStack() as stack:
        yield lambda pay_ledger=None, **settings: stack.enter_context(
            FakeEndpoint(FakeSettings(**settings), pay_ledger)
        )


@pytest.fixture
def client_of():
    """Return a function that opens the SDK's client of an endpoint."""
    with contextlib.ExitStack() as stack:
        yield lambda endpoint, **options: stack.enter_context(
            openai.OpenAI(
                base_url=endpoint.base_url, **{"api_key": "k", "max_retries": 0, **options}
            )
        )


def ended(calls):
    return calls and all(call.finished for call in calls)


def messages(key="r1"):
    return [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": f"key={key} say hello"},
    ]


def ask(client, key="r1", **more):
    return client.chat.completions.create(model="m", messages=messages(key), **more)


def test_an_answer_echoes_its_row_key_and_is_the_same_each_time(serve, client_of):
    endpoint = serve()
    client = client_of(endpoint)
    first, second = ask(client, "row-7"), ask(client, "row-7")
    assert first.choices[0].message.content == "answer to row-7: key=row-7 say hello"
    assert first.choices[0].finish_reason == "stop"
    assert (first.usage.prompt_tokens, first.usage.completion_tokens) == (5, 6)
    assert first.choices == second.choices
    assert [call.key for call in endpoint.calls()] == ["row-7", "row-7"]


def test_a_prompt_without_a_key_is_answered_too(serve, client_of):
    endpoint = serve()
    client_of(endpoint).chat.completions.create(
        model="m", messages=[{"role": "user", "content": "hello"}]
    )
    assert endpoint.calls()[0].key is None


def test_the_pay_ledger_tells_what_was_asked_and_paid(serve, client_of, tmp_path):
    path = tmp_path / "pay.jsonl"
    endpoint = serve(path)
    ask(client_of(endpoint))
    (call,) = endpoint.wait_for(ended)
    assert call.prompt_hash == prompt_hash(messages())
    assert (call.sequence, call.input_tokens, call.output_tokens) == (1, 5, 6)
    assert (call.status, call.whole, call.fault) == (200, True, None)
    assert call.received <= call.finished
    assert read_pay_ledger(path) == [call]


def test_a_call_is_in_the_file_before_its_answer_and_not_whole_after_the_client_left(
    serve, tmp_path
):
    path = tmp_path / "pay.jsonl"
    endpoint = serve(path, faults={1: "hang"})
    connection = http.client.HTTPConnection(urlsplit(endpoint.base_url).netloc)
    connection.request("POST", "/v1/chat/completions", json.dumps({"messages": messages()}))
    endpoint.wait_for(len)
    (asked,) = read_pay_ledger(path)
    assert (asked.key, asked.whole, asked.finished) == ("r1", False, None)
    connection.close()
    endpoint.wait_for(ended)
    assert read_pay_ledger(path)[0].whole is False


def test_a_client_that_left_during_the_latency_got_nothing_whole(serve):
    endpoint = serve(latency=3600)
    connection = http.client.HTTPConnection(urlsplit(endpoint.base_url).netloc)
    connection.request("POST", "/v1/chat/completions", json.dumps({"messages": messages()}))
    endpoint.wait_for(len)
    connection.close()
    (call,) = endpoint.wait_for(ended)
    assert call.whole is False


def test_a_pay_ledger_cut_in_the_middle_of_a_line_is_readable(serve, client_of, tmp_path):
    path = tmp_path / "pay.jsonl"
    endpoint = serve(path)
    ask(client_of(endpoint))
    endpoint.wait_for(ended)
    path.write_text(path.read_text() + '{"sequence": 2, "ke')
    assert [call.sequence for call in read_pay_ledger(path)] == [1]


def test_an_older_pay_ledger_is_not_written_on(tmp_path):
    (tmp_path / "pay.jsonl").touch()
    with pytest.raises(FileExistsError):
        FakeEndpoint(pay_ledger=tmp_path / "pay.jsonl")


def test_a_json_schema_gets_an_instance_with_the_row_key(serve, client_of):
    json_schema = {"name": "answer", "strict": True, "schema": SCHEMA}
    answer = ask(
        client_of(serve()), response_format={"type": "json_schema", "json_schema": json_schema}
    )
    value = json.loads(answer.choices[0].message.content)
    jsonschema.validate(value, SCHEMA)
    assert value["name"].startswith("answer to r1")


@pytest.mark.parametrize(
    "schema", [{"type": "array"}, {"oneOf": [{"type": "integer"}]}, {"properties": {}}, {}]
)
def test_instances_of_other_schemas(schema):
    jsonschema.validate(instance(schema, "text"), schema)


def test_a_stream_says_the_same_as_the_whole(serve, client_of):
    client = client_of(serve())
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == ask(client).choices[0].message.content
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage.completion_tokens == 6


def test_a_stream_can_end_without_its_end(serve, client_of):
    endpoint = serve(faults={"*": "sse_without_end"})
    chunks = list(ask(client_of(endpoint), stream=True))
    assert {chunk.choices[0].finish_reason for chunk in chunks} == {None}
    (call,) = endpoint.wait_for(ended)
    assert call.whole is False


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503])
def test_a_status_comes_with_an_error_in_the_openai_form(serve, client_of, status):
    endpoint = serve(faults={"r1": {"status": status, "code": "a_code"}})
    with pytest.raises(openai.APIStatusError) as caught:
        ask(client_of(endpoint))
    assert (caught.value.status_code, caught.value.code) == (status, "a_code")
    (call,) = endpoint.calls()
    assert (call.status, call.input_tokens, call.output_tokens) == (status, 0, 0)


def test_retry_after_is_sent_as_given(serve, client_of):
    endpoint = serve(faults={1: {"status": 429, "retry_after": "soon"}})
    with pytest.raises(openai.RateLimitError) as caught:
        ask(client_of(endpoint))
    assert caught.value.response.headers["retry-after"] == "soon"


@pytest.mark.parametrize(
    ("fault", "seen"), [("reset_in_body", "ReadError"), ("short_body", "RemoteProtocolError")]
)
def test_a_body_that_breaks_is_not_whole_and_is_paid(serve, client_of, fault, seen):
    endpoint = serve(faults={1: fault})
    with pytest.raises(openai.APIConnectionError) as caught:
        ask(client_of(endpoint))
    assert type(caught.value.__cause__).__name__ == seen
    (call,) = endpoint.wait_for(ended)
    assert (call.status, call.whole, call.fault, call.output_tokens) == (200, False, fault, 6)


@pytest.mark.parametrize(
    "fault", ["hang", "headers_then_nothing", {"fault": "slow_body", "seconds": 30}]
)
def test_a_silent_server_ends_with_its_client(serve, client_of, fault):
    endpoint = serve(faults={1: fault})
    with pytest.raises(openai.APITimeoutError):
        ask(client_of(endpoint, timeout=0.2))
    (call,) = endpoint.wait_for(ended)
    assert call.whole is False


def test_a_slow_body_arrives_in_the_end(serve, client_of):
    endpoint = serve(faults={1: {"fault": "slow_body", "seconds": 0}})
    assert ask(client_of(endpoint)).choices[0].finish_reason == "stop"
    assert endpoint.wait_for(ended)[0].whole is True


def test_an_html_page_comes_with_status_200(serve, client_of):
    assert "sign in" in str(ask(client_of(serve(faults={1: "html"})))).lower()


def said(completion):
    choice = completion.choices[0]
    return choice.message.content, choice.message.refusal, choice.finish_reason


def test_odd_completions(serve, client_of):
    endpoint = serve(faults={name: {"fault": name, "content": "this"} for name in EDITS})
    client = client_of(endpoint)
    whole = "answer to {0}: key={0} say hello"
    assert ask(client, "empty_choices").choices == []
    assert said(ask(client, "finish_length"))[2] == "length"
    assert said(ask(client, "finish_content_filter")) == (None, None, "content_filter")
    assert said(ask(client, "refusal")) == (None, "I cannot help with that.", "stop")
    assert ask(client, "no_usage").usage is None
    assert said(ask(client, "content"))[0] == "this"
    echoed = json.loads(said(ask(client, "echo_request", seed=3))[0])
    assert (echoed["authorization"], echoed["body"]["seed"]) == ("Bearer k", 3)
    assert said(ask(client, "lone_surrogate"))[0] == whole.format("lone_surrogate") + " \ud83d"
    assert said(ask(client, "malformed_json_content"))[0].startswith("```json\n")
    unsure = ask(client, "unsure", logprobs=True).choices[0].logprobs
    assert {token.logprob for token in unsure.content} == {-4.0}
    assert {call.key for call in endpoint.calls()} == set(EDITS)


@pytest.mark.parametrize(
    ("form", "spoilt"),
    [
        ("fenced", "```json\nanswer to r1: key=r1 say hello\n```"),
        ("truncated", "answer to r1: k"),
        ("trailing", "answer to r1: key=r1 say hello\nI hope this helps!"),
    ],
)
def test_forms_of_malformed_json(serve, client_of, form, spoilt):
    endpoint = serve(faults={1: {"fault": "malformed_json_content", "form": form}})
    assert said(ask(client_of(endpoint)))[0] == spoilt


def test_a_number_wins_over_a_key_over_every():
    plan = FaultPlan({2: {"status": 500}, "b": {"status": 400, "times": 1}, "*": "hang"})
    struck = [plan.strike(n, key) for n, key in [(1, "a"), (2, "b"), (3, "b"), (4, "b"), (5, None)]]
    assert [f.get("status", f.get("fault")) for f in struck] == ["hang", 500, 400, "hang", "hang"]
    assert FaultPlan({3: "hang"}).strike(1, "3") == {}


def test_a_plan_from_json_tells_requests_from_row_keys():
    text = '{"3": "hang", "key=3": "html", "*": {"status": 500}}'
    assert parse_faults(text) == {3: "hang", "3": "html", "*": {"status": 500}}


@pytest.mark.parametrize("fault", ["hangs", {"fault": "hangs"}, {}])
def test_an_unknown_fault_is_refused(fault):
    with pytest.raises(ValueError, match="expected a status or a fault of"):
        FakeEndpoint(FakeSettings(faults={1: fault}))


def test_requests_above_the_limit_are_refused(serve):
    endpoint = serve(max_concurrent=2, retry_after="7", faults={"slow": "hang"})

    async def ask_three():
        async with openai.AsyncOpenAI(
            base_url=endpoint.base_url, api_key="k", max_retries=0
        ) as client:
            slow = [asyncio.create_task(ask(client, "slow")) for _ in range(2)]
            await asyncio.to_thread(endpoint.wait_for, lambda calls: len(calls) == 2)
            with pytest.raises(openai.RateLimitError) as caught:
                await ask(client, "quick")
            for task in slow:
                task.cancel()
            await asyncio.gather(*slow, return_exceptions=True)
            return caught.value.response.headers["retry-after"]

    assert asyncio.run(ask_three()) == "7"
    assert (endpoint.in_flight_peak, endpoint.stats()["refused"]) == (2, 1)
    assert [call.status for call in endpoint.calls()] == [None, None, 429]


def test_hundreds_of_requests_are_in_flight_together(serve):
    endpoint = serve(faults={"*": "hang"})

    async def ask_all():
        async with openai.AsyncOpenAI(
            base_url=endpoint.base_url, api_key="k", max_retries=0
        ) as client:
            tasks = [asyncio.create_task(ask(client, f"r{n}")) for n in range(300)]
            await asyncio.to_thread(endpoint.wait_for, lambda calls: len(calls) == 300)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(ask_all())
    assert endpoint.in_flight_peak == 300
    endpoint.wait_for(ended)
    assert endpoint.stats()["in_flight"] == 0


def test_a_required_key_is_required(serve, client_of):
    endpoint = serve(api_key="right")
    with pytest.raises(openai.AuthenticationError):
        ask(client_of(endpoint, api_key="wrong"))
    ask(client_of(endpoint, api_key="right"))
    assert [call.status for call in endpoint.calls()] == [401, 200]


def test_one_connection_serves_many_requests(serve, client_of):
    endpoint = serve(faults={2: {"status": 500}})
    client = client_of(endpoint)
    ask(client)
    with pytest.raises(openai.InternalServerError):
        ask(client)
    ask(client)
    assert endpoint.stats()["connections"] == 1


def test_pages_beside_the_completions(serve, client_of):
    endpoint = serve()
    assert [model.id for model in client_of(endpoint).models.list()] == ["fake"]
    with pytest.raises(openai.NotFoundError):
        client_of(endpoint).embeddings.create(model="m", input="x")
    assert endpoint.calls() == []


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"messages": [1]}', '{"messages": [{}]}'])
def test_what_is_no_chat_request_is_400_and_not_paid(serve, body):
    endpoint = serve()
    with contextlib.closing(
        http.client.HTTPConnection(urlsplit(endpoint.base_url).netloc)
    ) as connection:
        connection.request("POST", "/v1/chat/completions", body)
        assert connection.getresponse().status == 400
    assert endpoint.calls() == []


@pytest.mark.process
def test_as_a_process_it_prints_its_url_keeps_a_ledger_and_stops_on_sigterm(client_of, tmp_path):
    path = tmp_path / "pay.jsonl"
    command = [sys.executable, "-m", "chains.models.fake.endpoint", "--pay-ledger", path]
    faults = ["--latency", "0.001", "--latency-sigma", "0.5", "--faults", '{"2": "hang"}']
    with subprocess.Popen([*command, *faults], stdout=subprocess.PIPE, text=True) as process:
        base_url = process.stdout.readline().strip()
        with openai.OpenAI(base_url=base_url, api_key="k", max_retries=0) as client:
            ask(client)
            with pytest.raises(openai.APITimeoutError):
                ask(client.with_options(timeout=0.2))
            with urllib.request.urlopen(base_url.removesuffix("/v1") + "/stats") as response:
                assert json.load(response)["requests"] == 2
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    assert [(call.sequence, call.whole) for call in read_pay_ledger(path)] == [
        (1, True),
        (2, False),
    ]
