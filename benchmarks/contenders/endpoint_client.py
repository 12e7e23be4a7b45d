"""Asks a fake endpoint for a fixed time: gristmill's model, asyncio with the SDK, or AIMD."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import openai
from bench.serving import Options, Work, serve
from bench.window import Asking, Window, question

from chains.models.base import Request
from chains.models.endpoint.model import EndpointModel
from chains.models.endpoint.settings import resolve_endpoint
from chains.models.fake.endpoint import read_pay_ledger

REPOSITORY = Path(__file__).parents[2]
FIRST_SLOTS = 8
Ask = Callable[[Window, int], None]


def make(options: Options) -> Callable[[dict[str, Any]], Work]:
    def prepare(task: dict[str, Any]) -> Work:
        client = {"gristmill": gristmill, "asyncio": plain, "aimd": aimd}[task["client"]]
        return lambda: measure(task, client)

    return prepare


def measure(task: dict[str, Any], ask: Ask) -> dict[str, Any]:
    """Start the endpoint, ask for `seconds`, and let the endpoint tell how it went."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = Path(folder) / "pay.jsonl"
        command = [sys.executable, "-m", "chains.models.fake.endpoint", "--pay-ledger", ledger]
        with subprocess.Popen(
            [*command, *task["endpoint"]],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        ) as server:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            try:
                ask(Window(url, task["seconds"], task["slots"], folder), task["rows"])
            finally:
                server.send_signal(signal.SIGTERM)
        calls = read_pay_ledger(ledger)
    until = calls[0].received + task["seconds"]
    ended = [call for call in calls if call.finished is not None and call.finished <= until]
    good = sum(call.status == 200 and call.whole for call in ended)
    return {"good": good, "refused": sum(call.status == 429 for call in ended)}


def gristmill(window: Window, rows: int) -> None:
    settings = {"base_url": window.base_url, "concurrency": window.slots, "attempts": 100}
    model = EndpointModel(resolve_endpoint("endpoint:b/m", "b", "m", settings))
    requests = [Request(tuple(question(row)["messages"])) for row in range(rows)]

    def stop(number: int, frame: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, window.seconds)
    with suppress(TimeoutError):
        model.complete(requests)
    signal.setitimer(signal.ITIMER_REAL, 0)
    model.close()


def plain(window: Window, rows: int) -> None:
    """Ask with a semaphore; the SDK retries by itself."""

    async def all_rows() -> None:
        asking = Asking(window)
        await asyncio.gather(*map(asking.ask, range(rows)))

    asyncio.run(all_rows())


class Aimd:
    """Slots that double each round trip until a first 429, then grow by one; a 429 halves them.

    Requests sent before a decrease cause no other one.
    """

    def __init__(self) -> None:
        self._limit = float(FIRST_SLOTS)
        self._in_flight = self._decreases = 0
        self._freed = asyncio.Condition()

    async def __aenter__(self) -> None:
        async with self._freed:
            await self._freed.wait_for(lambda: self._in_flight < int(self._limit))
            self._in_flight += 1

    async def __aexit__(self, *_: object) -> None:
        async with self._freed:
            self._in_flight -= 1
            self._freed.notify_all()

    @property
    def decreases(self) -> int:
        return self._decreases

    def answered(self) -> None:
        self._limit += 1 / self._limit if self._decreases else 1

    def refused(self, decreases: int) -> None:
        if decreases == self._decreases:
            self._limit = max(1.0, self._limit / 2)
            self._decreases += 1


def aimd(window: Window, rows: int) -> None:
    """Ask with slots that follow AIMD; a refused row waits for its next slot."""

    async def all_rows() -> None:
        slots = Aimd()
        async with openai.AsyncOpenAI(
            base_url=window.base_url, api_key="k", max_retries=0
        ) as client:

            async def one(row: int) -> None:
                while True:
                    async with slots:
                        sent = slots.decreases
                        try:
                            await client.chat.completions.create(**question(row))
                        except openai.RateLimitError:
                            slots.refused(sent)
                        else:
                            slots.answered()
                            return

            with suppress(TimeoutError):
                async with asyncio.timeout(window.seconds):
                    await asyncio.gather(*map(one, range(rows)))

    asyncio.run(all_rows())


if __name__ == "__main__":
    serve(make)
