"""Whether an endpoint's calls have become slower, and whether load is the reason."""

import statistics
from typing import Literal

FIRST_WINDOW, WINDOW = 32, 64
SMOOTHING, SURE = 0.3, 1.5
RISEN, STILL_RISEN = 2.0, 0.75
_TOKENS_BEFORE_ANSWER, _INPUT_PER_OUTPUT_TOKEN = 32, 32

Verdict = Literal["", "risen", "not by load"]


def pace_of(seconds: float, input_tokens: int | None, output_tokens: int | None) -> float:
    """Return seconds per unit of work: a call's latency, comparable between calls.

    One unit is an output token; a call costs 32 besides, and one for each 32 tokens of the prompt.
    """
    work = _TOKENS_BEFORE_ANSWER + (output_tokens or 0)
    return seconds / (work + (input_tokens or 0) / _INPUT_PER_OUTPUT_TOKEN)


class Latency:
    """Judges by medians of many calls: single ones tell nothing, their tail is long.

    `in_flight` is what the last window's calls had been sent among, on average.
    """

    def __init__(self) -> None:
        self.in_flight = 1.0
        self._window: list[tuple[float, int]] = []
        self._skip = 0
        self._smooth: float | None = None
        self._best: float | None = None
        self._before_trial: float | None = None

    @property
    def on_trial(self) -> bool:
        """Whether slots were taken away to see if that helps."""
        return self._before_trial is not None

    def forget(self) -> None:
        """Learn anew: while slots double, fast calls are seen more often than slow ones."""
        self._window, self._smooth, self._best = [], None, None

    def begin_trial(self) -> None:
        """Watch what fewer slots do; the calls of the first round trip belong to more of them."""
        self._before_trial, self._smooth, self._skip = self._smooth, None, round(self.in_flight)

    def add(self, pace: float, in_flight: int, doubling: bool) -> Verdict:
        """Count one call; judge after a window of them.

        `doubling`: slots grow too fast for smoothing over windows.
        """
        if self._skip > 0:
            self._skip -= 1
            return ""
        self._window.append((pace, in_flight))
        if len(self._window) < max(FIRST_WINDOW if doubling else WINDOW, in_flight):
            return ""
        median = statistics.median(pace for pace, _ in self._window)
        self.in_flight = statistics.fmean(among for _, among in self._window)
        self._window = []
        return self._judge_trial(median) if self.on_trial else self._compare(median, doubling)

    def _compare(self, median: float, doubling: bool) -> Verdict:
        smooth = median if self._smooth is None or doubling else self._smooth
        self._smooth = smooth + SMOOTHING * (median - smooth)
        self._best = best = min(self._smooth, self._best or self._smooth)
        return "risen" if max(self._smooth, median / SURE) > RISEN * best else ""

    def _judge_trial(self, median: float) -> Verdict:
        before, self._before_trial = self._before_trial, None
        if before is None or median < STILL_RISEN * before:
            return ""
        self._best = median
        return "not by load"
