"""The caps of a quota, by a clock that the test moves."""

import asyncio

import pytest
from clock import Clock
from hypothesis import given
from hypothesis import strategies as st

from chains.errors import CapReached, RateLimited
from chains.models.endpoint.settings import QuotaSettings
from udfs.allowance import WINDOW_SECONDS, Allowance
from udfs.budget import Budget, Price
from udfs.purse import Purse, Tokens
from udfs.turns import Asked, Turns


@pytest.fixture
def clock():
    return Clock()


class Line:
    """The turns of an endpoint, with what became of each request."""

    def __init__(self, clock, budget=None, **quota):
        self.turns = Turns(
            Allowance(QuotaSettings(**quota), clock), Purse(Budget(**(budget or {})))
        )
        self.asked, self.went = [], {}

    def ask(self, count=1, tokens=(1, 1), patience=60.0):
        for _ in range(count):
            number = len(self.asked)
            asked = Asked(Tokens(*tokens), patience, lambda it, n=number: self.went.update({n: it}))
            self.asked.append(asked)
            self.turns.ask(asked)
        self.advance()

    def end(self, number, tokens=(1, 1)):
        self.turns.end(self.asked[number], Tokens(*tokens))
        self.advance()

    def advance(self):
        async def advance():
            self.turns.advance()

        asyncio.run(advance())

    @property
    def let_go(self):
        return [number for number, refusal in self.went.items() if refusal is None]


@given(st.lists(st.floats(0, 40), min_size=1, max_size=60), st.integers(1, 5), st.integers(10, 30))
def test_no_minute_has_more_requests_or_tokens_than_it_may(pauses, requests, tokens):
    """Also where the minute begins in the middle of another one, and after usage came in."""
    clock, sent = Clock(), []
    quota = QuotaSettings(requests_per_minute=requests, tokens_per_minute=tokens)
    allowance = Allowance(quota, clock)
    for pause in pauses:
        while allowance.wait(10, 60.0) == 0:
            used = len(sent) % 11
            allowance.end(allowance.take(10), used)
            sent.append((clock.now, used))
        clock.now += pause
    minutes = [[used for at, used in sent if since <= at < since + 60] for since, _ in sent]
    assert all(len(it) <= requests and sum(it) <= tokens for it in minutes)


def test_a_minute_has_as_many_as_it_may(clock):
    line = Line(clock, requests_per_minute=3)
    line.ask(8)
    assert line.let_go == [0, 1, 2]
    clock.now += WINDOW_SECONDS
    line.advance()
    assert line.let_go == [0, 1, 2, 3, 4, 5]


def test_tokens_that_were_not_used_are_there_for_others(clock):
    line = Line(clock, tokens_per_minute=100)
    line.ask(2, tokens=(20, 40))
    assert line.let_go == [0]
    line.end(0, tokens=(20, 10))
    assert line.let_go == [0, 1]


def test_a_request_above_the_tokens_of_a_minute_is_not_waited_for(clock):
    line = Line(clock, tokens_per_minute=100)
    line.ask(1, tokens=(20, 81))
    line.ask(1, tokens=(20, 80))
    assert isinstance(line.went[0], CapReached)
    assert "101 tokens, tokens_per_minute is 100" in str(line.went[0])
    assert line.let_go == [1]


def test_as_many_at_once_as_may_be(clock):
    line = Line(clock, concurrent_requests=2)
    line.ask(4)
    assert line.let_go == [0, 1]
    clock.now += 1000
    line.end(1)
    assert line.let_go == [0, 1, 2]


def test_who_leaves_the_queue_holds_nobody_up(clock):
    line = Line(clock, concurrent_requests=1)
    line.ask(3)
    line.end(1)
    line.end(0)
    assert line.let_go == [0, 2]


def test_nobody_goes_while_the_endpoint_cools_down(clock):
    line = Line(clock)
    line.turns.allowance.cool_down(5)
    line.turns.allowance.cool_down(1)
    line.ask()
    assert line.went == {}
    line.ask(patience=4)
    clock.now += 5
    line.advance()
    assert line.let_go == [0, 1]


def test_a_cool_down_that_is_too_long_is_not_waited_for(clock):
    line = Line(clock)
    line.ask()
    line.turns.allowance.cool_down(3600)
    line.ask(2)
    assert line.let_go == [0]
    assert [type(line.went[n]) for n in (1, 2)] == [RateLimited] * 2
    assert line.went[1].retry_after == 3600


PRICED = {"max_cost": 1.0, "price": Price(10_000, 20_000)}  # 100 tokens of a prompt, 50 of answers


@pytest.mark.parametrize("budget", [{"max_tokens": 100}, PRICED], ids=["tokens", "money"])
def test_a_budget_is_reserved_spent_and_kept(clock, budget):
    line = Line(clock, budget)
    line.ask(3, tokens=(10, 30))
    assert line.let_go == [0] if budget is PRICED else [0, 1]  # one more might be too much
    line.end(0, tokens=(10, 5))
    assert 1 in line.let_go
    line.end(1, tokens=(10, 30))
    assert isinstance(line.went[2], CapReached) is (budget is PRICED)
    line.ask(1, tokens=(60, 60))
    assert isinstance(line.went[3], CapReached)


def test_a_budget_is_spent_at_the_price_of_each_model():
    purse = Purse(Budget(max_cost=1.0, price=Price(1_000, 1_000)), {"dear": Price(10_000, 10_000)})
    request = Tokens(30, 30)  # 0.06, or 0.6 of the dear one
    assert purse.wait(request, "dear") == 0
    purse.reserve(request, "dear")
    assert purse.wait(request, "dear") == float("inf")
    assert purse.wait(request) == 0
    purse.settle(request, request, "dear")
    assert purse.wait(request) == 0
    with pytest.raises(CapReached):
        purse.wait(request, "dear")
