"""A fake endpoint: the OpenAI wire format on loopback, faults on demand, and a ledger of its own.

It is the oracle of fault tests: what it was asked, and so what was paid for, stands in its
pay-ledger, whatever happened to the client. In a test: `with FakeEndpoint() as endpoint`. As a
process: `python -m chains.models.fake.endpoint --pay-ledger FILE` prints its base URL.
"""

import argparse
import asyncio
import json
import math
import random
import signal
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self, TextIO

from chains.models.fake.answers import Document, Question, completion, events, read_question
from chains.models.fake.batches import BatchSettings, FakeBatches
from chains.models.fake.faults import (
    BREAKS,
    EDITS,
    Fault,
    FaultPlan,
    Reply,
    Wire,
    chunked,
    parse_faults,
    plain,
    refusal,
    send_whole,
)
from chains.models.fake.forms import FORMS


@dataclass(frozen=True)
class FakeSettings:
    """How the endpoint behaves; times in seconds.

    `latency` is the time to an answer, or its median where `latency_sigma` (log-normal) is given.
    Above `max_concurrent` requests in flight the next ones get 429 with `retry_after` (without, if
    None). `moves` changes that number: pairs of seconds since the first request and the new number.
    `kind` says at which URL and in which header (FORMS); with an `api_key` or a `token`, requests
    without it get 401. `batches` is how those of the batch API go.
    """

    latency: float = 0.0
    latency_sigma: float = 0.0
    max_concurrent: int | None = None
    moves: tuple[tuple[float, int], ...] = ()
    retry_after: str | None = "1"
    kind: str = "compatible"
    api_key: str | None = None
    token: str | None = None
    faults: Mapping[int | str, Fault | str] = field(default_factory=dict)
    batches: BatchSettings = field(default_factory=BatchSettings)


@dataclass(frozen=True)
class Call:
    """One request in the pay-ledger.

    `output_tokens` are paid for even where the answer never arrives; `status` is None where none
    was to be sent; `whole` tells that the response was handed to the kernel to its last byte while
    the client was there. `received` and `finished` are seconds of the machine's monotonic clock.
    """

    sequence: int
    key: str | None
    prompt_hash: str
    input_tokens: int
    output_tokens: int
    status: int | None
    fault: str | None
    received: float
    whole: bool = False
    finished: float | None = None


