"""A circuit breaker: an endpoint that is down is asked by one probe at a time, not by every row."""

import time
from collections.abc import Callable

from chains.errors import EndpointDown
from chains.models.endpoint.limiter import Signal

FIRST_PROBE_SECONDS = 0.5
MOST_PROBE_SECONDS = 60.0
SECONDS_WHILE_PROBED = 0.05


class Circuit:
    """Opens after a number of failures in a row, closes with the first call that does not fail.

    While it is open, probes go at intervals that double, up to MOST_PROBE_SECONDS. Where the next
    one would come later than `patience_seconds` after it opened, rows are not made to wait for it.
    """

    def __init__(
        self,
        failures: int,
        patience_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most_failures = failures
        self._patience = patience_seconds
        self._clock = clock
        self._close()

    def _close(self) -> None:
        self._failures = 0
        self._opened: float | None = None
        self._interval = FIRST_PROBE_SECONDS
        self._probe_at = 0.0
        self._probed = False

    def wait(self) -> float:
        """Return the seconds until it may be asked whether to send; 0: send now.

        Raises EndpointDown where a row should not wait that long.
        """
        if self._opened is None:
            return 0.0
        if self._probed:
            return SECONDS_WHILE_PROBED
        left = self._probe_at - self._clock()
        if left > 0 and self._probe_at - self._opened > self._patience:
            raise EndpointDown(f"not asked, after {self._failures} failures in a row")
        return max(0.0, left)

    def send(self) -> bool:
        """Tell whether the call that is sent now, at once after `wait` said 0, is a probe."""
        self._probed = self._opened is not None
        return self._probed

    def end(self, signal: Signal, probe: bool) -> None:
        """Count how a call ended; those sent before it opened prove only that it is up."""
        if signal in ("answered", "refused", "rejected"):
            self._close()
            return
        if probe:
            self._probed = False
        if signal != "failed":
            return
        self._failures += 1
        if self._opened is None and self._failures >= self._most_failures:
            self._opened = self._clock()
            self._probe_at = self._opened + self._interval
        elif probe:
            self._interval = min(2 * self._interval, MOST_PROBE_SECONDS)
            self._probe_at = self._clock() + self._interval
