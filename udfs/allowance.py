"""What may still be asked of an endpoint: requests and tokens a minute, requests at once."""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from chains.errors import CapReached, RateLimited
from chains.models.endpoint.settings import QuotaSettings

SECONDS_ON_THE_WAY = 1.0
WINDOW_SECONDS = 60.0 + SECONDS_ON_THE_WAY


@dataclass(eq=False)
class Counted:
    """A request that was let go, and the tokens it counts for."""

    since: float
    tokens: int


class Allowance:
    """Counts the requests of the last minute, and those in flight.

    A sliding window and no bucket: in any 60 seconds at most as many reach the endpoint as the
    quota says, where each is there within SECONDS_ON_THE_WAY. `clock` gives seconds.
    """

    def __init__(self, quota: QuotaSettings, clock: Callable[[], float]) -> None:
        self._quota = quota
        self._clock = clock
        self._minute: deque[Counted] = deque()
        self._tokens = 0
        self._in_flight = 0
        self._not_before = -math.inf

    def wait(self, tokens: int, patience_seconds: float) -> float:
        """Return the seconds until a request may be let go; inf: not before another one ends.

        Raises RateLimited where a cool-down lasts longer than the patience, CapReached where the
        request takes more tokens than a minute has.
        """
        now = self._clock()
        cooling = self._not_before - now
        if cooling > patience_seconds:
            raise RateLimited("not asked: the endpoint is cooling down", retry_after=cooling)
        return max(cooling, self._until_counted(tokens, now), self._until_one_ends(), 0.0)

    def take(self, tokens: int) -> Counted:
        """Let a request go, for which `wait` has just said 0."""
        counted = Counted(self._clock(), tokens)
        self._minute.append(counted)
        self._tokens += tokens
        self._in_flight += 1
        return counted

    def end(self, counted: Counted, tokens: int) -> None:
        """Count the tokens that a request took indeed."""
        self._in_flight -= 1
        self._forget(self._clock())
        if self._minute and counted.since >= self._minute[0].since:
            self._tokens += tokens - counted.tokens
            counted.tokens = tokens

    def cool_down(self, seconds: float) -> None:
        """Let nothing go for so long."""
        self._not_before = max(self._not_before, self._clock() + seconds)

    def _until_counted(self, tokens: int, now: float) -> float:
        most_requests, most_tokens = self._quota.requests_per_minute, self._quota.tokens_per_minute
        if most_tokens is not None and tokens > most_tokens:
            raise CapReached(
                f"not asked: it may take {tokens:,} tokens, tokens_per_minute is {most_tokens:,}"
            )
        self._forget(now)
        too_many = most_requests is not None and len(self._minute) >= most_requests
        too_long = most_tokens is not None and self._tokens + tokens > most_tokens
        return self._minute[0].since + WINDOW_SECONDS - now if too_many or too_long else 0.0

    def _until_one_ends(self) -> float:
        most = self._quota.concurrent_requests
        return math.inf if most is not None and self._in_flight >= most else 0.0

    def _forget(self, now: float) -> None:
        while self._minute and self._minute[0].since + WINDOW_SECONDS <= now:
            self._tokens -= self._minute.popleft().tokens