class PayLedger:
    """Calls in memory and, with a path, in a new JSON-lines file: a line at start, one at end.

    Raises FileExistsError where the file is there: an oracle is not mixed with an older one.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._calls: dict[int, Call] = {}
        self._file: TextIO | None = path.open("x", encoding="utf-8") if path else None
        self._changed = threading.Condition()

    def open_call(self, call: Call) -> None:
        """Record a request before any byte of its answer is sent."""
        self._write(call, asdict(call))

    def close_call(self, sequence: int, whole: bool) -> None:
        """Record how a request ended."""
        end: dict[str, Any] = {"whole": whole, "finished": time.monotonic()}
        self._write(replace(self._calls[sequence], **end), {"sequence": sequence, **end})

    def _write(self, call: Call, line: dict[str, Any]) -> None:
        if self._file is not None:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
        with self._changed:
            self._calls[call.sequence] = call
            self._changed.notify_all()

    def calls(self) -> list[Call]:
        """Return every call so far, in the order they came."""
        with self._changed:
            return list(self._calls.values())

    def wait_for(self, holds: Callable[[list[Call]], bool], timeout: float) -> list[Call]:
        """Block until `holds(calls)`. Raises TimeoutError after `timeout` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: holds(list(self._calls.values())), timeout):
                raise TimeoutError(f"the endpoint saw {len(self._calls)} calls")
            return list(self._calls.values())

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def read_pay_ledger(path: Path) -> list[Call]:
    """Read a pay-ledger's file, also one whose server was killed in the middle of a line."""
    records: dict[int, dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8").split("\n")[:-1]:
        record = json.loads(line)
        records.setdefault(record["sequence"], {}).update(record)
    return [Call(**record) for record in records.values()]


class FakeServer:
    """The server itself: HTTP/1.1 with keep-alive, a task for each connection."""

    def __init__(self, settings: FakeSettings, ledger: PayLedger) -> None:
        self._settings = settings
        self._form = FORMS[settings.kind]
        self._ledger = ledger
        self._plan = FaultPlan(settings.faults)
        self.batches = FakeBatches(settings.batches, self._form.base, self._ask_in_batch)
        self._sequence = 0
        self._begin = 0.0
        self._open: set[asyncio.Task[None]] = set()
        self.connections = 0
        self.in_flight = 0
        self.in_flight_peak = 0
        self.refused = 0

    async def serve(self, port: int, ready: Callable[[str], None], stop: asyncio.Event) -> None:
        """Serve until `stop`; `ready` gets the base URL. Then open connections are dropped."""
        server = await asyncio.start_server(self._connect, "127.0.0.1", port, backlog=4096)
        ready(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{self._form.base}")
        await stop.wait()
        server.close()
        for connection in self._open:
            connection.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self._converse(Wire(reader, writer)))
        self.connections += 1
        self._open.add(connection)
        connection.add_done_callback(self._open.discard)

    async def _converse(self, wire: Wire) -> None:
        """Answer one connection's requests in turn, until it ends or a fault breaks it."""
        try:
            while await self._exchange(wire):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            wire.writer.close()

    async def _exchange(self, wire: Wire) -> bool:
        head = (await wire.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ", 2)
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head[1:])
        }
        body = await wire.reader.readexactly(int(headers.get("content-length", 0)))
        rejected = self._rejected(headers)
        if (method, path) == ("POST", self._form.ask):
            return await self._chat(wire, headers.get("authorization", ""), rejected, body)
        if (method, path) == ("GET", self._form.models) and not rejected:
            return await send_whole(wire, _json(self._form.listed), {})
        if self.batches.serves(path) and not rejected:
            return await self._serve_batches(wire, method, path, headers, body)
        page = _PAGES.get((method, path))
        answer = _json(page(self)) if page else refusal(rejected or {"status": 404}, path)
        return await send_whole(wire, answer, {})

    def _rejected(self, headers: Mapping[str, str]) -> Fault:
        """Return 401 unless key or token came, in the header of the kind."""
        key, token = self._settings.api_key, self._settings.token
        form = self._form
        good = [(form.header, form.before_key + key)] if key else []
        good += [("authorization", f"Bearer {token}")] if token else []
        if not good or any(headers.get(name) == value for name, value in good):
            return {}
        return {"status": 401}

    async def _chat(self, wire: Wire, authorization: str, rejected: Fault, body: bytes) -> bool:
        """Answer one question; whether the connection may be used again.

        1. Choose the answer. 2. Write the call to the ledger: from here on it is paid for, whether
        or not the answer arrives. 3. Answer. 4. Close the call in the ledger, on cancellation too.
        """
        received = time.monotonic()
        try:
            question = read_question(body)
        except ValueError as error:
            return await send_whole(wire, refusal({"status": 400}, str(error)), {})
        self._sequence += 1
        sequence = self._sequence
        refused = rejected or self._refused()
        fault = refused or self._plan.strike(sequence, question.key)
        reply, call = _answer(question, sequence, fault, authorization, received)
        self._ledger.open_call(call)
        whole = False
        self.in_flight += not refused
        self.in_flight_peak = max(self.in_flight_peak, self.in_flight)
        try:
            await wire.pause(0 if refused else self._latency(sequence))
            whole = await BREAKS.get(fault.get("fault", ""), send_whole)(wire, reply, fault)
        finally:
            self.in_flight -= not refused
            self._ledger.close_call(sequence, whole)
        return whole

    async def _serve_batches(
        self, wire: Wire, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> bool:
        fault = self._plan.strike_path(method, path)
        if "status" in fault:
            return await send_whole(wire, refusal(fault, str(headers)), {})
        reply = self.batches.answer(method, path, headers.get("content-type", ""), body)
        return await BREAKS.get(fault.get("fault", ""), send_whole)(wire, reply, fault)

    def _ask_in_batch(self, body: bytes) -> tuple[int, Document]:
        """Answer a question of a batch, and write it to the ledger."""
        question = read_question(body)
        self._sequence += 1
        fault = self._plan.strike(self._sequence, question.key)
        reply, call = _answer(question, self._sequence, fault, "", time.monotonic())
        self._ledger.open_call(call)
        self._ledger.close_call(call.sequence, whole=True)
        return call.status or 200, json.loads(b"".join(reply.pieces))

    def _refused(self) -> Fault:
        settings = self._settings
        most = self._max_concurrent()
        if most is not None and self.in_flight >= most:
            self.refused += 1
            wait = settings.retry_after
            return {"status": 429} if wait is None else {"status": 429, "retry_after": wait}
        return {}

    def _max_concurrent(self) -> int | None:
        self._begin = self._begin or time.monotonic()
        passed = time.monotonic() - self._begin
        moved = [most for since, most in self._settings.moves if passed >= since]
        return moved[-1] if moved else self._settings.max_concurrent

    def _latency(self, sequence: int) -> float:
        settings = self._settings
        if not settings.latency or not settings.latency_sigma:
            return settings.latency
        generator = random.Random(sequence)  # noqa: S311 - a delay, not a secret
        return generator.lognormvariate(math.log(settings.latency), settings.latency_sigma)

    def stats(self) -> dict[str, int]:
        """Return counts: connections so far; requests, refused ones, in flight, their peak."""
        return {
            "connections": self.connections,
            "requests": self._sequence,
            "refused": self.refused,
            "in_flight": self.in_flight,
            "in_flight_peak": self.in_flight_peak,
        }


def _answer(
    question: Question, sequence: int, fault: Fault, authorization: str, received: float
) -> tuple[Reply, Call]:
    name = fault.get("fault")
    document = completion(question, sequence)
    call = Call(
        sequence=sequence,
        key=question.key,
        prompt_hash=question.prompt_hash,
        input_tokens=question.input_tokens,
        output_tokens=document["usage"]["completion_tokens"],
        status=200,
        fault=name,
        received=received,
    )
    if "status" in fault:
        call = replace(call, status=fault["status"], input_tokens=0, output_tokens=0)
        return refusal(fault, f"{question.prompt} {authorization}"), call
    if name in EDITS:
        request = {"authorization": authorization, "body": question.body}
        EDITS[name](document, {**fault, "request": request})
    if not question.body.get("stream") and name != "sse_without_end":
        return _json(document), replace(call, status=None if name == "hang" else 200)
    include_usage = bool((question.body.get("stream_options") or {}).get("include_usage"))
    return chunked("text/event-stream", events(document, include_usage)), call


def _json(document: Mapping[str, Any]) -> Reply:
    return plain(200, "application/json", json.dumps(document).encode("ascii"))


_PAGES: dict[tuple[str, str], Callable[[FakeServer], dict[str, Any]]] = {
    ("GET", "/stats"): FakeServer.stats,
}


class FakeEndpoint:
    """A fake endpoint in a background thread, as a context manager.

    `FakeEndpoint(FakeSettings(...), pay_ledger=path)`; without a path the ledger is in memory only.
    """

    def __init__(
        self, settings: FakeSettings | None = None, pay_ledger: Path | None = None
    ) -> None:
        self._ledger = PayLedger(pay_ledger)
        self._server = FakeServer(settings or FakeSettings(), self._ledger)
        self._started: Future[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._thread = threading.Thread(target=self._run, name="fake-endpoint", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.base_url, self._loop, self._stop = self._started.result()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._ledger.close()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        await self._server.serve(0, lambda url: self._started.set_result((url, loop, stop)), stop)

    def calls(self) -> list[Call]:
        """Return every call so far, in the order they came."""
        return self._ledger.calls()

    def wait_for(self, holds: Callable[[list[Call]], bool], timeout: float = 60.0) -> list[Call]:
        """Block until `holds(calls)`. Raises TimeoutError after `timeout` seconds."""
        return self._ledger.wait_for(holds, timeout)

    def finish_batches(self) -> None:
        """Let every batch have ended when it is looked at next."""
        self._server.batches.are_finished = True

    @property
    def in_flight_peak(self) -> int:
        """The most requests that were in flight at once."""
        return self._server.in_flight_peak

    def stats(self) -> dict[str, int]:
        """Return what GET /stats returns."""
        return self._server.stats()


def _parse_moves(text: str) -> tuple[tuple[float, int], ...]:
    """Read `SECONDS:NUMBER,...`."""
    pairs = (pair.split(":") for pair in text.split(","))
    return tuple((float(since), int(most)) for since, most in pairs)


async def _serve_until_sigterm(server: FakeServer, port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await server.serve(port, lambda url: print(url, flush=True), stop)


def main() -> None:
    """Run as a process until SIGTERM; the first line of stdout is the base URL."""
    parser = argparse.ArgumentParser(prog="python -m chains.models.fake.endpoint")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--pay-ledger", type=Path)
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--latency-sigma", type=float, default=0.0)
    parser.add_argument("--max-concurrent", type=int)
    parser.add_argument("--moves", type=_parse_moves, default=())
    parser.add_argument("--retry-after", default="1", type=lambda text: text or None)
    parser.add_argument("--kind", choices=FORMS, default="compatible")
    parser.add_argument("--api-key")
    parser.add_argument("--faults", type=parse_faults, default={})
    given = vars(parser.parse_args())
    ledger, port = PayLedger(given.pop("pay_ledger")), given.pop("port")
    asyncio.run(_serve_until_sigterm(FakeServer(FakeSettings(**given), ledger), port))
    ledger.close()


if __name__ == "__main__":
    main()
