"""Asks a fake endpoint for a fixed time: gristmill's model, or plain asyncio with the SDK."""

import asyncio
import json
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

from chains.models.base import Request
from chains.models.endpoint.model import EndpointModel
from chains.models.endpoint.settings import resolve_endpoint
from chains.models.fake.endpoint import read_pay_ledger

REPOSITORY = Path(__file__).parents[2]
Ask = Callable[[str, int, float], None]


def make(options: Options) -> Callable[[dict[str, Any]], Work]:
    def prepare(task: dict[str, Any]) -> Work:
        ask = {"gristmill": gristmill, "asyncio": plain}[task["client"]]
        return lambda: measure(task, lambda *it: ask(task["concurrency"], *it))

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
            ask(server.stdout.readline().strip(), task["rows"], task["seconds"])
            server.send_signal(signal.SIGTERM)
        calls = read_pay_ledger(ledger)
    until = calls[0].received + task["seconds"]
    ended = [call for call in calls if call.finished is not None and call.finished <= until]
    good = sum(call.status == 200 and call.whole for call in ended)
    return {"good": good, "refused": sum(call.status == 429 for call in ended)}


def gristmill(concurrency: str | int, base_url: str, rows: int, seconds: float) -> None:
    settings = {"base_url": base_url, "concurrency": concurrency, "attempts": 100}
    model = EndpointModel(resolve_endpoint("endpoint:b/m", "b", "m", settings))
    requests = [Request(({"role": "user", "content": f"key={row}"},)) for row in range(rows)]

    def stop(number: int, frame: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    with suppress(TimeoutError):
        model.complete(requests)
    signal.setitimer(signal.ITIMER_REAL, 0)
    model.close()


def plain(concurrency: int, base_url: str, rows: int, seconds: float) -> None:
    """Ask with a semaphore; the SDK retries by itself."""

    async def all_rows() -> None:
        slots = asyncio.Semaphore(concurrency)
        async with openai.AsyncOpenAI(base_url=base_url, api_key="k", max_retries=100) as client:

            async def one(row: int) -> None:
                async with slots:
                    messages = json.loads(f'[{{"role": "user", "content": "key={row}"}}]')
                    await client.chat.completions.create(model="m", messages=messages)

            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await asyncio.gather(*map(one, range(rows)))

    asyncio.run(all_rows())


if __name__ == "__main__":
    serve(make)
