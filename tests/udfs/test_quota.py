"""One quota over several clients, at a server that counts what it is asked."""

import contextlib
import json
import socket
import socketserver
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from chains.errors import CapReached, ConnectionBroken, RateLimited
from chains.models.base import Answer, Parameters, QuotaAddress, Request
from chains.models.endpoint.model import EndpointModel
from chains.models.endpoint.settings import QuotaSettings, resolve_endpoint
from chains.models.fake.endpoint import FakeEndpoint, FakeSettings
from udfs.budget import Budget
from udfs.quota import served


def requests(count, start=0):
    return [
        Request(({"role": "user", "content": f"key=r{n} hello"},), Parameters(max_output_tokens=10))
        for n in range(start, start + count)
    ]


@pytest.fixture
def serve():
    with contextlib.ExitStack() as stack:
        yield lambda **settings: stack.enter_context(FakeEndpoint(FakeSettings(**settings)))


@pytest.fixture
def client():
    """Return a function that opens a model that leases its requests, as an executor does."""
    with contextlib.ExitStack() as stack:

        def open_client(endpoint, quota, **settings):
            given = {"base_url": endpoint.base_url, "concurrency": 8, **settings}
            ref = replace(resolve_endpoint("endpoint:fake/m", "fake", "m", given), quota=quota)
            return stack.enter_context(contextlib.closing(EndpointModel(ref)))

        yield open_client


def kinds(outcomes):
    return [type(it) for it in outcomes]


def both(*asked):
    """Let each model ask for its requests, all at the same time."""
    with ThreadPoolExecutor(len(asked)) as pool:
        done = [pool.submit(model.complete, some) for model, some in asked]
        return [it for some in done for it in some.result()]


def test_clients_together_stay_at_the_requests_at_once(serve, client):
    endpoint = serve(latency=0.02)
    with served({"fake": QuotaSettings(concurrent_requests=3)}) as quota:
        one, other = client(endpoint, quota), client(endpoint, quota)
        assert kinds(both((one, requests(20)), (other, requests(20, 20)))) == [Answer] * 40
    assert len(endpoint.calls()) == 40
    assert endpoint.in_flight_peak == 3


def test_a_refusal_of_one_holds_back_the_other(serve, client):
    endpoint = serve(faults={1: {"status": 429, "retry_after": "0.5"}})
    with served({}) as quota:
        assert kinds(client(endpoint, quota, attempts=1).complete(requests(1))) == [RateLimited]
        assert kinds(client(endpoint, quota).complete(requests(2))) == [Answer] * 2
    refused, *later = endpoint.calls()
    assert all(call.received >= refused.received + 0.5 for call in later)


def test_a_cool_down_that_is_too_long_ends_the_rows_of_all(serve, client):
    endpoint = serve(faults={1: {"status": 429, "retry_after": "3600"}})
    with served({}) as quota:
        assert kinds(client(endpoint, quota).complete(requests(1))) == [RateLimited]
        (outcome,) = client(endpoint, quota).complete(requests(1))
    assert type(outcome) is RateLimited
    assert 3590 < outcome.retry_after <= 3600
    assert len(endpoint.calls()) == 1


def test_of_a_budget_no_more_is_spent_than_there_is(serve, client):
    """What was reserved and not used pays for others, so the budget is used up, too."""
    endpoint = serve()
    with served({}, Budget(max_tokens=100)) as quota:
        one, other = client(endpoint, quota), client(endpoint, quota)
        outcomes = both((one, requests(20)), (other, requests(20, 20)))
    spent = sum(call.input_tokens + call.output_tokens for call in endpoint.calls())
    most = one.count_tokens(requests(1)[0].messages) + 10
    assert 100 - most < spent <= 100
    assert set(kinds(outcomes)) == {Answer, CapReached}
    assert kinds(outcomes).count(Answer) == len(endpoint.calls())
    assert {it.outcome for it in outcomes if isinstance(it, CapReached)} == {"pending"}


@pytest.mark.parametrize(
    ("fault", "each"),
    [
        ({"fault": "content", "content": None}, 7),
        ("refusal", 7),
        ("empty_choices", 7),
        ("html", None),
    ],
)
def test_of_a_budget_successes_without_an_answer_are_paid(serve, client, fault, each):
    """Each by its usage, and by the most that it may be where that cannot be read."""
    endpoint = serve(faults={"*": fault})
    with served({}, Budget(max_tokens=100)) as quota:
        model = client(endpoint, quota, concurrency=1, attempts=1, circuit_failures=100)
        outcomes = model.complete(requests(20))
    most = model.count_tokens(requests(1)[0].messages) + 10
    assert len(endpoint.calls()) == 1 + (100 - most) // (each or most)
    assert type(outcomes[-1]) is CapReached


def say(connection, quota, *messages):
    hello = {"model": "fake", "patience_seconds": 1}
    lines = [quota.token, *(json.dumps(it) for it in (hello, *messages))]
    connection.sendall("".join(f"{it}\n" for it in lines).encode())


def test_a_client_that_dies_gives_back_what_it_held(serve, client):
    endpoint = serve()
    with served({"fake": QuotaSettings(concurrent_requests=1)}) as quota:
        with socket.create_connection((quota.host, quota.port)) as dies:
            say(dies, quota, {"do": "lease", "number": 7, "most": [1, 1]})
            assert json.loads(dies.recv(100)) == {"number": 7}
            waiting = threading.Thread(target=client(endpoint, quota).complete, args=[requests(1)])
            waiting.start()
            assert endpoint.calls() == []
        waiting.join(60)
    assert len(endpoint.calls()) == 1


def test_a_stranger_is_shown_the_door(serve, client):
    endpoint = serve()
    with served({}) as quota:
        stranger = replace(quota, token="guessed")
        with socket.create_connection((quota.host, quota.port)) as connection:
            say(connection, stranger, {"do": "cool_down", "seconds": 1e6})
            assert connection.recv(100) == b""
        assert kinds(client(endpoint, quota).complete(requests(1))) == [Answer]
        (outcome,) = client(endpoint, stranger, attempts=1).complete(requests(1))
    assert type(outcome) is ConnectionBroken
    assert len(endpoint.calls()) == 1


def test_without_the_driver_nothing_is_sent_and_the_row_says_why(serve, client):
    endpoint = serve()
    with served({}) as quota:
        model = client(endpoint, quota, attempts=1)
        assert kinds(model.complete(requests(1))) == [Answer]
    (outcome,) = model.complete(requests(1))
    assert (type(outcome), outcome.retryable) == (ConnectionBroken, True)
    assert f"the driver leases no requests at 127.0.0.1:{quota.port}" in str(outcome)
    assert len(endpoint.calls()) == 1


class GrantsOne(socketserver.StreamRequestHandler):
    """A driver whose connections break after each request."""

    def handle(self):
        for _ in ("token", "hello"):
            self.rfile.readline()
        asked = json.loads(self.rfile.readline())
        self.wfile.write(json.dumps({"number": asked["number"]}).encode() + b"\n")
        self.rfile.readline()


def test_a_connection_that_broke_is_opened_again(serve, client):
    endpoint = serve()
    with socketserver.TCPServer(("127.0.0.1", 0), GrantsOne) as driver:
        thread = threading.Thread(target=driver.serve_forever, args=[0.01])
        thread.start()
        quota = QuotaAddress("127.0.0.1", driver.server_address[1], "token")
        model = client(endpoint, quota, concurrency=1, max_retry_wait_seconds=0.01)
        assert kinds(model.complete(requests(3))) == [Answer] * 3
        model.close()
        driver.shutdown()
        thread.join()
