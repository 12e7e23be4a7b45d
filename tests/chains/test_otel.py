"""Calls of an endpoint, told to a real collector of OTLP over HTTP; no Spark in it."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from otlp_receiver import Receiver

import chains
from chains import collector, load_chain, load_model, resolve_model
from chains.collector import SECONDS_BETWEEN_FAILURES, Collector, Reach
from chains.telemetry import Telemetry, told

PARENT = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"
UNSAMPLED = PARENT[:-2] + "00"


@pytest.fixture
def ask(endpoint):
    """Return a function from telemetry to what a chain answers to two documents within it."""
    settings = {"fake": {"base_url": endpoint.base_url, "attempts": 1, "kind": "compatible"}}
    model = load_model(resolve_model("endpoint:fake/m", settings))

    def ask(telemetry):
        with told(telemetry):
            rows = [{"document": f"key=r{i} of Alder"} for i in range(2)]
            return load_chain("summarize").complete(rows, model)

    yield ask
    model.close()


@pytest.fixture(autouse=True)
def closed(monkeypatch):
    """End the threads of the collectors that a test makes, which this process would keep."""
    made = []

    def make(*given):
        made.append(Collector(*given))
        return made[-1]

    monkeypatch.setattr(collector, "Collector", make)
    yield
    collector.collector_of.cache_clear()
    for it in made:
        it.close()


def calls(receiver):
    return [(span, given) for span, given in receiver.spans() if span.name == "chat m"]


def test_a_call_is_a_span_below_its_parent_without_content(ask):
    with Receiver() as receiver:
        answered = ask(Telemetry(receiver.endpoint, parent=PARENT))
    found = calls(receiver)
    assert len(found) == 2
    assert {span.trace_id.hex() for span, _ in found} == {"ab" * 16}
    assert {span.parent_span_id.hex() for span, _ in found} == {"cd" * 8}
    used = {(it.input_tokens, it.output_tokens) for it in answered}
    assert {
        (g["gen_ai.usage.input_tokens"], g["gen_ai.usage.output_tokens"]) for _, g in found
    } == used
    assert all(span.end_time_unix_nano > span.start_time_unix_nano for span, _ in found)
    assert not [it for it in receiver.bodies if b"Alder" in it or b"answer to" in it]


def test_content_is_told_where_it_is_asked_for(ask):
    with Receiver() as receiver:
        ask(Telemetry(receiver.endpoint, content=True))
    for _, given in calls(receiver):
        (said,) = json.loads(given["gen_ai.output.messages"])
        assert said["role"] == "assistant"
        assert said["finish_reason"] == "stop"
        assert said["parts"][0]["content"].startswith("answer to r")
        asked = json.loads(given["gen_ai.input.messages"])
        assert "Alder" in asked[-1]["parts"][0]["content"]


def test_a_trace_that_is_not_sampled_is_not_told(ask):
    with Receiver() as receiver:
        ask(Telemetry(receiver.endpoint, parent=UNSAMPLED))
        assert calls(receiver) == []
    assert sum(point.count for _, point in receiver.points("gen_ai.client.operation.duration")) == 2


def test_nothing_is_told_outside_of_the_block(ask):
    with Receiver() as receiver:
        ask(Telemetry(receiver.endpoint))
        ask(None)
        ask(Telemetry(receiver.endpoint))
    assert len(calls(receiver)) == 4


def test_a_collector_that_hangs_costs_one_time_out_and_no_answer(ask):
    hanging = threading.Event()
    with Receiver(delay=hanging) as receiver:
        telemetry = Telemetry(receiver.endpoint)
        answered = [it for _ in range(3) for it in ask(telemetry)]
        hanging.set()
    assert [it.error for it in answered] == [None] * 6
    assert len(receiver.bodies) == 1


def test_a_collector_that_cannot_be_told_is_logged_and_costs_no_answer(ask, caplog):
    answered = ask(Telemetry("http://127.0.0.1:9", headers=(("key", "env:NO_SUCH_VARIABLE"),)))
    assert [it.error for it in answered] == [None] * 2
    assert "NO_SUCH_VARIABLE" in caplog.text


def test_after_a_failure_nothing_is_sent_for_a_while():
    now = [1000.0]
    reach, sent = Reach(clock=lambda: now[0]), []

    def export(result):
        return reach.send(lambda: sent.append(result) or result, True, False)

    assert [export(it) for it in (True, False, True)] == [True, False, False]
    assert (sent, reach.failures, reach.is_away) == ([True, False], 1, True)
    now[0] += SECONDS_BETWEEN_FAILURES
    assert export(True)
    assert sent == [True, False, True]


def test_calls_that_are_told_to_nobody_import_nothing():
    code = """
import sys
from chains.telemetry import told, begin, Asked
with told(None):
    begin(Asked("openai", "https://a.example", {})).answered(None)
print("opentelemetry" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(chains.__file__).parents[1],
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("False\n", "")
