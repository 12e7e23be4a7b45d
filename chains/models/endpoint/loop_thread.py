"""An event loop in a thread of its own, with something asynchronous held open in it."""

import asyncio
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, TypeVar

Held = TypeVar("Held")
Result = TypeVar("Result")


class LoopThread(Generic[Held]):
    """Keeps one loop and `held` open between calls, for callers that are not asynchronous.

    Works where the caller's thread already runs a loop (a notebook), and several threads may call
    at once. Closed by `close`, or when nobody refers to it any more; `enter` must not either.
    """

    def __init__(self, enter: Callable[[], AbstractAsyncContextManager[Held]]) -> None:
        """Start the thread and enter `enter()` in its loop; what that raises is raised here."""
        started: _Started[Held] = Future()
        self._thread = threading.Thread(
            target=asyncio.run, args=(_hold_open(enter, started),), name="model-loop", daemon=True
        )
        self._thread.start()
        self.held, self._loop, stop = started.result()
        # Neither the loop nor the thread refers to this object, or it would never be collected.
        self._stop = weakref.finalize(self, self._loop.call_soon_threadsafe, stop.set)

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine in the loop and wait; an interrupt of the caller cancels it."""
        future = self.start(coroutine)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def start(self, coroutine: Coroutine[Any, Any, Result]) -> Future[Result]:
        """Run a coroutine in the loop, beside the caller."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def close(self) -> None:
        """Cancel what runs, leave the context, end the thread."""
        self._stop()
        self._thread.join()


_Started = Future[tuple[Held, asyncio.AbstractEventLoop, asyncio.Event]]


async def _hold_open(
    enter: Callable[[], AbstractAsyncContextManager[Held]], started: _Started[Held]
) -> None:
    stop = asyncio.Event()
    try:
        async with enter() as held:
            started.set_result((held, asyncio.get_running_loop(), stop))
            await stop.wait()
    except BaseException as error:
        if started.done():
            raise
        started.set_exception(error)
