"""Asking an endpoint until a window of time is over, in whatever process: by threads or asyncio."""

import asyncio
import time
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import openai

RETRIES = 100


@dataclass(frozen=True)
class Window:
    """An endpoint's URL, for how many seconds it is asked, and by how many requests at once.

    The time begins with a process's first request; `slots` are those of a process. `trial` tells
    windows apart that meet in a worker.
    """

    base_url: str
    seconds: float
    slots: int | Literal["auto"]
    trial: str

    @property
    def left(self) -> float:
        """The seconds left in this process."""
        return _end(self) - time.monotonic()


@cache
def _end(window: Window) -> float:
    return time.monotonic() + window.seconds


def question(row: int | str) -> dict[str, Any]:
    """Return the request of a row."""
    return {"model": "m", "messages": [{"role": "user", "content": f"key={row}"}]}


def ask(window: Window, row: int | str) -> str | None:
    """Ask in this thread; the SDK retries. None once the window is over."""
    if window.left <= 0:
        return None
    answer = _client(window).chat.completions.create(**question(row))
    return answer.choices[0].message.content


@cache
def _client(window: Window) -> openai.OpenAI:
    return openai.OpenAI(base_url=window.base_url, api_key="k", max_retries=RETRIES)


class Asking:
    """Asks in one event loop, `slots` requests at once; the SDK retries."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._slots = asyncio.Semaphore(int(window.slots))
        self._client = openai.AsyncOpenAI(
            base_url=window.base_url, api_key="k", max_retries=RETRIES
        )

    async def ask(self, row: int | str) -> str | None:
        """Ask; None once the window is over."""
        async with self._slots:
            if self._window.left <= 0:
                return None
            try:
                async with asyncio.timeout(self._window.left):
                    answer = await self._client.chat.completions.create(**question(row))
                    return answer.choices[0].message.content
            except TimeoutError:
                return None
