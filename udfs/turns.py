"""The requests of all executors to one endpoint, in the order they came."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from chains.errors import CompletionError
from udfs.allowance import Allowance, Counted
from udfs.purse import Purse, Tokens


@dataclass(eq=False)
class Asked:
    """A request to `model` that waits for its lease, or holds it: `counted`.

    `reply` gets None with the lease, or the error of a request that has to end without.
    """

    most: Tokens
    patience_seconds: float
    reply: Callable[[CompletionError | None], None]
    counted: Counted | None = None
    model: str = ""


class Turns:
    """Leases requests one after the other, as allowance and purse have room; in an event loop."""

    def __init__(self, allowance: Allowance, purse: Purse) -> None:
        self.allowance = allowance
        self._purse = purse
        self._waiting: deque[Asked] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def ask(self, asked: Asked) -> None:
        """Queue a request."""
        self._waiting.append(asked)

    def end(self, asked: Asked, used: Tokens) -> None:
        """Take back the lease of a request, or its place in the queue."""
        if asked.counted is not None:
            self.allowance.end(asked.counted, used.total)
            self._purse.settle(asked.most, used, asked.model)
        elif asked in self._waiting:
            self._waiting.remove(asked)

    def advance(self) -> None:
        """Lease what may be leased now, and come back when the next one may."""
        if self._timer is not None:
            self._timer.cancel()
        while self._waiting:
            asked = self._waiting[0]
            try:
                wait = max(
                    self.allowance.wait(asked.most.total, asked.patience_seconds),
                    self._purse.wait(asked.most, asked.model),
                )
            except CompletionError as refusal:
                self._waiting.popleft().reply(refusal)
                continue
            if wait > 0:
                self._come_back(wait)
                return
            self._waiting.popleft()
            asked.counted = self.allowance.take(asked.most.total)
            self._purse.reserve(asked.most, asked.model)
            asked.reply(None)

    def _come_back(self, wait: float) -> None:
        """Nothing is to be waited for that ends by itself where `wait` is inf."""
        if wait < float("inf"):
            self._timer = asyncio.get_running_loop().call_later(wait, self.advance)
