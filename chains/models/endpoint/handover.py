"""From an event loop to a thread: what is given waits until the thread has kept it."""

import asyncio
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Handover(Generic[Item]):
    """Items given one by one in a loop, taken some at a time by a thread that keeps them.

    What was taken counts as kept when the thread comes back for more.
    """

    def __init__(self) -> None:
        self._given: list[tuple[Item, asyncio.Future[None]]] = []
        self._taken: list[asyncio.Future[None]] = []
        self._changed = asyncio.Event()
        self._closed = False

    async def give(self, item: Item) -> None:
        """Hand over an item; wait until it is kept."""
        kept = asyncio.get_running_loop().create_future()
        self._given.append((item, kept))
        self._changed.set()
        await kept

    def close(self) -> None:
        """Tell that nothing more comes."""
        self._closed = True
        self._changed.set()

    async def take(self) -> list[Item]:
        """Return what was given since, at least one; nothing at the end."""
        for kept in self._taken:
            if not kept.done():
                kept.set_result(None)
        if not self._given and not self._closed:
            self._changed.clear()
            await self._changed.wait()
        given, self._given = self._given, []
        self._taken = [kept for _, kept in given]
        return [item for item, _ in given]
