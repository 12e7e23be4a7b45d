"""Who may send now: rows wait in turn for one of a number of slots that moves."""

import asyncio
from collections import deque

from chains.models.endpoint.limiter import Limit


class Slots:
    """A semaphore whose size is a limit's; belongs to one event loop."""

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self._held = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> None:
        if not self._waiting and self._held < self.limit.slots:
            self._held += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give_back()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._give_back()

    def _give_back(self) -> None:
        """Hand on the slot, and those that the limit has won meanwhile."""
        self._held -= 1
        while self._waiting and self._held < self.limit.slots:
            turn = self._waiting.popleft()
            if not turn.done():
                self._held += 1
                turn.set_result(None)
