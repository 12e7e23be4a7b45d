"""How many requests may be in flight: a fixed number, or one that finds the server's capacity.

No clock is read here: a round trip is as many answers as there are slots.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

from chains.models.endpoint.latency import Latency

FIRST_SLOTS = 8
DECREASE, LATENCY_DECREASE = 0.95, 0.5
KNOWN_DECREASE = 0.985  # where a probe is refused at the ceiling that was known
RECOVERY = 0.05
FAST_PROBE, SLOW_PROBE = (4.0, 1.0), (1.0, 0.5)  # of what is above the ceiling; at most, of all
ANSWERS_BETWEEN_PROBES, TRIPS_BETWEEN_PROBES = 140, 3

Signal = Literal["answered", "refused", "rejected", "failed", "nothing"]


@dataclass(frozen=True)
class Sent:
    """A request on its way: the how many-th, after how many decreases, among how many, of which.

    `limit` is what the slots were, not rounded.
    """

    number: int
    decreases: int
    in_flight: int
    limit: float


class Limit(Protocol):
    """Slots for requests; told of every request that is sent, and how it ended."""

    @property
    def slots(self) -> int:
        """How many requests may be in flight now."""
        ...

    def send(self) -> Sent:
        """Count a request that is about to be sent."""
        ...

    def end(self, sent: Sent, signal: Signal, pace: float | None = None) -> None:
        """Count its end; `pace` is an answer's latency, see chains/models/endpoint/latency.py.

        `refused` is a 429, `failed` a 5xx, a 404, a deadline or a broken connection, `rejected` any
        other response, `nothing` a call that was cancelled.
        """
        ...


class FixedLimit:
    """As many slots as the user says."""

    def __init__(self, slots: int) -> None:
        self.slots = slots

    def send(self) -> Sent:
        """Count nothing."""
        return Sent(0, 0, 0, self.slots)

    def end(self, sent: Sent, signal: Signal, pace: float | None = None) -> None:
        """Stay as it is."""


class AdaptiveLimit:
    """Additive increase, multiplicative decrease, around what the server was seen to take.

    Slots double each round trip until the first refusal. That tells the ceiling: what was in flight
    beside it. A decrease goes a twentieth below the ceiling, or less where a probe has only found
    it again, is won back in a round trip or two, and the ceiling is held; beyond it goes one probe
    in 140 answers, in steps that grow as long as they are not refused, faster where the server is
    known to refuse. Requests sent before a decrease cause no other one. Rising latency halves the
    slots, and gives them back where calls do not become faster by it.
    """

    def __init__(self, most: int) -> None:
        self._most = float(most)
        self._limit = min(float(FIRST_SLOTS), self._most)
        self._ceiling: float | None = None
        self._floor = self._before_trial = 1.0
        self._in_flight = 0
        self._sent = 0
        self._full_at = 0  # the last request that took the last slot
        self._refuses = False
        self._decreases = 0
        self._answers = 0
        self._latency = Latency()

    @property
    def slots(self) -> int:
        """How many requests may be in flight now."""
        return int(self._limit)

    def send(self) -> Sent:
        """Count a request that is about to be sent."""
        self._in_flight += 1
        self._sent += 1
        if self._in_flight >= self.slots:
            self._full_at = self._sent
        return Sent(self._sent, self._decreases, self._in_flight, self._limit)

    def end(self, sent: Sent, signal: Signal, pace: float | None = None) -> None:
        """Count its end, and move the slots."""
        self._in_flight -= 1
        first = sent.decreases == self._decreases
        if signal == "refused":
            self._refused(first)
        elif signal == "failed" and first:
            self._decrease(self._limit, DECREASE)
        elif signal == "answered":
            self._answered(sent, first, pace)

    def _refused(self, first: bool) -> None:
        """Take what is in flight beside a refused request as what the server can take.

        Where it refuses many of one round trip, that goes down to half of the slots.
        """
        self._refuses = True
        if first:
            self._floor = max(1.0, self._limit / 2)
        taken = max(self._floor, min(self._limit, float(self._in_flight)))
        if first:
            is_known = self._ceiling is not None and taken >= self._ceiling
            self._decrease(taken, KNOWN_DECREASE if is_known else DECREASE)
        elif self._ceiling is not None and taken < self._ceiling:
            self._ceiling, self._limit = taken, min(self._limit, taken)

    def _decrease(self, ceiling: float, factor: float) -> None:
        if self._ceiling is None and not self._latency.on_trial:
            self._end_of_doubling(ceiling)
        self._ceiling, self._limit = max(1.0, ceiling), max(1.0, ceiling * factor)
        self._decreases += 1
        self._answers = 0

    def _end_of_doubling(self, ceiling: float) -> None:
        self._ceiling = ceiling
        self._latency.forget()

    def _answered(self, sent: Sent, first: bool, pace: float | None) -> None:
        self._answers += 1
        if self._full_at >= sent.number:  # else nobody waited for a slot while it was on its way
            self._limit = min(self._most, self._limit + self._increase(sent.limit))
            if self._ceiling is None and self._limit == self._most:
                self._end_of_doubling(self._most)
        if pace is not None and (first or not self._latency.on_trial):
            self._follow_latency(sent.in_flight, pace)

    def _increase(self, before: float) -> float:
        """Return the slots to add for one answer; `before` are those when it was asked for.

        A server that refuses tells so within a round trip, one that queues much later.
        """
        limit, ceiling = self._limit, self._ceiling
        if ceiling is None:
            return 1.0
        if limit < ceiling:
            return min(ceiling - limit, max(1.0, RECOVERY * ceiling) / limit)
        if self._answers < max(ANSWERS_BETWEEN_PROBES, TRIPS_BETWEEN_PROBES * limit):
            return 0.0
        growth, most = FAST_PROBE if self._refuses else SLOW_PROBE
        return min(1 + growth * max(0.0, before - ceiling), most * limit) / limit

    def _follow_latency(self, in_flight: int, pace: float) -> None:
        verdict = self._latency.add(pace, in_flight, doubling=self._ceiling is None)
        if verdict == "risen":
            self._before_trial = self._latency.in_flight
            self._latency.begin_trial()
            self._decrease(self._before_trial * LATENCY_DECREASE, 1.0)
        elif verdict == "not by load":
            self._limit = self._ceiling = max(self._limit, self._before_trial)
