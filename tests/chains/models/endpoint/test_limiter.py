import heapq
import math
import random
from itertools import count

import pytest

from chains.models.endpoint.latency import pace_of
from chains.models.endpoint.limiter import AdaptiveLimit, FixedLimit

LATENCY, WIRE = 0.5, 0.004


class Server:
    """A server in virtual time: log-normal latency, refusals or a queue above its slots."""

    def __init__(self, slots, sigma=0.8, queues=False, slower=lambda now: 1.0):
        self.slots, self.queues, self.slower = slots, queues, slower
        self.sigma, self.random = sigma, random.Random(4)
        self.answers = self.refusals = 0
        self.seen = []

    def run(self, limit, seconds):
        """Keep every slot of the limit filled; return answers over what the server could give."""
        events, order, now, running, held, waiting = [], count(), 0.0, 0, 0, []

        def later(delay, kind, *call):
            heapq.heappush(events, (now + delay, next(order), kind, call))

        def answer(call):
            later(self._latency(now), "answered", *call)

        while now < seconds:
            while held < limit.slots:
                held += 1
                later(WIRE, "arrived", limit.send(), now)
            now, _, kind, call = heapq.heappop(events)
            self.seen.append((now, limit.slots))
            if kind == "arrived" and running < self.slots(now):
                running += 1
                answer(call)
            elif kind == "arrived" and self.queues:
                waiting.append(call)
            elif kind == "arrived":
                later(WIRE, "refused", *call)
            else:
                held -= 1
                running -= kind == "answered"
                self.answers += kind == "answered"
                self.refusals += kind == "refused"
                limit.end(call[0], kind, pace_of(now - call[1], 100, 50))
                if waiting and running < self.slots(now):
                    running += 1
                    answer(waiting.pop(0))
        return self.answers / self._possible(seconds)

    def _latency(self, now):
        return self.random.lognormvariate(math.log(LATENCY), self.sigma) * self.slower(now)

    def _possible(self, seconds):
        mean = LATENCY * math.exp(self.sigma**2 / 2)
        tenths = (tenth / 10 for tenth in range(int(seconds * 10)))
        return sum(self.slots(now) / self.slower(now) / 10 for now in tenths) / mean

    def slots_since(self, begin):
        """Return the least and the most slots after `begin`."""
        slots = [slots for now, slots in self.seen if now >= begin]
        return min(slots), max(slots)


def test_slots_double_also_where_all_calls_take_equally_long():
    """They end together and are sent together, so few of them find all the other slots taken."""
    server = Server(lambda now: 64, sigma=0)
    server.run(AdaptiveLimit(1000), 12)
    assert max(slots for now, slots in server.seen if now < 4.5 * LATENCY) > 64
    assert server.slots_since(6 * LATENCY)[0] > 56


@pytest.mark.parametrize("capacity", [4, 24, 64, 200])
def test_it_finds_a_capacity_and_stays_there(capacity):
    server = Server(lambda now: capacity)
    assert server.run(AdaptiveLimit(1000), 120) > 0.93
    least, most = server.slots_since(30)
    assert least >= 0.85 * capacity - 1
    assert most <= 1.1 * capacity + 1
    assert server.refusals / server.answers < 0.013


def test_a_probe_that_finds_the_known_ceiling_takes_few_slots():
    server = Server(lambda now: 200)
    server.run(AdaptiveLimit(1000), 120)
    probed = [slots for now, slots in server.seen if now >= 30]
    assert max(probed) > 200
    assert sum(slots < 196 for slots in probed) < 0.05 * len(probed)


@pytest.mark.parametrize("sigma", [0.4, 0.8, 1.0])
def test_it_follows_a_capacity_that_moves(sigma):
    server = Server(lambda now: 64 if now < 60 else 24 if now < 120 else 96, sigma)
    assert server.run(AdaptiveLimit(256), 180) > 0.9
    assert server.refusals / server.answers < 0.01


def test_a_server_that_queues_is_not_given_all_there_is():
    server = Server(lambda now: 32, queues=True)
    assert server.run(AdaptiveLimit(10_000), 200) > 0.92
    slots = [slots for now, slots in server.seen if now > 20]
    assert sum(slots) / len(slots) < 6 * 32
    assert max(slots) < 16 * 32
    assert server.refusals == 0


def test_a_server_that_slows_down_by_itself_keeps_its_requests():
    server = Server(lambda now: 64, slower=lambda now: 1 if now < 60 else 3)
    assert server.run(AdaptiveLimit(256), 300) > 0.85
    assert server.slots_since(250)[0] > 50


def test_requests_sent_together_cause_one_decrease():
    limit = AdaptiveLimit(100)
    ends = [limit.send() for _ in range(8)]
    for sent in ends[:5]:
        limit.end(sent, "failed")
    assert limit.slots == 7


def test_a_burst_of_refusals_leaves_what_was_taken():
    limit = AdaptiveLimit(100)
    for sent in [limit.send() for _ in range(8)][:3]:
        limit.end(sent, "refused")
    assert limit.slots == 5


def test_refusals_without_end_leave_one_slot():
    limit = AdaptiveLimit(100)
    for _ in range(200):
        limit.end(limit.send(), "refused")
    assert limit.slots == 1


def test_slots_that_are_not_used_are_not_raised():
    limit = AdaptiveLimit(100)
    for _ in range(1000):
        limit.end(limit.send(), "answered", 1.0)
    assert limit.slots == 8


def test_the_most_is_kept():
    server = Server(lambda now: 1000)
    server.run(AdaptiveLimit(20), 20)
    assert server.slots_since(10) == (20, 20)


def test_a_fixed_limit_stays():
    server = Server(lambda now: 8)
    server.run(FixedLimit(12), 5)
    assert server.slots_since(0) == (12, 12)
